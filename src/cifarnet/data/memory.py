"""Whether the images of a dataset are held in memory."""

from __future__ import annotations

from cifarnet import system
from cifarnet.config import DataConfig


def budget(config: DataConfig) -> int | None:
    """Return how many bytes of pixels may be held in memory; None: the memory is not known."""
    memory = system.usable_memory()
    return None if memory is None else int(config.memory_share * memory)
