"""Read many image files: in parallel, with progress, from the cache where it has them."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cifarnet import system
from cifarnet.data.image_cache import Decoded, ImageCache, identify
from cifarnet.data.image_file import decode, unreadable
from cifarnet.data.image_layout import ListedImage
from cifarnet.data.images import OnFetch
from cifarnet.formatting import count, printable

_MAX_THREADS = 16  # each may hold one image of 50 million pixels


def read_all(
    files: Sequence[ListedImage],
    cache: ImageCache,
    known: Iterable[str] = (),
    on_fetch: OnFetch | None = None,
) -> dict[str, Decoded | str]:
    """Read image files as pixels of one size.

    Args:
        files: which.
        cache: of their folder and size.
        known: names of images that are not read now and stay in the cache.
        on_fetch: as `Callback.on_fetch`, of the bytes of the files that are not in the cache.

    Returns:
        By name, the decoded image or why it cannot be read.
    """
    cached = cache.read()
    found: dict[str, Decoded | str] = {}
    missing = []
    for file in files:
        entry = cached.get(file.name)
        if entry is not None and _is_current(entry, file.path):
            found[file.name] = entry
        else:
            missing.append(file)
    read = _read(missing, cache, cached, on_fetch) if missing else {}
    found.update(read)
    if any(isinstance(result, Decoded) for result in read.values()):
        others = {name: cached[name] for name in known if name in cached}
        new = {name: entry for name, entry in found.items() if isinstance(entry, Decoded)}
        cache.write({**others, **new})
    return found


def _is_current(entry: Decoded, path: Path) -> bool:
    try:
        return entry.is_of(identify(path.stat()))
    except OSError:
        return False


def _read(
    files: Sequence[ListedImage],
    cache: ImageCache,
    cached: dict[str, Decoded],
    on_fetch: OnFetch | None,
) -> dict[str, Decoded | str]:
    """Read files in threads: Pillow decodes without Python's lock."""
    report = on_fetch or (lambda what, done, total: None)
    what = f"reading {count(len(files), 'image')} from the folder {printable(cache.root.name)}"
    sizes = [_size(file.path) for file in files]
    report(what, 0, sum(sizes))
    pool = ThreadPoolExecutor(min(system.usable_cores(), _MAX_THREADS))
    try:
        found, done = {}, 0
        results = pool.map(lambda file: _read_one(file.path, cache, cached.get(file.name)), files)
        for file, size, result in zip(files, sizes, results, strict=True):
            found[file.name] = result
            done += size
            report(what, done, sum(sizes))
        return found
    finally:
        pool.shutdown(cancel_futures=True)


def _read_one(path: Path, cache: ImageCache, cached: Decoded | None) -> Decoded | str:
    """Read one file; its pixels are those in the cache if its bytes are."""
    read_at = time.time_ns()
    try:
        with path.open("rb") as file:
            identity = identify(os.fstat(file.fileno()))
            content = file.read()
        digest = hashlib.sha256(content).digest()
        if cached is not None and cached.digest == digest:
            pixels = cached.pixels
        else:
            pixels = decode(content, cache.size, cache.whole)
    except Exception as error:  # Pillow's decoders raise many types on damaged files
        return unreadable(path, error)
    return Decoded(pixels, digest, identity, read_at)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
