"""Run a sweep: begin it, join it or go on with it, whichever is to be done."""

from __future__ import annotations

import shlex
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TypeVar

from cifarnet import system
from cifarnet.callbacks import Callback, Callbacks, job
from cifarnet.callbacks.interrupt import stop_signal
from cifarnet.errors import ConfigError, Interrupted, RunError
from cifarnet.runs.sweeps import SweepBegun, SweepResults, TrialEnded, TrialResult
from cifarnet.sweeps import folder as folders
from cifarnet.sweeps import process, results, settings, storage
from cifarnet.sweeps.check import require_keys
from cifarnet.sweeps.folder import SweepFolder
from cifarnet.sweeps.process import Train
from cifarnet.sweeps.queue import Queue
from cifarnet.sweeps.trial import ActiveTrial, Verdict

T = TypeVar("T")

_TICK_SECONDS = 0.5
# Between attempts on a storage that is away, and between looks for trials whose process died.
_AGAIN_SECONDS = 5.0
# How long a storage may be away while this process trains nothing.
_PATIENCE_SECONDS = 600.0


def run_sweep(
    target: str | Path,
    jobs: int = 1,
    url: str | None = None,
    root: str | Path | None = None,
    callbacks: Iterable[Callback] | None = None,
) -> SweepResults:
    """Train the trials of a sweep until none is left: begin it, join it, or go on with it.

    Any number of processes may run the same sweep, on any number of machines. A trial whose process
    died is continued under its own number, in its own run directory, by exact resume.

    Args:
        target: a sweep file, or the folder or name of a sweep that has begun.
        jobs: trainings at once; TensorFlow's threads are divided among them and recorded.
        url: of a database that counts the trials; None: as recorded, or a journal in the folder.
        root: folder of runs, in which `sweeps/<name>` is made; None: CIFARNET_RUNS, or `runs`.
        callbacks: notified of each stage, of the sweep (`on_result`, with a `SweepBegun`) and of
            each trial that ended (a `TrialEnded`). None shows the progress on a terminal.

    Returns:
        The trials so far; other processes may still train some.

    Raises:
        ConfigError: the file or the URL is wrong.
        RunError: no such sweep, one with other settings, a storage that cannot be opened, or a
            machine that cannot train a trial, which stays for another.
        Interrupted: by Ctrl-C, SIGTERM, SIGHUP or SIGUSR1; the same call goes on.

    Example:
        results = cifarnet.run_sweep("rates.sweep.yaml", jobs=2)
        print(results.best, results.best_value)
    """
    if jobs < 1:
        raise ConfigError(f"jobs: expected at least 1, received {jobs}")
    with job(callbacks) as report:
        report.on_stage("opening the sweep")
        storage.require_optuna()
        folder = _folder(Path(target), url, root)
        record = folder.record
        runs = record.trials * len(record.seeds)
        report.on_result(
            SweepBegun(folder=str(folder.path), trials_total=record.trials, runs=runs, jobs=jobs)
        )
        work_on(folder, url, jobs, report)
        return results.collect(folder, url)


def _folder(target: Path, url: str | None, root: str | Path | None) -> SweepFolder:
    if target.is_dir() or not (target.is_file() or target.suffix in (".yaml", ".yml")):
        return folders.open_folder(target, root)
    found = settings.read(target)
    require_keys(found)
    if url:
        storage.connect(url)
    return folders.begin_or_join(found, storage.without_password(url), root)


def work_on(
    folder: SweepFolder,
    url: str | None,
    jobs: int,
    report: Callbacks,
    train: Train = process.train_job,
) -> None:
    """Train trials of a sweep until none is left for this process; raises as `run_sweep`.

    Args:
        train: what each process does; a function of a module.
    """
    work = _Work(folder, Queue(folder, url), jobs, report, train)
    with stop_signal() as stop:
        try:
            work.run(stop)
        except KeyboardInterrupt:  # the second Ctrl-C
            stop.set()
        finally:
            work.close()
    if stop.is_set():
        raise Interrupted(f"{folder.path} goes on with: {_command(folder, url, jobs)}")


def _command(folder: SweepFolder, url: str | None, jobs: int) -> str:
    words = ["cifarnet", "sweep", "run", str(folder.path)]
    if jobs > 1:
        words += ["--jobs", str(jobs)]
    recorded = folder.record.storage
    if url and (":***@" in recorded or storage.without_password(url) != recorded):
        words += ["--storage", "URL"]
    return shlex.join(words)


class _Work:
    """The trials that this process trains, and what it still has to tell the storage."""

    def __init__(
        self, folder: SweepFolder, queue: Queue, jobs: int, report: Callbacks, train: Train
    ) -> None:
        self._folder = folder
        self._queue = queue
        self._jobs = jobs
        self._report = report
        self._train = train
        self._threads = process.threads_of_each(jobs, system.usable_cores())
        self._active: list[ActiveTrial] = []
        self._refusal = ""
        self._away_since: float | None = None
        self._not_before = 0.0
        self._looked = -_AGAIN_SECONDS
        self._shown = ""

    def run(self, stop: threading.Event) -> None:
        """Claim, train and tell until nothing is left, or `stop` is set."""
        while True:
            is_ending = stop.is_set() or bool(self._refusal)
            self._settle(is_ending)
            if is_ending:
                for one in self._active:
                    one.pause()
            elif len(self._active) < self._jobs:
                self._claim()
            if not self._active and (is_ending or self._away_since is None):
                break
            self._show("stopping after the current step:" if is_ending else "training")
            self._check_patience()
            self._listen()
        if self._refusal and not stop.is_set():
            raise RunError(
                f"this machine cannot go on with {self._folder.path}: {self._refusal} The trial "
                "stays; the same command continues it."
            )

    def close(self) -> None:
        """End what still runs; its trials are continued by the next process that looks."""
        for one in self._active:
            one.kill()
            one.claim.lock.release()

    def _claim(self) -> None:
        """Fill the free places; look again only some seconds after there was nothing."""
        if self._active and time.monotonic() - self._looked < _AGAIN_SECONDS:
            return
        while len(self._active) < self._jobs:
            busy = [one.claim.number for one in self._active]
            found = self._attempt(partial(self._queue.claim, busy, self._threads))
            if not found or found[0] is None:
                self._looked = time.monotonic()
                return
            trial = ActiveTrial(self._folder, found[0], self._train)
            self._active.append(trial)
            trial.start()

    def _listen(self) -> None:
        """Wait a moment for messages, and handle them."""
        connections: dict[Connection, ActiveTrial] = {
            one.connection: one for one in self._active if one.connection is not None
        }
        if not connections:
            time.sleep(_TICK_SECONDS)
        for ready in wait(list(connections), timeout=_TICK_SECONDS):
            trial = connections[ready]  # type: ignore[index]
            decides = trial.decides
            epoch = trial.receive()
            if epoch is None:
                continue
            prune: list[bool] = []
            if decides:
                trial.claim.unreported[epoch.epoch] = epoch.accuracy
                prune = self._attempt(partial(self._queue.report, trial.claim))
            trial.answer(any(prune))

    def _settle(self, is_ending: bool) -> None:
        """Tell the storage of the trials that ended, and let go of them.

        What cannot be told stays in the runs: who takes the trial over finds them finished.
        """
        for one in list(self._active):
            if one.verdict is not None:
                told = self._attempt(partial(self._tell, one))
                if not told and not is_ending:
                    continue
                for found in told:
                    self._report.on_result(TrialEnded(trial=found))
                    self._shown = ""  # displays remove their live line
                self._looked = -_AGAIN_SECONDS
            elif not one.paused:
                continue
            self._refusal = self._refusal or one.refusal
            self._active.remove(one)
            one.claim.lock.release()

    def _tell(self, one: ActiveTrial) -> TrialResult:
        verdict = one.verdict or Verdict("failed")
        if verdict.state != "pruned":
            self._queue.report(one.claim)
        self._queue.tell(one.claim, verdict.state, verdict.value, one.attributes())
        trial = self._queue.trials()[one.claim.number]
        return results.trial_result(self._folder, trial, results.Known(self._folder))

    def _attempt(self, call: Callable[[], T]) -> list[T]:
        """Return what a call on the storage gives, in a list; empty: the storage is away."""
        if self._away_since is not None and time.monotonic() < self._not_before:
            return []
        try:
            found = call()
        except storage.outages() as error:
            if self._away_since is None:
                self._away_since = time.monotonic()
                self._report.on_warning(
                    f"the storage is away: {storage.reason(error)}. The training continues"
                )
            self._not_before = time.monotonic() + _AGAIN_SECONDS
            return []
        if self._away_since is not None:
            self._away_since = None
            self._report.on_warning("the storage is there again")
        return [found]

    def _check_patience(self) -> None:
        waits = all(one.connection is None for one in self._active)
        away = self._away_since
        if waits and away is not None and time.monotonic() - away > _PATIENCE_SECONDS:
            raise RunError(
                f"the storage of {self._folder.path} has been away for "
                f"{_PATIENCE_SECONDS / 60:.0f} minutes. What was trained is in the runs; when it "
                f"is back: cifarnet sweep run {self._folder.path}"
            )

    def _show(self, doing: str) -> None:
        """Tell what this process does, if that has changed."""
        text = f"{doing} {', '.join(one.describe() for one in self._active)}"
        if self._active and text != self._shown:
            self._shown = text
            self._report.on_stage(text)
