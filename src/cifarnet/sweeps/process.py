"""A training of a sweep in a process of its own, and what it and the sweep tell each other."""

from __future__ import annotations

import multiprocessing
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Literal, NamedTuple

from cifarnet import config as cfg
from cifarnet import runs, worker
from cifarnet.callbacks import Callback, EpochResult
from cifarnet.callbacks.interrupt import SIGNALS
from cifarnet.errors import (
    BackendError,
    CifarnetError,
    DataError,
    Interrupted,
    RunError,
    TrainingError,
)
from cifarnet.runs import Run, RunRecord
from cifarnet.sweeps.folder import find_run

PRUNED = "pruned by the sweep"
PAUSED = "the sweep stopped"
# What the sweep's answer to an epoch may take before the training continues without it.
_ANSWER_SECONDS = 10.0
# A process that is killed takes a moment to end, and its child processes another one.
_LOCK_SECONDS = 60.0
_END_SECONDS = 30.0


@dataclass(frozen=True)
class Job:
    """What a process trains.

    Attributes:
        folder: of runs.
        config: its `name` is that of the run, which is resumed if it is there.
        threads: of TensorFlow's operations and of those it runs at once; 0: its own choice.
        asks: whether to wait after each epoch for whether to go on.
        file, command: recorded in the run.
    """

    folder: Path
    config: cfg.Config
    threads: int
    asks: bool
    file: str
    command: str


class Epoch(NamedTuple):
    """A finished epoch, from 1, and its validation accuracy."""

    epoch: int
    accuracy: float


class Ended(NamedTuple):
    """How a training ended.

    Attributes:
        how: `finished`; `stopped`, and resumable; `failed`, by its settings; `refused`, by the
            machine: the next training would be, too.
        accuracy: on validation images, of the selected epoch; of a finished one.
        reason: in words.
    """

    how: Literal["finished", "stopped", "failed", "refused"]
    accuracy: float | None = None
    reason: str = ""


class Link(Callback):
    """Tells the sweep each epoch, and asks it whether to stop."""

    def __init__(self, connection: Connection, asks: bool) -> None:
        self._connection = connection
        self._asks = asks
        self._reason: str | None = None

    def on_train_begin(self, run: Run, record: RunRecord) -> None:
        """Tell the epochs of earlier sessions: the sweep may not know all of them."""
        for epoch, accuracy in validated(run):
            self.tell(epoch, accuracy)

    def on_epoch_end(self, result: EpochResult, best: bool) -> None:
        """Tell the epoch."""
        if result.validation_accuracy is not None:
            self.tell(result.epoch, result.validation_accuracy)

    def tell(self, epoch: int, accuracy: float) -> None:
        """Send an epoch, and wait for the answer where one decides."""
        self._connection.send(Epoch(epoch, accuracy))
        if self._asks and self._reason is None:
            self._receive(_ANSWER_SECONDS)

    def stop_reason(self) -> str | None:
        """Return why the sweep stops this training."""
        self._receive(0.0)
        return self._reason

    def _receive(self, seconds: float) -> None:
        if self._connection.poll(seconds):
            self._reason = self._connection.recv() or self._reason


Train = Callable[[Job, Link], Ended]


class Process:
    """A running training.

    Attributes:
        connection: has `Epoch`s, then an `Ended`; then it is closed. Each epoch of a job that asks
            is answered with `answer`.
    """

    def __init__(self, job: Job, train: Train) -> None:
        """Start it: `train` is a function of a module."""
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, job, train))
        with worker.without_main_module(), _blocked():
            self._process.start()
        theirs.close()

    def answer(self, stop: str | None) -> None:
        """Let it go on, or stop it for a reason; it then ends resumable."""
        try:
            self.connection.send(stop)
        except OSError:
            return  # it has ended, which the connection tells

    def end(self, kill: bool = False) -> str:
        """Wait for its end; return how it ended, such as `SIGKILL` or `exit code 1`."""
        if not kill:
            self._process.join(_END_SECONDS)
        self._process.kill()  # also what hangs while it ends
        self._process.join()
        self.connection.close()
        code = self._process.exitcode or 0
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"


@contextmanager
def _blocked() -> Iterator[None]:
    """Block signals of the group, which a new process inherits, until it has its handlers."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # its start unblocks some
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(connection: Connection, job: Job, train: Train) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the sweep gets Ctrl-C, too, and stops this
    for number in SIGNALS:  # nor is it killed by these before the training handles them
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, lambda *_: None)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    threading.Thread(target=worker.end_with_parent, daemon=True).start()
    try:
        ended = train(job, Link(connection, job.asks))
    except Interrupted:
        ended = Ended("stopped", reason="interrupted")
    except (DataError, RunError, BackendError, OSError) as error:
        ended = Ended("refused", reason=str(error))
    except TrainingError as error:  # what follows its first sentence is advice for one training
        ended = Ended("failed", reason=str(error).split(". ")[0].rstrip("."))
    except CifarnetError as error:
        ended = Ended("failed", reason=str(error))
    except Exception as error:
        ended = Ended("failed", reason=f"{type(error).__name__}: {error}")
    connection.send(ended)


def train_job(job: Job, link: Link) -> Ended:
    """Train the run of a job, or resume it to the bits it would have had without the stop."""
    run = find_run(job.folder, job.config.name)
    if run is not None:
        _wait_for_lock(run)
        if run.read_record().status == "finished":
            link.on_train_begin(run, run.read_record())
            return outcome(run)
    from cifarnet import backend

    if job.threads:
        backend.tf.config.threading.set_intra_op_parallelism_threads(job.threads)
        backend.tf.config.threading.set_inter_op_parallelism_threads(job.threads)
    backend.initialize_devices()
    from cifarnet import training

    if run is None:
        run = training.train(job.config, job.folder, job.file, job.command, [link])
    else:
        training.resume(run, callbacks=[link])
    return outcome(run)


def outcome(run: Run) -> Ended:
    """Return how the training of a run ended, from its record.

    Raises:
        DataError: it has finished without a validation accuracy.
    """
    record = run.read_record()
    if record.status != "finished":
        return Ended("stopped", reason=record.stop_reason or "")
    if record.validation_accuracy is None:
        raise DataError(
            f"{run.path} has no validation accuracy, which a sweep compares. Set "
            "data.validation_fraction above 0 in the base."
        )
    return Ended("finished", record.validation_accuracy)


def validated(run: Run) -> list[Epoch]:
    """Return the finished epochs of a run and their validation accuracy, from `history.csv`."""
    if not run.history_file.exists():
        return []
    return [
        Epoch(int(row["epoch"]), row["validation_accuracy"])
        for row in runs.read_history(run)
        if "validation_accuracy" in row
    ]


def _wait_for_lock(run: Run) -> None:
    """Wait for the end of a process whose sweep was killed; it ends itself within moments."""
    until = time.monotonic() + _LOCK_SECONDS
    while runs.is_locked(run) and time.monotonic() < until:
        time.sleep(0.1)


def threads_of_each(jobs: int, cores: int) -> int:
    """Return the threads of each of `jobs` trainings on so many cores; 0: TensorFlow's choice."""
    return 0 if jobs == 1 else max(1, cores // jobs)
