"""Callbacks that write a training into its run: `log.txt` and TensorBoard."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cifarnet.backend import tf
from cifarnet.callbacks import Callback, EpochResult, optional
from cifarnet.callbacks.text import EPOCH_HEADER, describe_epoch, describe_run
from cifarnet.formatting import printable_lines
from cifarnet.runs import Run, RunRecord


class LogFile(Callback):
    """Append what a display prints to `log.txt`, and how the training ended.

    A log that cannot be written never ends a training.
    """

    def __init__(self) -> None:
        self._path: Path | None = None

    def on_train_begin(self, run: Run, record: RunRecord) -> None:
        """Append the description of the run and the header of the epochs."""
        self._path = run.log_file
        self._write(f"{describe_run(run, record)}\n\n{EPOCH_HEADER}")

    def on_epoch_end(self, result: EpochResult, best: bool) -> None:
        """Append the epoch's line."""
        self._write(describe_epoch(result, best))

    def on_train_end(self, run: Run, record: RunRecord) -> None:
        """Append the status and its reason."""
        self._write(f"{record.status}: {record.stop_reason}")

    def on_warning(self, text: str) -> None:
        """Append the warning."""
        self._write(f"warning: {text}")

    def on_error(self, error: BaseException) -> None:
        """Append the error."""
        self._write(f"{type(error).__name__}: {error}")

    def _write(self, text: str) -> None:
        if self._path is not None:
            with suppress(OSError), self._path.open("a", encoding="utf-8") as file:
                file.write(printable_lines(text) + "\n")


class TensorBoard(Callback):
    """Write each epoch's row of `history.csv` to TensorBoard logs in `tensorboard/` of the run.

    Logs that cannot be written are given up, and the training continues without them.
    """

    def __init__(self) -> None:
        self._writer: Any = None

    @optional
    def on_train_begin(self, run: Run, record: RunRecord) -> None:
        """Open a log file."""
        self._writer = tf.summary.create_file_writer(str(run.path / "tensorboard"))

    @optional
    def on_epoch_end(self, result: EpochResult, best: bool) -> None:
        """Write each number of the row under the name of its column."""
        with self._writer.as_default():
            for name, value in asdict(result).items():
                if value is not None and name != "epoch":
                    tf.summary.scalar(name, value, step=result.epoch)
            self._writer.flush()

    @optional
    def on_end(self) -> None:
        """Close the log file."""
        self._writer.close()

    @optional
    def on_error(self, error: BaseException) -> None:
        """Close the log file, if it was opened."""
        if self._writer is not None:
            self._writer.close()
