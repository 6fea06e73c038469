"""What a sweep has found so far, from the storage and the run directories."""

from __future__ import annotations

import shlex
import statistics
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from cifarnet import cost
from cifarnet.errors import CifarnetError
from cifarnet.runs import RunRecord, documents
from cifarnet.runs.documents import CostRecord
from cifarnet.runs.sweeps import State, SweepResults, TrialResult
from cifarnet.sweeps import folder as folders
from cifarnet.sweeps import importance, plots, process
from cifarnet.sweeps.folder import SweepFolder
from cifarnet.sweeps.queue import Queue

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

_FRESH_SEEDS = 3


def read_sweep(folder: str | Path, url: str | None = None) -> SweepResults:
    """Read the trials of a sweep, draw its plots, and write `results.json` beside them.

    Args:
        folder: of the sweep, or its name in the folder of runs.
        url: of its database; None: as recorded.

    Returns:
        What was written. From 20 complete trials on it has the importance of each key.

    Raises:
        ConfigError: a URL of another storage, or one with a password that is not given.
        RunError: no such sweep, or its storage cannot be opened or read.

    Example:
        results = cifarnet.read_sweep("runs/sweeps/rates")
        print(results.best, results.best_value, results.trials[0].accuracies)
    """
    found = folders.open_folder(Path(folder))
    queue = Queue(found, url)
    record = _collect(found, queue)
    record = record.replace(importance=importance.measure(found.space, queue.trials()))
    record = record.replace(plots=plots.draw(found, queue, record))
    with found.claiming():  # under which leftovers in the folder are removed
        return documents.write(found.path / "results.json", record)


def collect(folder: SweepFolder, url: str | None) -> SweepResults:
    """Return the trials of a sweep without importance, which takes long; raises as `read_sweep`."""
    return _collect(folder, Queue(folder, url))


def _collect(folder: SweepFolder, queue: Queue) -> SweepResults:
    known = Known(folder)
    trials = [trial_result(folder, one, known) for one in queue.trials()]
    valued = [one for one in trials if one.value is not None]
    best = max(valued, key=lambda one: (one.value or 0.0, -one.number), default=None)
    fresh = _fresh_seeds(folder.record.seeds)
    return SweepResults(
        folder=str(folder.path),
        trials_total=folder.record.trials,
        counts=dict(Counter(one.state for one in trials)),
        best=None if best is None else best.number,
        best_value=None if best is None else best.value,
        fresh_seeds=fresh,
        fresh_command="" if best is None else _fresh_command(folder, best, fresh),
        importance=None,
        trials=trials,
        plots=[],
        notes=_notes(folder, trials, len(valued), known),
        cost=_cost(known),
    )


class Known:
    """The runs of a sweep by name, and their records, each read once."""

    def __init__(self, folder: SweepFolder) -> None:
        self.runs = folder.runs()
        self._records: dict[str, RunRecord | None] = {}

    def record(self, name: str) -> RunRecord | None:
        """Return the record of a run; None: there is no such run, or it is damaged."""
        if name not in self._records:
            self._records[name] = None
            with suppress(CifarnetError, KeyError):
                self._records[name] = self.runs[name].read_record()
        return self._records[name]

    def records(self) -> list[RunRecord]:
        """Return the records of all runs."""
        return [record for name in self.runs if (record := self.record(name))]


def trial_result(folder: SweepFolder, trial: FrozenTrial, known: Known) -> TrialResult:
    """Return a trial as its record has it."""
    names = {seed: folder.run_name(trial.number, seed) for seed in folder.record.seeds}
    begun = {seed: known.runs[name] for seed, name in names.items() if name in known.runs}
    trained = {
        seed: record.validation_accuracy
        for seed, name in names.items()
        if (record := known.record(name)) and record.status == "finished"
        if record.validation_accuracy is not None
    }
    state = _state(folder, trial, len(trained))
    # Runs of a complete trial may have been removed, or trained further.
    accuracies = _told(trial) if state == "complete" else trained
    is_valued = state in ("complete", "promoted")
    numbers = list(accuracies.values())
    first = begun.get(folder.record.seeds[0])
    stored = trial.user_attrs
    return TrialResult(
        number=trial.number,
        state=state,
        values={
            key: one.value(trial.params[key])
            for key, one in folder.space.items()
            if key in trial.params
        },
        value=statistics.fmean(numbers) if is_valued else None,
        std=statistics.stdev(numbers) if is_valued and len(numbers) > 1 else None,
        accuracies={str(seed): value for seed, value in accuracies.items()},
        runs={str(seed): str(run.path) for seed, run in begun.items()},
        epochs=len(process.validated(first)) if first else len(trial.intermediate_values),
        threads=stored.get("threads", 0),
        taken_over=stored.get("taken_over", 0),
        reason=stored.get("reason", ""),
    )


def _state(folder: SweepFolder, trial: FrozenTrial, finished: int) -> State:
    from optuna.trial import TrialState

    if trial.state == TrialState.RUNNING:
        here = trial.user_attrs.get("folder") == folder.record.folder_id
        with folder.claiming():  # who claims a trial must not find this probe
            lock = folder.try_lock(trial.number) if here else None
            if lock is None:
                return "running"
            lock.release()
            return "waiting"
    if trial.state == TrialState.PRUNED:
        return "promoted" if finished == len(folder.record.seeds) else "pruned"
    return "complete" if trial.state == TrialState.COMPLETE else "failed"


def _told(trial: FrozenTrial) -> dict[int, float]:
    """Return the validation accuracies by seed, as they were told to the storage."""
    return {int(seed): value for seed, value in trial.user_attrs.get("accuracies", {}).items()}


def _fresh_seeds(used: list[int]) -> list[int]:
    return [max(used) + 1 + number for number in range(_FRESH_SEEDS)]


def _fresh_command(folder: SweepFolder, best: TrialResult, seeds: list[int]) -> str:
    """Return the command that trains and evaluates the best setting on seeds no trial used."""
    path = next(iter(best.runs.values()), None)
    if path is None:
        return ""  # the runs are on another machine
    listed, config = " ".join(map(str, seeds)), shlex.quote(f"{path}/config.yaml")
    sweeps = folder.path.parent
    is_default = sweeps.name != "sweeps" or sweeps.parent == Path("runs")
    option = "" if is_default else f" --runs {shlex.quote(str(sweeps.parent))}"
    return (
        f"for seed in {listed}; do cifarnet train --config {config} -o seed=$seed "
        f"-o name={folder.record.name}-best{option} && cifarnet evaluate latest{option}; done"
    )


def _notes(folder: SweepFolder, trials: list[TrialResult], valued: int, known: Known) -> list[str]:
    notes = []
    if valued > 1:
        notes.append(
            f"the best value is the highest of {valued}, on the validation images that chose it: "
            "it is optimistic. Measure the setting on fresh seeds"
        )
    if folder.record.prune is not None:
        notes.append(
            f"pruned trials were compared on seed {folder.record.seeds[0]} alone, from epoch "
            f"{folder.record.prune.first} on"
        )
    threads = {one.threads for one in trials}
    if len(threads) > 1:
        notes.append(
            f"trials were trained with different numbers of threads ({sorted(threads)}), which "
            "changes their last bits; 0 is TensorFlow's own choice"
        )
    precisions = {one.precision.chosen for one in known.records() if one.precision.chosen}
    if len(precisions) > 1:
        notes.append(
            f"trials were trained in different precisions ({', '.join(sorted(precisions))}), as "
            "train.precision: auto chose them. State one in the base to compare in it"
        )
    return notes


def _cost(known: Known) -> CostRecord | None:
    """Return what the runs that are here took in all."""
    costs = [one.cost for one in known.records() if one.cost is not None]
    macs = [one.macs_trained for one in costs if one.macs_trained is not None]
    return cost.total(costs).replace(macs_trained=sum(macs) if macs else None) if costs else None
