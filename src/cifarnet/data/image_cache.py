"""Decoded images of a folder, stored in the cache folder.

A file for each folder and image size. An entry is used if the image file's size, times and inode
are those recorded. A cache that cannot be read, is damaged or is of another Pillow version is
ignored and replaced.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL

from cifarnet.data.cifar10 import cache_folder
from cifarnet.errors import RunError
from cifarnet.runs import read_arrays, write_arrays

_FORMAT = 1
_MAX_BYTES = 1 << 30  # of one cache; a larger one is not written
_MAX_TOTAL = 2 << 30  # of all, including a new one; the least recently used are removed
_CLOCK_STEP = 2_000_000_000  # ns; the coarsest time stamps, FAT's
_MASK = (1 << 64) - 1


class Identity(NamedTuple):
    """What changes when a file is written or replaced: bytes, times in ns, and inode."""

    size: int
    modified: int
    changed: int
    inode: int


class Decoded(NamedTuple):
    """One decoded image.

    Attributes:
        pixels: uint8 [S, S, 3].
        digest: SHA-256 of the file's bytes, 32 bytes.
        identity: of the file when it was read.
        read_at: time before it was read, ns since 1970.
    """

    pixels: np.ndarray
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
        self._about = {
            "format": _FORMAT,
            "pillow": PIL.__version__,
            "folder": os.fsencode(folder).hex(),
            "size": size,
            "whole": whole,
        }
        key = hashlib.sha256(json.dumps(self._about["folder"]).encode()).hexdigest()[:16]
        name = f"{key}-{size}{'-whole' if whole else ''}.npz"
        self.path = cache_folder() / "image-folders" / name

    def read(self) -> dict[str, Decoded]:
        """Return the entries by image name; none if there is no cache that can be used."""
        try:
            arrays = read_arrays(self.path)
            about = json.loads(arrays["about"].tobytes())
            names = about.pop("names")
            if about != self._about:
                return {}
            return {
                name: Decoded(pixels, digest.tobytes(), Identity(*stat[:4]), stat[4])
                for name, pixels, digest, stat in zip(
                    names,
                    arrays["pixels"],
                    arrays["digests"],
                    arrays["stats"].tolist(),
                    strict=True,
                )
            }
        except (OSError, RunError, ValueError, KeyError, TypeError, AttributeError):
            return {}
        finally:
            with suppress(OSError):
                os.utime(self.path)  # used now

    def write(self, entries: Mapping[str, Decoded]) -> None:
        """Replace the cache; does nothing if it would be too large or cannot be written."""
        if not entries or sum(entry.pixels.nbytes for entry in entries.values()) > _MAX_BYTES:
            return
        about = json.dumps({**self._about, "names": list(entries)}).encode()
        values = list(entries.values())
        arrays = {
            "about": np.frombuffer(about, np.uint8),
            "pixels": np.stack([entry.pixels for entry in values]),
            "digests": np.stack([np.frombuffer(entry.digest, np.uint8) for entry in values]),
            "stats": np.array([(*entry.identity, entry.read_at) for entry in values], np.uint64),
        }
        with suppress(OSError, RunError):
            write_arrays(self.path, arrays)
            _prune(self.path.parent)


def _prune(folder: Path) -> None:
    """Remove the least recently used caches until all are within the limit."""
    stats = {path: path.stat() for path in folder.glob("*.npz")}
    total = 0
    for path in sorted(stats, key=lambda path: stats[path].st_mtime, reverse=True):
        total += stats[path].st_size
        if total > _MAX_TOTAL:
            path.unlink()
