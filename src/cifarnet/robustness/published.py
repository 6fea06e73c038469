"""Read the published CIFAR-10-C."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from cifarnet.errors import DataError
from cifarnet.robustness.corruptions import CORRUPTIONS, SEVERITIES


def require(folder: Path) -> None:
    """Require that a folder has the files of CIFAR-10-C; what is in them is checked by `load`.

    Raises:
        DataError: a file is missing.
    """
    for name in ("labels", *CORRUPTIONS):
        if not (path := folder / f"{name}.npy").is_file():
            raise DataError(
                f"there is no {path}; expected the folder of CIFAR-10-C with labels.npy and a file "
                f"for each of {', '.join(CORRUPTIONS)}"
            )


def load(
    folder: Path, shape: tuple[int, ...], labels: np.ndarray
) -> Callable[[np.ndarray, str, int], np.ndarray]:
    """Open the arrays of CIFAR-10-C, each with all test images at severities 1 to 5, in this order.

    Args:
        folder: of `labels.npy` and `<corruption>.npy`.
        shape: of the test images, [N, S, S, 3].
        labels: of the test images [N], which those of the folder must be.

    Returns:
        A function of rows, corruption and severity to images, which reads what is asked for.

    Raises:
        DataError: a file is missing or not of these shapes, or the labels are others.
    """
    require(folder)
    count = len(labels)
    found = _open(folder / "labels.npy", (len(SEVERITIES) * count,))
    if not np.array_equal(np.tile(labels, len(SEVERITIES)), found):
        raise DataError(
            f"{folder / 'labels.npy'}: expected the labels of the {count:,} test images five "
            "times, received others. The published files go with CIFAR-10's own test set"
        )
    size = (len(SEVERITIES) * count, *shape[1:])
    arrays = {name: _open(folder / f"{name}.npy", size) for name in CORRUPTIONS}

    def read(rows: np.ndarray, name: str, severity: int) -> np.ndarray:
        # In the order of the file, which is faster.
        places = np.argsort(rows)
        pixels = np.empty((len(rows), *shape[1:]), np.uint8)
        pixels[places] = arrays[name][(severity - 1) * count + rows[places]]
        return pixels

    return read


def _open(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Map an array of integers of this shape; images are uint8.

    Raises:
        DataError: it is damaged, or another array.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path} cannot be read as a NumPy array: {error}") from error
    expected = "uint8" if len(shape) > 1 else "integers"
    if not isinstance(array, np.ndarray):
        raise DataError(f"{path}: expected {expected} {list(shape)}, received several arrays")
    if array.shape != shape or not _is_of(array, expected):
        raise DataError(
            f"{path}: expected {expected} {list(shape)}, received {array.dtype} {list(array.shape)}"
        )
    return array


def _is_of(array: np.ndarray, expected: str) -> bool:
    return array.dtype == np.uint8 if expected == "uint8" else array.dtype.kind in "iu"
