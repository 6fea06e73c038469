"""The frame of a long job: its callbacks, and one last call to them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from cifarnet import system
from cifarnet.callbacks.base import Callback, Callbacks


@contextmanager
def job(callbacks: Iterable[Callback] | None, own: Iterable[Callback] = ()) -> Iterator[Callbacks]:
    """Report the end or the error of a job to callbacks.

    Args:
        callbacks: of the caller; None: a `ProgressDisplay` on a terminal or in a notebook.
        own: of the job itself, called first.

    Yields:
        All of them as one.
    """
    if callbacks is None:
        from cifarnet.callbacks.display import ProgressDisplay

        shown = ProgressDisplay()
        callbacks = [shown] if shown.is_interactive else []
    together = Callbacks([*own, *callbacks])
    try:
        with system.lenient():
            yield together
        together.on_end()
    except BaseException as error:
        together.on_error(error)
        raise
