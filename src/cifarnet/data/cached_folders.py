"""The caches of decoded images of folders: list and remove them."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from cifarnet import runs
from cifarnet.data.image_cache import INDEX
from cifarnet.data.image_filler import all_caches, remove, size_of
from cifarnet.errors import RunError
from cifarnet.formatting import printable


@dataclass(frozen=True)
class CachedFolder:
    """The decoded images of one folder at one size.

    Attributes:
        path: of the cache.
        folder: of the images, as far as it can be printed; `unknown` of a damaged or old cache.
        image_size: side of the images, pixels; 0 if unknown.
        images: number of entries.
        bytes: on disk.
    """

    path: Path
    folder: str
    image_size: int
    images: int
    bytes: int


def image_caches() -> list[CachedFolder]:
    """List the caches, the least recently used first."""
    return [_describe(path) for path in all_caches()]


def clear_image_caches() -> list[CachedFolder]:
    """Remove all caches but those that a process is filling; return what was removed."""
    return [one for one in image_caches() if remove(one.path)]


def _describe(path: Path) -> CachedFolder:
    try:
        about = json.loads(runs.read_arrays(path / INDEX)["about"].tobytes())
        folder = printable(os.fsdecode(bytes.fromhex(about["folder"])))
        found = folder, int(about["size"]), len(about["names"])
    except (OSError, RunError, ValueError, KeyError, TypeError):
        found = "unknown", 0, 0
    return CachedFolder(path, *found, size_of(path))
