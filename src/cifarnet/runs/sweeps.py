"""The records of a sweep: `sweep.json`, what it varies, and `results.json`, what it found."""

from __future__ import annotations

from typing import Literal

from cifarnet.errors import JsonObject
from cifarnet.runs.documents import Count, Number, Part, Record

State = Literal["running", "waiting", "complete", "pruned", "promoted", "failed"]
Value = bool | int | float | str | list[object] | JsonObject | None


class Halving(Part):
    """Successive halving: which epochs decide, and which share of the trials passes each.

    Attributes:
        first: epoch of the first decision; each next one is `factor` times later.
        factor: the best 1 / factor of the trials that reached a decision pass it.
    """

    first: Count
    factor: Count


class SweepRecord(Record):
    """`sweep.json`: what a sweep varies, and where its trials are counted.

    Attributes:
        name: of the folder, and the start of the names of its runs.
        folder_id: of this folder; trials are taken over only in the folder that has their runs.
        study: name of the Optuna study.
        storage: URL without its password; empty: `journal.log` in the folder.
        digest: SHA-256 of all settings, the base config included but for `data.path`.
        file: what the sweep was begun from.
        created: UTC, ISO 8601.
        vary: the values or bounds by dotted key, as in the file.
        seeds: of the runs of each trial.
        trials: in all.
        sampler: `grid` (every combination once), `tpe` or `random`.
        prune: None: every trial trains to its end.
    """

    name: str
    folder_id: str
    study: str
    storage: str
    digest: str
    file: str
    created: str
    vary: dict[str, list[object] | JsonObject]
    seeds: list[Count]
    trials: Count
    sampler: Literal["grid", "tpe", "random"]
    prune: Halving | None


class TrialResult(Part):
    """One trial: a setting, trained once per seed.

    Attributes:
        number: from 0.
        state: `running`: a process trains it; `waiting`: its process ended, and the next that runs
            the sweep continues it; `promoted`: pruned, then trained to its end.
        values: by dotted key.
        value: mean over the seeds of the validation accuracy of the selected epoch, 0 to 1; None
            unless `complete` or `promoted`.
        std: standard deviation over the seeds; None with one.
        accuracies: validation accuracy by seed, of the runs that finished.
        runs: folder by seed.
        epochs: of the first seed, so far.
        threads: of TensorFlow for its operations; 0: its own choice.
        taken_over: how often another process continued it.
        reason: why it failed.
    """

    number: Count
    state: State
    values: dict[str, Value]
    value: Number | None
    std: Number | None
    accuracies: dict[str, Number]
    runs: dict[str, str]
    epochs: Count
    threads: Count
    taken_over: Count
    reason: str


class SweepBegun(Record):
    """A sweep that `run_sweep` begins, joins or goes on with, as callbacks receive it; not written.

    Attributes:
        folder: of the sweep.
        trials_total: of all processes, also those that have ended.
        runs: trainings of all trials.
        jobs: trainings of this process at once.
    """

    folder: str
    trials_total: Count
    runs: Count
    jobs: Count


class TrialEnded(Record):
    """A trial that ended, as callbacks receive it; it is not written."""

    trial: TrialResult


class Importance(Part):
    """How much of the variance of the trials' values each key explains; the shares sum to 1.

    Attributes:
        method: its name and source.
        trials: complete ones that it was computed from.
        shares: by dotted key, 0 to 1.
    """

    method: str
    trials: Count
    shares: dict[str, Number]


class SweepResults(Record):
    """`results.json`: the trials of a sweep.

    Attributes:
        folder: of the sweep.
        trials_total: as stated in `sweep.json`.
        counts: trials by state.
        best: number of the trial with the highest value; None before one is complete.
        best_value: its value; chosen among all, and therefore optimistic.
        fresh_seeds: seeds that no trial used.
        fresh_command: measures the best setting on them.
        importance: None with fewer than 20 complete trials, or one key.
        trials: by number.
        plots: files.
        notes: what limits the conclusions.
    """

    SCALARS = ("best_value",)

    folder: str
    trials_total: Count
    counts: dict[str, Count]
    best: Count | None
    best_value: Number | None
    fresh_seeds: list[Count]
    fresh_command: str
    importance: Importance | None
    trials: list[TrialResult]
    plots: list[str]
    notes: list[str]
