"""NumPy arrays in one file that knows whether it is whole."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from cifarnet.errors import RunError
from cifarnet.runs.atomic import write_atomic

_DIGEST = "sha256"


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write an uncompressed `.npz` with one more array, the SHA-256 of the others' content.

    Raises:
        RunError: it cannot be written; the old file stays.
    """
    digest = np.frombuffer(_digest(arrays), np.uint8)
    content: dict[str, Any] = {**arrays, _DIGEST: digest}
    write_atomic(path, lambda file: np.savez(file, **content))


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """What `write_arrays` wrote. Takes no more memory than the file has bytes.

    Raises:
        FileNotFoundError: there is none.
        RunError: a byte of its content is not what was written.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _check_sizes(path, archive)
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        if arrays.pop(_DIGEST).tobytes() != _digest(arrays):
            raise ValueError("its content does not have its SHA-256")
    except FileNotFoundError:
        raise
    # A damaged zip file may also ask for a password or an unknown compression.
    except (
        OSError,
        ValueError,
        KeyError,
        EOFError,
        MemoryError,
        RuntimeError,
        SyntaxError,
        zipfile.BadZipFile,
    ) as error:
        raise RunError(f"{path} is damaged: {error}") from error
    return arrays


def _check_sizes(path: Path, archive: zipfile.ZipFile) -> None:
    members = archive.infolist()
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise ValueError("expected members that are not compressed")
    if sum(member.file_size for member in members) > path.stat().st_size:
        raise ValueError("its members claim more bytes than it has")


def _digest(arrays: dict[str, np.ndarray]) -> bytes:
    found = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        found.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        found.update(array.tobytes())
    return found.digest()
