"""The frame of a long job: its callbacks, one last call to them, what they are told of a run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cifarnet import system
from cifarnet.callbacks.base import Callback, Callbacks
from cifarnet.formatting import count

if TYPE_CHECKING:
    from cifarnet.runs import Run


@contextmanager
def job(callbacks: Iterable[Callback] | None) -> Iterator[Callbacks]:
    """Report the end or the error of a job to callbacks.

    Args:
        callbacks: of the caller; None: a `ProgressDisplay` on a terminal or in a notebook.

    Yields:
        All of them as one.
    """
    if callbacks is None:
        from cifarnet.callbacks.display import ProgressDisplay

        shown = ProgressDisplay()
        callbacks = [shown] if shown.is_interactive else []
    together = Callbacks([*callbacks])
    try:
        with system.lenient():
            yield together
    except BaseException as error:
        together.on_error(error)
        raise
    together.on_end()


def warn_unfinished(run: Run | None, callback: Callback) -> None:
    """Warn if the training of a run did not come to its end, unless a callback stopped it."""
    record = None if run is None else run.read_record()
    if record is not None and record.status not in ("finished", "stopped"):
        done = count(record.epochs_done or 0.0, "epoch")
        callback.on_warning(f"the training has not come to its end: {record.status} after {done}")
