"""Decoded images of folders, stored in the cache folder.

For each folder and image size there is a folder with one file of pixels, which is only appended
to and is memory-mapped by whoever reads it, and an index, which is replaced atomically. A process
that dies while it fills a cache loses what it decoded since the last index. An entry is used if
the image file's size, times and inode are those recorded and its pixels have their checksum. A
cache that cannot be read, is damaged or is of another Pillow version is ignored and replaced.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import PIL

from cifarnet.data.cache import cache_folder
from cifarnet.errors import RunError
from cifarnet.runs import read_arrays, write_arrays

_FORMAT = 2
_CLOCK_STEP = 2_000_000_000  # ns; the coarsest time stamps, FAT's
_MASK = (1 << 64) - 1
INDEX, LOCK = "index.npz", ".lock"


class Identity(NamedTuple):
    """What changes when a file is written or replaced: bytes, times in ns, and inode."""

    size: int
    modified: int
    changed: int
    inode: int


class Entry(NamedTuple):
    """One decoded image.

    Attributes:
        row: of its pixels.
        checksum: CRC-32 of its pixels' bytes.
        digest: SHA-256 of the file's bytes, 32 bytes.
        identity: of the file when it was read.
        read_at: time before it was read, ns since 1970.
    """

    row: int
    checksum: int
    digest: bytes
    identity: Identity
    read_at: int

    def is_of(self, identity: Identity) -> bool:
        """Return whether these are surely the pixels of the file that now has this identity.

        A file that was written shortly before it was read may have been written again within one
        step of its file system's clock.
        """
        latest = max(identity.modified, identity.changed)
        return self.identity == identity and latest + _CLOCK_STEP < self.read_at


def identify(stat: os.stat_result) -> Identity:
    """Return the identity of a file from its `stat`."""
    values = (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)
    return Identity(*(value & _MASK for value in values))


@dataclass(frozen=True)
class Stored:
    """What a cache holds.

    Attributes:
        entries: by image name.
        pixels: uint8 [rows, S, S, 3], memory-mapped; some rows may belong to no entry.
        file: name of the file of pixels; empty: there is none.
    """

    entries: dict[str, Entry]
    pixels: np.ndarray
    file: str = ""


class ImageCache:
    """The cache of a folder at one image size.

    Args:
        root: the dataset's folder.
        size: side of the images, pixels.
        whole: see `image_file.decode`.
    """

    def __init__(self, root: Path, size: int, whole: bool) -> None:
        self.root, self.size, self.whole = root, size, whole
        folder = os.path.realpath(root)
        self._about: dict[str, Any] = {
            "format": _FORMAT,
            "pillow": PIL.__version__,
            "folder": os.fsencode(folder).hex(),
            "size": size,
            "whole": whole,
        }
        key = hashlib.sha256(json.dumps(self._about["folder"]).encode()).hexdigest()[:16]
        name = f"{key}-{size}{'-whole' if whole else ''}"
        self.path = images_folder() / name
        self.lock = self.path.with_name(name + LOCK)

    @property
    def image_bytes(self) -> int:
        """Bytes of one image's pixels."""
        return self.size * self.size * 3

    def read(self) -> Stored:
        """Return the entries; none if there is no cache that can be used."""
        try:
            arrays = read_arrays(self.path / INDEX)
            about = json.loads(arrays["about"].tobytes())
            names, file, rows = (about.pop(key) for key in ("names", "file", "rows"))
            if about != self._about:
                return self._nothing()
            pixels = self.map(file, rows)
            entries = {
                name: Entry(row, checksum, digest.tobytes(), Identity(*stat[:4]), stat[4])
                for name, row, checksum, digest, stat in zip(
                    names,
                    arrays["rows"].tolist(),
                    arrays["checksums"].tolist(),
                    arrays["digests"],
                    arrays["stats"].tolist(),
                    strict=True,
                )
                if 0 <= row < len(pixels)
            }
            return Stored(entries, pixels, file)
        except (OSError, RunError, ValueError, KeyError, TypeError, AttributeError):
            return self._nothing()
        finally:
            with suppress(OSError):
                os.utime(self.path / INDEX)  # used now

    def write_index(self, entries: Mapping[str, Entry], file: str, rows: int) -> None:
        """Replace the index; the lock is held.

        Raises:
            RunError: it cannot be written; the old one stays.
        """
        about = {**self._about, "names": list(entries), "file": file, "rows": rows}
        values = list(entries.values())
        digests = np.frombuffer(b"".join(entry.digest for entry in values), np.uint8)
        stats = np.array([(*entry.identity, entry.read_at) for entry in values], np.uint64)
        arrays: dict[str, np.ndarray] = {
            "about": np.frombuffer(json.dumps(about).encode(), np.uint8),
            "rows": np.array([entry.row for entry in values], np.int64),
            "checksums": np.array([entry.checksum for entry in values], np.uint32),
            "digests": digests.reshape(-1, 32),
            "stats": stats.reshape(-1, 5),
        }
        write_arrays(self.path / INDEX, arrays)

    def map(self, file: str, rows: int) -> np.ndarray:
        """Map the first rows of a file of pixels, uint8 [rows, S, S, 3].

        Raises:
            OSError, ValueError: it cannot be read, or has fewer.
        """
        shape = (rows, self.size, self.size, 3)
        if rows == 0:
            return np.empty(shape, np.uint8)
        return np.memmap(self.path / file, np.uint8, "r", shape=shape)

    def _nothing(self) -> Stored:
        return Stored({}, np.empty((0, self.size, self.size, 3), np.uint8))


def images_folder() -> Path:
    """Return the folder of the caches of all folders of images."""
    return cache_folder() / "image-folders"
