"""The cache folder of datasets, and its locks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock
import platformdirs

from cifarnet.data.images import OnFetch


def cache_folder() -> Path:
    """Return `$CIFARNET_HOME`, or else the user's cache folder."""
    home = os.environ.get("CIFARNET_HOME")
    return Path(home) if home else Path(platformdirs.user_cache_dir("cifarnet"))


@contextmanager
def locked(path: Path, waiting_for: str, on_fetch: OnFetch) -> Iterator[None]:
    """Hold a lock, which the system releases however the process ends.

    Args:
        path: of the lock's file, which stays.
        waiting_for: what a process that waits tells once, through `on_fetch`.
        on_fetch: as `Callback.on_fetch`.

    Raises:
        OSError: the file cannot be written.
    """
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        on_fetch(f"waiting for {waiting_for}", 0, None)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
