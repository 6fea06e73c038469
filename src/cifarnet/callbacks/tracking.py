"""Feed MLflow from a process of its own, for which a training never waits."""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import IO

from cifarnet.callbacks.base import Callback, EpochResult, optional
from cifarnet.callbacks.mlflow_writer import END, EPOCH, OK, WAIT_SECONDS
from cifarnet.runs import Run, RunRecord

# The new process finds modules where this one does, not in the current folder first.
_CODE = """import sys
sys.path[:] = {path!r}
from cifarnet.callbacks import mlflow_writer
mlflow_writer.main(*sys.argv[1:])
"""


class MlflowTracker(Callback):
    """Have a child process copy the run to MLflow: see `mlflow_writer`.

    The training only tells it that `history.csv` has a new row. Random numbers, environment and
    memory of the training are out of its reach. When the training has ended, it has a minute.
    """

    def __init__(self, uri: str, warn: Callable[[str], None]) -> None:
        """Feed the MLflow at `uri`; `warn` receives a line when that begins to fail."""
        self._uri = uri
        self._warn = warn
        self._process: subprocess.Popen[bytes] | None = None
        self._answers: queue.Queue[str | None] = queue.Queue()
        self._failing = False

    @optional
    def on_train_begin(self, run: Run, record: RunRecord) -> None:
        """Start the process."""
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _CODE.format(path=sys.path), self._uri, str(run.path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for the training, which then tells it
            )
        except OSError as error:
            self._warn_once(f"its process cannot start: {error}")
            return
        threading.Thread(
            target=_read, args=(self._process.stdout, self._answers), daemon=True
        ).start()

    @optional
    def on_epoch_end(self, result: EpochResult, best: bool) -> None:
        """Tell it that there is a new epoch, and report what it has answered so far."""
        if self._process is not None:
            self._tell(self._process, EPOCH)
            with suppress(queue.Empty):
                while self._takes(self._answers.get_nowait()):
                    pass

    @optional
    def on_end(self) -> None:
        """Wait until everything is sent, or a minute is over."""
        self._end()

    @optional
    def on_error(self, error: BaseException) -> None:
        """Wait until everything is sent, or a minute is over."""
        self._end()

    def _tell(self, process: subprocess.Popen[bytes], message: bytes) -> None:
        with suppress(OSError):  # it has died, which its answers show
            if process.stdin is not None:
                process.stdin.write(message)
                process.stdin.flush()

    def _end(self) -> None:
        process = self._process
        if process is None:
            return
        deadline = time.monotonic() + WAIT_SECONDS
        try:
            self._tell(process, END)
            while self._takes(self._answers.get(timeout=max(0.0, deadline - time.monotonic()))):
                pass
        except queue.Empty:
            self._warn_once(f"not everything was sent within {WAIT_SECONDS:g} s")
        finally:
            self._stop()

    def _takes(self, answer: str | None) -> bool:
        """Report an answer; return whether the process lives."""
        if answer is None:
            self._stop()
        elif answer == OK:
            self._failing = False
        else:
            self._warn_once(answer)
        return answer is not None

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        try:
            code = process.wait(timeout=1.0)  # it has said its last, and MLflow may have threads
        except subprocess.TimeoutExpired:
            code = 0
            process.kill()
            process.wait()
        if code != 0:
            self._warn_once(f"its process ended with exit code {code}")
        for pipe in (process.stdin, process.stdout):
            with suppress(OSError):  # what a pipe without a reader still holds
                if pipe is not None:
                    pipe.close()

    def _warn_once(self, reason: str) -> None:
        """Warn, unless it has not worked since the last warning."""
        if not self._failing:
            self._failing = True
            self._warn(f"MLflow at {self._uri} fails; the training continues: {reason}")


def _read(stream: IO[bytes], answers: queue.Queue[str | None]) -> None:
    """Pass on lines, and None after the last."""
    with suppress(OSError, ValueError):  # the stream was closed
        for line in stream:
            answers.put(line.decode("utf-8", "replace").strip())
    answers.put(None)
