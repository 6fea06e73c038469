"""What a long job reports while it runs, and how it is asked to stop.

One protocol for training, fetching, exporting, evaluating and benchmarking. A job calls every
callback in the order given, in its own thread.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cifarnet.runs import Run, RunRecord


@dataclass(frozen=True)
class StepProgress:
    """How far a training is, after some steps.

    Attributes:
        epoch, epochs: the current epoch, from 1, and how many there are.
        step, steps: steps done in the epoch, and how many it has.
        loss, accuracy: mean over the epoch's steps so far; nats, and 0 to 1.
        learning_rate: of the latest step.
        images_per_second: over the epoch's steps so far.
        seconds_left: until the last epoch ends, at this speed.
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
        images_per_second: over the training steps.
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
    """Base of callbacks: every method does nothing. Override those of interest.

    An exception that a method raises ends the job.

    Example:
        class StopAtHalf(cifarnet.Callback):
            def on_epoch_end(self, result, best):
                self.accuracy = result.accuracy

            def stop_reason(self):
                return "half is enough" if self.accuracy > 0.5 else None

        cifarnet.train(config, callbacks=[StopAtHalf()])
    """

    def on_fetch(self, what: str, done: int, total: int | None) -> None:
        """Report that `done` of `total` bytes of a dataset are fetched; `total` None: unknown."""

    def on_stage(self, what: str) -> None:
        """Report that a job starts its next stage, such as `exporting onnx-int8`."""

    def on_train_begin(self, run: Run, record: RunRecord) -> None:
        """Report that training starts or resumes in `run`."""

    def on_steps(self, progress: StepProgress) -> None:
        """Report that some training steps are done; about twice per second."""

    def on_epoch_end(self, result: EpochResult, best: bool) -> None:
        """Report a finished epoch; `best`: its validation accuracy is the highest so far."""

    def on_train_end(self, run: Run, record: RunRecord) -> None:
        """Report that training ended; `record` has its status and reason."""

    def on_error(self, error: BaseException) -> None:
        """Report that the job ends with an error."""

    def stop_reason(self) -> str | None:
        """Return why training should stop now, or None to continue. Asked between two steps."""
        return None


class Callbacks(Callback):
    """Several callbacks as one."""

    def __init__(self, callbacks: Iterable[Callback]) -> None:
        self._callbacks = tuple(callbacks)

    def on_fetch(self, what: str, done: int, total: int | None) -> None:
        """Forward to each."""
        for one in self._callbacks:
            one.on_fetch(what, done, total)

    def on_stage(self, what: str) -> None:
        """Forward to each."""
        for one in self._callbacks:
            one.on_stage(what)

    def on_train_begin(self, run: Run, record: RunRecord) -> None:
        """Forward to each."""
        for one in self._callbacks:
            one.on_train_begin(run, record)

    def on_steps(self, progress: StepProgress) -> None:
        """Forward to each."""
        for one in self._callbacks:
            one.on_steps(progress)

    def on_epoch_end(self, result: EpochResult, best: bool) -> None:
        """Forward to each."""
        for one in self._callbacks:
            one.on_epoch_end(result, best)

    def on_train_end(self, run: Run, record: RunRecord) -> None:
        """Forward to each."""
        for one in self._callbacks:
            one.on_train_end(run, record)

    def on_error(self, error: BaseException) -> None:
        """Forward to each."""
        for one in self._callbacks:
            one.on_error(error)

    def stop_reason(self) -> str | None:
        """Return the first reason that any of them gives."""
        reasons = (one.stop_reason() for one in self._callbacks)
        return next((reason for reason in reasons if reason is not None), None)
