"""Fill the cache of a folder's decoded images, and make room for it."""

from __future__ import annotations

import os
import shutil
import stat
import uuid
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import filelock
import numpy as np

from cifarnet.data.image_cache import INDEX, LOCK, Entry, ImageCache, Stored, images_folder
from cifarnet.data.stored_pixels import release
from cifarnet.errors import RunError

_PIXELS = ".pixels"
_SHARE = 0.1  # of the disk, for the caches of all folders; the least recently used are removed
_RESERVE = 256 << 20  # bytes that a cache leaves free on its disk
_COPIED = 1_024  # rows at a time


class Filler:
    """Append images to a cache whose lock is held; a context.

    Args:
        cache: which.
        stored: what it holds.
        keep: names whose entries stay.
        new: number of images that may be appended.

    Raises:
        OSError, RunError: it cannot be written, or its disk has too little room; from all methods.
    """

    def __init__(self, cache: ImageCache, stored: Stored, keep: Collection[str], new: int) -> None:
        self._cache = cache
        names = (name for name in keep if name in stored.entries)
        self.entries = {name: stored.entries[name] for name in names}
        self._name, self._rows = stored.file, len(stored.pixels)
        self._indexed = stored.file
        # Other processes may read any row, so that none is written again. A file that is mostly
        # of images that are gone is copied.
        copies = not stored.file or 2 * len(self.entries) < self._rows
        cache.path.parent.mkdir(parents=True, exist_ok=True)
        _make_room(cache, (new + copies * len(self.entries)) * cache.image_bytes)
        cache.path.mkdir(exist_ok=True)
        if copies:
            self._name = f"{uuid.uuid4().hex}{_PIXELS}"
        self._file: BinaryIO = (cache.path / self._name).open("xb" if copies else "r+b")
        self._changed = copies
        try:
            if copies:
                self._copy(stored.pixels)
            else:
                self._file.truncate(self._rows * cache.image_bytes)  # a process may have died
                self._file.seek(0, os.SEEK_END)
        except BaseException:
            self._close()
            raise

    def __enter__(self) -> Filler:
        """Return itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Write the index, also of what was done before an interruption, and close the file."""
        try:
            if kind is None or not issubclass(kind, OSError | RunError):
                self.commit()
        finally:
            self._close()

    def _close(self) -> None:
        """Close the file of pixels, and remove it if no index knows it."""
        with suppress(OSError):  # what it has not written yet is not in an index
            self._file.close()
        if self._name != self._indexed:
            with suppress(OSError):
                (self._cache.path / self._name).unlink()

    def append(self, pixels: np.ndarray) -> int:
        """Append one image uint8 [S, S, 3]; return its row."""
        self._file.write(np.ascontiguousarray(pixels).data)
        self._rows += 1
        return self._rows - 1

    def put(self, name: str, entry: Entry) -> None:
        """Add or replace the entry of an image."""
        self.entries[name] = entry
        self._changed = True

    def commit(self) -> None:
        """Make all entries durable, and known to other processes."""
        if not self._changed:
            return
        self._file.flush()
        os.fsync(self._file.fileno())
        self._cache.write_index(self.entries, self._name, self._rows)
        self._indexed = self._name
        for other in self._cache.path.glob(f"*{_PIXELS}"):
            if other.name != self._name:
                with suppress(OSError):
                    other.unlink()
        self._changed = False

    def pixels(self) -> np.ndarray:
        """Map the pixels of all entries, uint8 [rows, S, S, 3]; after the context's end."""
        return self._cache.map(self._name, self._rows)

    def _copy(self, pixels: np.ndarray) -> None:
        """Begin a new file with the pixels of the entries."""
        rows = np.array([entry.row for entry in self.entries.values()], np.int64)
        for start in range(0, len(rows), _COPIED):
            self._file.write(pixels[rows[start : start + _COPIED]].data)
            release(pixels)
        self.entries = {
            name: entry._replace(row=row) for row, (name, entry) in enumerate(self.entries.items())
        }
        self._rows = len(rows)


def discard_empty(cache: ImageCache) -> None:
    """Leave nothing of a cache that could not be filled at all; its lock is held."""
    with suppress(OSError):
        cache.path.rmdir()
    if not cache.path.exists():
        with suppress(OSError):
            cache.lock.unlink()


def size_of(path: Path) -> int:
    """Return the bytes of a cache: of a folder and its files, or of a file of older versions."""
    total = 0
    for file in (path, *path.rglob("*")):
        with suppress(OSError):  # a process that fills it has removed the file meanwhile
            status = file.stat()
            total += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return total


def remove(path: Path) -> bool:
    """Remove a cache unless a process fills it; one that reads it keeps its file until it ends."""
    lock = filelock.FileLock(path.with_name(path.name + LOCK))
    try:
        lock.acquire(timeout=0)
    except (filelock.Timeout, OSError):
        return False
    try:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
        return True
    except OSError:
        return False
    finally:
        lock.release()


def all_caches() -> list[Path]:
    """Return the cache of each folder and size, the least recently used first."""
    times = {}
    for path in images_folder().glob("*"):
        with suppress(OSError):
            if path.suffix != LOCK:
                index = path / INDEX
                times[path] = (index if index.exists() else path).stat().st_mtime
    return sorted(times, key=times.__getitem__)


def _make_room(cache: ImageCache, needed: int) -> None:
    """Remove the least recently used other caches until `needed` bytes fit in.

    Raises:
        OSError: the disk has too little room.
    """
    usage = shutil.disk_usage(cache.path.parent)
    sizes = {path: size_of(path) for path in all_caches()}
    total, free = sum(sizes.values()) + needed, usage.free
    sizes.pop(cache.path, None)
    others = sizes if needed + _RESERVE <= free + sum(sizes.values()) else {}  # else in vain
    for path, size in others.items():
        if total <= _SHARE * usage.total and needed + _RESERVE <= free:
            break
        if remove(path):
            total, free = total - size, free + size
    if needed + _RESERVE > free:
        raise OSError(
            f"{cache.path} needs {needed:,} bytes and {_RESERVE:,} to spare; its disk has {free:,}"
        )
