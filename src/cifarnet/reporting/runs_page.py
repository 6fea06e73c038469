"""The page of all runs: a table, and groups of seeds."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cifarnet import config as cfg
from cifarnet import runs
from cifarnet.callbacks import Callback
from cifarnet.errors import CifarnetError, RunError
from cifarnet.reporting import charts, page, stored
from cifarnet.runs import Run, RunRecord, RunSummary
from cifarnet.statistics import mean_interval


@dataclass(frozen=True)
class _Row:
    """A run in the table; `sparkline` is an SVG path of its accuracy by epoch."""

    summary: RunSummary
    record: RunRecord
    sparkline: str
    group: str


@dataclass(frozen=True)
class _Group:
    """Seeds of one config on the same test images: each accuracy, their mean, its t interval."""

    name: str
    seeds: list[int]
    accuracies: list[float]
    mean: float
    interval: tuple[float, float] | None


def report_runs(root: str | Path | None = None) -> Path:
    """Write `index.html` into the folder of runs: a table of all runs, with links to their pages.

    Pages that are missing are written, too.

    Args:
        root: folder of runs; None: CIFARNET_RUNS, or `runs`.

    Raises:
        RunError: there is no such folder, or the page cannot be written.

    Example:
        print(cifarnet.report_runs())
    """
    folder = runs.root_folder(root)
    if not folder.is_dir():
        raise RunError(f"there is no folder of runs {folder}: train first, or name another one")
    found = runs.all_runs(folder)
    for run in found:
        if not run.report_file.is_file():
            page.refresh(run, Callback())
    rows = [_row(run) for run in reversed(found)]
    values = {
        "rows": rows,
        "groups": _groups(rows),
        "linked": {run.path.name for run in found if run.report_file.is_file()},
        "data": "{}",
    }
    index = folder / "index.html"
    runs.write_text(index, page.render("runs.html", values))
    return index


def _row(run: Run) -> _Row:
    record = RunRecord()
    with suppress(CifarnetError):
        record = run.read_record()
    history = stored.history(run)
    key = "validation_accuracy" if "validation_accuracy" in (history or [{}])[0] else "accuracy"
    line = charts.sparkline([row[key] for row in history if key in row])
    return _Row(runs.summary(run), record, line, _recipe(run, record))


def _recipe(run: Run, record: RunRecord) -> str:
    """Return what seeds of one config have in common; empty if the config cannot be read."""
    with suppress(CifarnetError):
        digest = cfg.recipe_digest(cfg.load(run.config_file))
        return f"{digest} {record.data.digests.get('test', '')}"
    return ""


def _groups(rows: list[_Row]) -> list[_Group]:
    """Group finished, evaluated runs of one config; return the groups of several seeds.

    Runs of equal seed and accuracy are one training, repeated; they count once.
    """
    members: dict[str, dict[tuple[int, float], _Row]] = {}
    for row in rows:
        accuracy = row.summary.test_accuracy
        if row.summary.status == "finished" and accuracy is not None and row.group:
            members.setdefault(row.group, {})[row.record.seed, accuracy] = row
    groups = []
    for same in members.values():
        seeds, accuracies = ([*values] for values in zip(*sorted(same), strict=True))
        if len(set(seeds)) > 1:
            name = next(iter(same.values())).record.name
            mean, interval = float(np.mean(accuracies)), mean_interval(accuracies)
            groups.append(_Group(name, seeds, accuracies, mean, interval))
    return groups
