"""Callbacks that keep a record of a training in its run: `log.txt` and TensorBoard."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cifarnet.backend import tf
from cifarnet.callbacks import Callback, EpochResult
from cifarnet.callbacks.text import EPOCH_HEADER, describe_epoch, describe_run
from cifarnet.runs import Run, RunRecord


class LogFile(Callback):
    """Appends to `log.txt` what a display shows, without the live line.

    A log that cannot be written never ends a training.
    """

    def __init__(self) -> None:
        self._path: Path | None = None

    def on_train_begin(self, run: Run, record: RunRecord) -> None:
        """Describe the run."""
        self._path = run.log_file
        self._write(f"{describe_run(run, record)}\n\n{EPOCH_HEADER}")

    def on_epoch_end(self, result: EpochResult, best: bool) -> None:
        """Add the epoch's line."""
        self._write(describe_epoch(result, best))

    def on_train_end(self, run: Run, record: RunRecord) -> None:
        """Add how it ended."""
        self._write(f"{record.status}: {record.stop_reason}")

    def on_error(self, error: BaseException) -> None:
        """Add the error."""
        self._write(f"{type(error).__name__}: {error}")

    def _write(self, text: str) -> None:
        if self._path is not None:
            with suppress(OSError), self._path.open("a", encoding="utf-8") as file:
                file.write(text + "\n")


class TensorBoard(Callback):
    """Writes each epoch's row to TensorBoard logs in `tensorboard/` of the run."""

    def __init__(self) -> None:
        self._writer: Any = None

    def on_train_begin(self, run: Run, record: RunRecord) -> None:
        """Open the log."""
        self._writer = tf.summary.create_file_writer(str(run.path / "tensorboard"))

    def on_epoch_end(self, result: EpochResult, best: bool) -> None:
        """Write the row."""
        with self._writer.as_default():
            for name, value in asdict(result).items():
                if value is not None and name != "epoch":
                    tf.summary.scalar(name, value, step=result.epoch)
            self._writer.flush()
