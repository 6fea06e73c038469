"""Read many image files: in parallel, with progress, from the cache where it has them."""

from __future__ import annotations

import hashlib
import itertools
import os
import time
import zlib
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cifarnet import system
from cifarnet.data.cache import locked
from cifarnet.data.image_cache import Entry, ImageCache, Stored, identify
from cifarnet.data.image_file import decode, unreadable
from cifarnet.data.image_filler import Filler, discard_empty
from cifarnet.data.image_layout import ListedImage
from cifarnet.data.images import OnFetch
from cifarnet.data.stored_pixels import release
from cifarnet.errors import DataError, RunError
from cifarnet.formatting import count, printable

_MAX_THREADS = 16  # each may hold one image of 50 million pixels
_AHEAD = 4 * _MAX_THREADS  # images that may be decoded before they are stored
_COMMIT_SECONDS = 5.0
_CHECKED = 256  # images whose checksums are one task


@dataclass(frozen=True)
class ReadImages:
    """Images of a folder that were read.

    Attributes:
        pixels: uint8 [M, S, S, 3], memory-mapped unless the cache cannot be written.
        found: by name, the entry that says in which row of `pixels` an image is, or why it cannot
            be read.
        problem: why the cache cannot be written; empty: it can, or nothing was missing.
    """

    pixels: np.ndarray
    found: dict[str, Entry | str]
    problem: str = ""


def read_all(
    files: Sequence[ListedImage],
    cache: ImageCache,
    known: Collection[str] = (),
    on_fetch: OnFetch | None = None,
    memory: int | None = None,
) -> ReadImages:
    """Read image files as pixels of one size.

    What the cache does not have is stored in it by one process at a time; the others wait, and
    find it there.

    Args:
        files: which.
        cache: of their folder and size.
        known: names of images that are not read now and stay in the cache.
        on_fetch: as `Callback.on_fetch`, of the bytes of the files that are not in the cache.
        memory: how many bytes of pixels may be held if the cache cannot be written; None: any.

    Raises:
        DataError: the cache cannot be written, and the images do not fit in memory.
    """
    report = on_fetch or (lambda what, done, total: None)
    with _pool() as pool:
        stored = _intact(files, cache.read(), pool)
        found, missing = _current(files, stored)
        if not missing:
            return ReadImages(stored.pixels, found)
        reading = _Reading(cache, report, pool)
        try:
            cache.lock.parent.mkdir(parents=True, exist_ok=True)
            other = f"another process that reads the folder {printable(cache.root.name)}"
            with locked(cache.lock, other, report):
                try:
                    return _fill(files, known, reading)
                except (OSError, RunError):
                    discard_empty(cache)
                    raise
        except (OSError, RunError) as error:
            if memory is not None and len(files) * cache.image_bytes > memory:
                raise DataError(
                    f"{len(files):,} images of {cache.size} x {cache.size} pixels take "
                    f"{len(files) * cache.image_bytes:,} bytes, of which data.memory_share allows "
                    f"{memory:,} in memory, and their cache cannot be written: {error}. Make room, "
                    "set CIFARNET_HOME to a folder on a larger disk, or give a larger "
                    "data.memory_share"
                ) from error
            return replace(_read_into_memory(files, stored, reading), problem=str(error))


@dataclass(frozen=True)
class _Reading:
    """What all reading of one call needs."""

    cache: ImageCache
    report: OnFetch
    pool: ThreadPoolExecutor


def _fill(files: Sequence[ListedImage], known: Collection[str], reading: _Reading) -> ReadImages:
    """Store the images that the cache does not have; its lock is held."""
    # Read again: another process may have filled it meanwhile.
    stored = _intact(files, reading.cache.read(), reading.pool)
    found, missing = _current(files, stored)
    if not missing:
        return ReadImages(stored.pixels, found)
    keep = [*(file.name for file in files), *known]
    with Filler(reading.cache, stored, keep, len(missing)) as filler:
        found = {name: filler.entries[name] for name in found}
        last = time.monotonic()
        for name, result in _read(missing, filler.entries, filler.append, reading):
            found[name] = result
            if isinstance(result, Entry):
                filler.put(name, result)
            if time.monotonic() - last > _COMMIT_SECONDS:
                filler.commit()
                last = time.monotonic()
    return ReadImages(filler.pixels(), found)


def _read_into_memory(
    files: Sequence[ListedImage], stored: Stored, reading: _Reading
) -> ReadImages:
    size = reading.cache.size
    pixels = np.empty((len(files), size, size, 3), np.uint8)
    rows = itertools.count()

    def append(image: np.ndarray) -> int:
        row = next(rows)
        pixels[row] = image
        return row

    found, missing = _current(files, stored)
    entries = {
        file.name: entry._replace(row=append(stored.pixels[entry.row]))
        for file in files
        if (entry := stored.entries.get(file.name)) is not None
    }
    found = {name: entries[name] for name in found}
    found.update(_read(missing, entries, append, reading))
    return ReadImages(pixels, found)


def _intact(files: Sequence[ListedImage], stored: Stored, pool: ThreadPoolExecutor) -> Stored:
    """Leave out the entries of these files whose pixels do not have their checksum."""
    entries = ((file.name, stored.entries.get(file.name)) for file in files)
    known = sorted((entry.row, entry.checksum, name) for name, entry in entries if entry)
    blocks = [known[start : start + _CHECKED] for start in range(0, len(known), _CHECKED)]

    def damaged(block: list[tuple[int, int, str]]) -> list[str]:
        found = [name for row, checksum, name in block if _checksum(stored.pixels[row]) != checksum]
        release(stored.pixels)
        return found

    bad = {name for names in pool.map(damaged, blocks) for name in names}
    if not bad:
        return stored
    entries_left = {name: entry for name, entry in stored.entries.items() if name not in bad}
    return replace(stored, entries=entries_left)


def _current(
    files: Sequence[ListedImage], stored: Stored
) -> tuple[dict[str, Entry | str], list[ListedImage]]:
    """Return the entries of files that have not changed since, by name, and the other files."""
    found: dict[str, Entry | str] = {}
    missing = []
    for file in files:
        entry = stored.entries.get(file.name)
        if entry is not None and _is_current(entry, file.path):
            found[file.name] = entry
        else:
            missing.append(file)
    return found, missing


def _is_current(entry: Entry, path: Path) -> bool:
    try:
        return entry.is_of(identify(path.stat()))
    except OSError:
        return False


def _read(
    files: Sequence[ListedImage],
    cached: Mapping[str, Entry],
    append: Callable[[np.ndarray], int],
    reading: _Reading,
) -> Iterator[tuple[str, Entry | str]]:
    """Read files in threads, in order: Pillow decodes without Python's lock.

    Args:
        files: which.
        cached: entries by name; one whose file has the same bytes keeps its row.
        append: stores pixels and returns their row.
        reading: how.
    """
    folder = printable(reading.cache.root.name)
    what = f"reading {count(len(files), 'image')} from the folder {folder}"
    sizes = [_size(file.path) for file in files]
    done, total = 0, sum(sizes)
    reading.report(what, 0, total)
    work = ((file.path, reading.cache, cached.get(file.name)) for file in files)
    waiting: deque[Future[tuple[Entry, np.ndarray | None] | str]] = deque()
    for file, size in zip(files, sizes, strict=True):
        while len(waiting) < _AHEAD and (task := next(work, None)) is not None:
            waiting.append(reading.pool.submit(_read_one, *task))
        result = waiting.popleft().result()
        if isinstance(result, str):
            yield file.name, result
        else:
            entry, pixels = result
            yield file.name, entry if pixels is None else entry._replace(row=append(pixels))
        done += size
        reading.report(what, done, total)


def _read_one(
    path: Path, cache: ImageCache, cached: Entry | None
) -> tuple[Entry, np.ndarray | None] | str:
    """Read one file.

    Returns:
        Its entry, and its pixels, or None if they are those of the cached entry, since its bytes
        are; or why it cannot be read.
    """
    read_at = time.time_ns()
    try:
        with path.open("rb") as file:
            identity = identify(os.fstat(file.fileno()))
            content = file.read()
        digest = hashlib.sha256(content).digest()
        if cached is not None and cached.digest == digest:
            return cached._replace(identity=identity, read_at=read_at), None
        pixels = decode(content, cache.size, cache.whole)
    except Exception as error:  # Pillow's decoders raise many types on damaged files
        return unreadable(path, error)
    return Entry(0, _checksum(pixels), digest, identity, read_at), pixels


def _checksum(pixels: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(pixels).data)


@contextmanager
def _pool() -> Iterator[ThreadPoolExecutor]:
    pool = ThreadPoolExecutor(min(system.usable_cores(), _MAX_THREADS))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
