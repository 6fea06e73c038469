"""Train a pruned trial to its end."""

from __future__ import annotations

from collections.abc import Iterable
from multiprocessing.connection import wait
from pathlib import Path

from cifarnet.callbacks import Callback, job
from cifarnet.callbacks.interrupt import stop_signal
from cifarnet.errors import ConfigError, Interrupted, RunError, TrainingError
from cifarnet.runs.sweeps import TrialResult
from cifarnet.sweeps import folder as folders
from cifarnet.sweeps import process, results
from cifarnet.sweeps.process import Train
from cifarnet.sweeps.queue import Queue
from cifarnet.sweeps.trial import ActiveTrial


def promote_trial(
    folder: str | Path,
    number: int,
    url: str | None = None,
    callbacks: Iterable[Callback] | None = None,
) -> TrialResult:
    """Train a pruned trial to its end, all its seeds, by exact resume in its run directories.

    The storage still has it as pruned, so that the sampler and the other trials are not changed;
    `read_sweep` shows it as promoted, with its value.

    Args:
        folder: of the sweep, or its name in the folder of runs.
        number: of the trial.
        url: of the sweep's database; None: as recorded.
        callbacks: notified of each stage; None: show progress on a terminal.

    Returns:
        The trial, with its value.

    Raises:
        ConfigError: it is no pruned trial of this folder.
        RunError: no such sweep, or another process trains the trial.
        TrainingError: it cannot be trained.
        Interrupted: as for `run_sweep`; the same call goes on.

    Example:
        trial = cifarnet.promote_trial("runs/sweeps/rates", 7)
        print(trial.value)
    """
    return promote(folder, number, url, callbacks)


def promote(
    folder: str | Path,
    number: int,
    url: str | None,
    callbacks: Iterable[Callback] | None,
    train: Train = process.train_job,
) -> TrialResult:
    """Do what `promote_trial` does, with `train` in the process of each seed."""
    with job(callbacks) as report, stop_signal() as stop:
        found = folders.open_folder(Path(folder))
        queue = Queue(found, url)
        claim = queue.pruned(number)
        if claim is None:
            states = {one.number: one.state.name.lower() for one in queue.trials()}
            listed = [n for n, state in states.items() if state == "pruned"]
            raise ConfigError(
                f"expected a pruned trial of {found.path} whose run is in it; received {number}, "
                f"which is {states.get(number, 'none of its trials')}. Pruned: {listed or 'none'}"
            )
        trial, shown = ActiveTrial(found, claim, train, prunes=False), ""
        try:
            trial.start()
            while trial.connection is not None:
                doing = "stopping after the current step:" if stop.is_set() else "training"
                text = f"{doing} {trial.describe()}"
                if text != shown:
                    report.on_stage(text)
                    shown = text
                if stop.is_set():
                    trial.pause()
                if wait([trial.connection], timeout=0.5):
                    trial.receive()
        except KeyboardInterrupt:  # the second Ctrl-C
            stop.set()
        finally:
            trial.kill()
            claim.lock.release()
        if trial.verdict is None:
            if trial.refusal:
                raise RunError(f"this machine cannot go on with trial {number}: {trial.refusal}")
            raise Interrupted(f"it goes on with: cifarnet sweep promote {found.path} {number}")
        if trial.verdict.state == "failed":
            raise TrainingError(f"trial {number} failed: {trial.verdict.reason}")
        return results.trial_result(found, queue.trials()[number], results.Known(found))
