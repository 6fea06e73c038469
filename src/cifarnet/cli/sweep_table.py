"""What `cifarnet sweep` prints."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from cifarnet.cli.render import console, cost_row, print_whole
from cifarnet.formatting import align, count, duration, percent

if TYPE_CHECKING:
    from cifarnet.runs.sweeps import SweepBegun, SweepResults, TrialEnded, TrialResult
    from cifarnet.sweeps import SweepCheck

_MOST_ROWS = 30


def show_check(found: SweepCheck) -> None:
    """Print a checked sweep."""
    seeds = ", ".join(map(str, found.seeds))
    pruned = "" if found.first is None else f", pruned from epoch {found.first} on"
    factor = "" if found.factor is None else f" (factor {found.factor})"
    time = "not known" if found.seconds is None else duration(found.seconds)
    each = "" if found.seconds_per_run is None else f", {duration(found.seconds_per_run)} each"
    rows = [
        (
            "sweep",
            f"{found.name}: {count(found.trials, 'trial')} by {found.sampler}{pruned}{factor}",
        ),
        ("seeds", seeds),
        ("runs", f"{found.runs:,}"),
        ("checked", f"{count(found.configs, 'setting')}, {count(found.networks, 'network')} built"),
        ("time", f"{time} one after the other{each}"),
    ]
    console().print(align(rows), markup=False)
    for note in found.notes:
        console().print(f"note: {note}", markup=False)
    console().print("")


def show_event(found: SweepBegun | TrialEnded) -> None:
    """Print a line on a sweep that is begun or gone on with, or on a trial that ended."""
    from cifarnet.runs.sweeps import TrialEnded

    if isinstance(found, TrialEnded):
        show_trial(found.trial)
        return
    trials, runs = count(found.trials_total, "trial"), count(found.runs, "run")
    text = f"{found.folder}: {trials}, {runs}, {found.jobs:,} at once"
    console().print(f"{text}; each loads TensorFlow first", markup=False)


def show_trial(found: TrialResult) -> None:
    """Print a line on a trial that ended."""
    values = ", ".join(f"{key}={_text(value)}" for key, value in found.values.items())
    after = f" after epoch {found.epochs}" if found.state == "pruned" else ""
    value = "" if found.value is None else f", value {percent(found.value)}"
    text = f"trial {found.number} {found.state}{after}{value}: {values}"
    console().print(f"{text}: {found.reason}" if found.reason else text, markup=False)


def show(found: SweepResults) -> None:
    """Print the trials of a sweep, the best ones first."""
    from rich.table import Table

    states = ", ".join(f"{number} {state}" for state, number in sorted(found.counts.items()))
    screen = console()
    screen.print(
        f"{found.folder}: {states} of {found.trials_total}; value: validation accuracy, the mean "
        "over the seeds",
        markup=False,
    )
    table = Table("trial", "state")
    keys = list(dict.fromkeys(key for one in found.trials for key in one.values))
    for heading in ("value", "std", "epochs", *keys):
        table.add_column(heading, justify="right")
    order = sorted(found.trials, key=lambda one: (-(one.value or -1.0), one.number))
    for one in order[:_MOST_ROWS]:
        std = "-" if one.std is None else f"{100 * one.std:.2f}"
        state = one.state + (" *" if one.taken_over else "")
        values = [_text(one.values[key]) if key in one.values else "-" for key in keys]
        table.add_row(str(one.number), state, percent(one.value), std, str(one.epochs), *values)
    if screen.is_terminal:
        screen.print(table)
    else:  # whose lines have no end
        print_whole(table)
    for one in order:
        if one.reason:
            screen.print(f"trial {one.number}: {one.reason}", markup=False)
    if len(order) > _MOST_ROWS:
        screen.print(f"{len(order) - _MOST_ROWS} more: --json shows all", markup=False)
    if any(one.taken_over for one in order):
        screen.print("* continued after its process ended", markup=False)
    rows = []
    if found.best is not None:
        rows.append(("best", f"trial {found.best}, value {percent(found.best_value)}"))
    if found.importance is not None:
        shares = ", ".join(f"{k} {100 * v:.0f} %" for k, v in found.importance.shares.items())
        trials = count(found.importance.trials, "complete trial")
        rows.append(("importance", f"{shares}; {trials}, {found.importance.method}"))
    for label, text in cost_row(found):
        rows.append((label, f"sum of the runs, side by side or not: {text}"))
    if rows:
        screen.print(align(rows), markup=False)
    for note in found.notes:
        screen.print(f"note: {note}", markup=False)
    screen.print("")


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else json.dumps(value)
