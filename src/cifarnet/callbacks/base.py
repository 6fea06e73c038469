"""The callback protocol: what a long job reports, and how a training is asked to stop.

One protocol for training, fetching, exporting, evaluating and benchmarking. A job calls every
callback in the order given, in its own thread, but for `on_stop`. Its last call is `on_end` or
`on_error`, once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from cifarnet.runs import Run, RunRecord
    from cifarnet.runs.documents import Record


@dataclass(frozen=True)
class StepProgress:
    """The progress of a training after some steps.

    Attributes:
        epoch, epochs: current epoch, from 1, and number of epochs.
        step, steps: steps done in the epoch, and number of its steps.
        loss, accuracy: mean over the epoch's steps so far; nats, and 0 to 1.
        learning_rate: of the latest step.
        images_per_second: over the epoch's steps so far.
        seconds_left: of training steps until the last epoch ends, at this speed.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    accuracy: float
    learning_rate: float
    images_per_second: float
    seconds_left: float


@dataclass(frozen=True)
class EpochResult:
    """One finished epoch: a row of `history.csv`. Validation is None without a validation set.

    Attributes:
        epoch: from 1.
        loss, validation_loss: nats.
        accuracy, validation_accuracy: 0 to 1.
        learning_rate: of the last step.
        images_per_second: over the training steps, without validation.
        seconds: with validation.
    """

    epoch: int
    loss: float
    accuracy: float
    validation_loss: float | None
    validation_accuracy: float | None
    learning_rate: float
    images_per_second: float
    seconds: float


class Callback:
    """Base class of callbacks: every method does nothing. Override those of interest.

    An exception that a method raises ends the job with that exception. A training then has the
    status `failed` and can be resumed.

    Example:
        class StopAtHalf(cifarnet.Callback):
            accuracy = 0.0

            def on_epoch_end(self, result, best):
                self.accuracy = result.accuracy

            def stop_reason(self):
                return "half is enough" if self.accuracy > 0.5 else None

        cifarnet.train("article", callbacks=[StopAtHalf()])
    """

    def on_fetch(self, what: str, done: int, total: int | None) -> None:
        """Handle that `done` of `total` bytes of a dataset are fetched; `total` None: unknown."""

    def on_stage(self, what: str) -> None:
        """Handle that a job starts its next stage, such as `exporting onnx-int8`."""

    def on_train_begin(self, run: Run, record: RunRecord) -> None:
        """Handle that training starts or resumes in `run`."""

    def on_steps(self, progress: StepProgress) -> None:
        """Handle that some training steps are done; called about twice per second."""

    def on_epoch_end(self, result: EpochResult, best: bool) -> None:
        """Handle a finished epoch, after its checkpoint was written.

        Args:
            result: the epoch's row of `history.csv`.
            best: whether its validation accuracy is the highest so far.
        """

    def on_train_end(self, run: Run, record: RunRecord) -> None:
        """Handle that training finished or stopped; `record` has its status and reason."""

    def on_warning(self, text: str) -> None:
        """Handle that something failed or is not as it should be; the job continues."""

    def on_stop(self) -> None:
        """Handle that Ctrl-C or a signal asks a training to stop after its current steps.

        Called at once, in another thread.
        """

    def on_result(self, record: Record) -> None:
        """Handle the result of an evaluation or a benchmark, before it is written."""

    def on_end(self) -> None:
        """Handle that the job ends without an error."""

    def on_error(self, error: BaseException) -> None:
        """Handle that the job ends with `error`. Exceptions that this method raises are ignored."""

    def stop_reason(self) -> str | None:
        """Return the reason to stop training now, or None to continue.

        Called between two steps, about twice per second. The run gets the status `stopped` and can
        be resumed.
        """
        return None


_Method = TypeVar("_Method", bound=Callable[..., None])


def optional(method: _Method) -> _Method:
    """Keep an exception of a callback's method from ending the job: what it shows is optional.

    After the first one, the callback has its `on_error` called and is then ignored.
    """

    @functools.wraps(method)
    def call(self: Any, *args: Any) -> None:
        if vars(self).get("_given_up"):
            return
        try:
            method(self, *args)
        except (Exception, SystemExit) as error:  # rich exits when the reader of a pipe has gone
            self._given_up = True
            with suppress(Exception, SystemExit):
                on_error = type(self).on_error
                getattr(on_error, "__wrapped__", on_error)(self, error)

    return cast("_Method", call)


class Callbacks(Callback):
    """Several callbacks as one; each call goes to all of them, in order."""

    def __init__(self, callbacks: Iterable[Callback]) -> None:
        self._callbacks = tuple(callbacks)

    def on_fetch(self, what: str, done: int, total: int | None) -> None:
        """Forward to each."""
        for callback in self._callbacks:
            callback.on_fetch(what, done, total)

    def on_stage(self, what: str) -> None:
        """Forward to each."""
        for callback in self._callbacks:
            callback.on_stage(what)

    def on_train_begin(self, run: Run, record: RunRecord) -> None:
        """Forward to each."""
        for callback in self._callbacks:
            callback.on_train_begin(run, record)

    def on_steps(self, progress: StepProgress) -> None:
        """Forward to each."""
        for callback in self._callbacks:
            callback.on_steps(progress)

    def on_epoch_end(self, result: EpochResult, best: bool) -> None:
        """Forward to each."""
        for callback in self._callbacks:
            callback.on_epoch_end(result, best)

    def on_train_end(self, run: Run, record: RunRecord) -> None:
        """Forward to each."""
        for callback in self._callbacks:
            callback.on_train_end(run, record)

    def on_warning(self, text: str) -> None:
        """Forward to each."""
        for callback in self._callbacks:
            callback.on_warning(text)

    def on_stop(self) -> None:
        """Forward to each."""
        for callback in self._callbacks:
            callback.on_stop()

    def on_result(self, record: Record) -> None:
        """Forward to each."""
        for callback in self._callbacks:
            callback.on_result(record)

    def on_end(self) -> None:
        """Forward to each, whatever the others raise, then raise the first error."""
        errors = []
        for callback in self._callbacks:
            try:
                callback.on_end()
            except Exception as error:
                errors.append(error)
        if errors:
            raise errors[0]

    def on_error(self, error: BaseException) -> None:
        """Forward to each, whatever the others raise."""
        for callback in self._callbacks:
            with suppress(Exception):
                callback.on_error(error)

    def stop_reason(self) -> str | None:
        """Return the first reason that any of them gives.

        Raises:
            TypeError: it is not a text.
        """
        reasons = (callback.stop_reason() for callback in self._callbacks)
        reason = next((reason for reason in reasons if reason is not None), None)
        if not isinstance(reason, str | None):
            raise TypeError(f"stop_reason: expected a text or None, received {reason!r}")
        return reason
