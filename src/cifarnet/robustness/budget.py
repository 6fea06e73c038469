"""Share a time among measurements, and choose how many images it is enough for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from cifarnet.data import images_per_batch

_MOST, _ALWAYS = 1_000, 100  # images in one part, of 64 x 64 pixels and of any size

Clock = Callable[[], float]  # seconds


@dataclass(frozen=True)
class Budget:
    """A time that starts when this is made.

    Attributes:
        seconds: None: no limit.
        clock: a steady clock, seconds.
        start: what the clock said.
    """

    seconds: float | None
    clock: Clock = time.perf_counter
    start: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        """Start."""
        object.__setattr__(self, "start", self.clock())

    @property
    def used(self) -> float:
        """Seconds since the start."""
        return self.clock() - self.start

    def left(self, share: float = 1.0) -> float | None:
        """Return the seconds until `share` of the time is used; None: no limit."""
        return None if self.seconds is None else share * self.seconds - self.used

    def chosen(self, images: int, of: int) -> str:
        """Say why so many images were used."""
        if images == of or self.seconds is None:
            return f"all {images:,} images"
        return f"{images:,} of {of:,} images: what {self.seconds:g} s allow at the measured speed"


def at_once(images: int, side: int) -> int:
    """Return `images`, or fewer where so many large ones of hundreds of classes would fill memory.

    Args:
        images: wanted in one part.
        side: of the images, pixels.
    """
    return min(images, max(_ALWAYS, images_per_batch(side, _MOST)))


def chunks(
    order: np.ndarray,
    seconds: float | None,
    clock: Clock = time.perf_counter,
    smallest: int = 20,
    largest: int = 200,
) -> Iterator[np.ndarray]:
    """Yield parts of `order` while there is time for one more at the speed of the last one.

    The first part has `smallest` rows and is yielded whatever the time; it shows the speed. What
    the caller does between two parts is what is timed.

    Args:
        order: rows, int [N]; see `data.balanced_order`.
        seconds: time for all; None: no limit.
        clock: a steady clock, seconds.
        smallest, largest: rows of a part; `smallest` should be a multiple of the classes.
    """
    begin = before = clock()
    done = 0
    size = smallest if seconds is not None else largest
    while done < len(order):
        part = order[done : done + size]
        yield part
        done += len(part)
        now = clock()
        if seconds is not None:
            pace = max(now - before, 1e-9) / len(part)
            left = begin + seconds - now
            affordable = int(left / pace) // smallest * smallest
            # The first part is slower than the others: it does not decide that it is the last.
            if affordable < smallest and not (left > 0 and done == len(part)):
                return
            # Not all at once: the speed changes.
            size = min(max(affordable // (2 * smallest) * smallest, smallest), largest)
        before = now
