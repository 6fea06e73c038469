"""What `cifarnet compare` shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cifarnet.cli.render import console, cost_row
from cifarnet.formatting import align, percent

if TYPE_CHECKING:
    from cifarnet.runs.comparisons import ComparedGroup, Comparison, ConfigDifference

_ALL, _SOME = 50, 30  # classes: so many are all shown, and of more so many


def show(found: Comparison) -> None:
    """Print the groups, the verdicts and, of two groups, the difference by class."""
    screen = console()
    for group in found.groups:
        rows = [
            *((one.run, f"seed {one.seed}  {percent(one.accuracy)}") for one in group.runs),
            *_spread(group),
        ]
        screen.print(f"{group.name}\n{align(rows)}\n", markup=False)
    for group in found.groups:
        if len(group.runs) > 1:
            screen.print(f"{group.verdict}.\n", markup=False)
    for one in found.differences:
        screen.print(f"{one.verdict}.\n", markup=False)
    if len(found.groups) == 1 and len(found.groups[0].runs) == 2:
        _print_pair(found.groups[0])
    if len(found.differences) == 1 and found.differences[0].interval is not None:
        _print_details(found.differences[0])
    for group in found.groups:
        changed = [("config", change) for change in group.changes]
        if changed:
            against = f"{group.name} against {found.groups[0].name}"
            screen.print(f"{against}\n{align(changed)}\n", markup=False)
    rows = [
        ("images", f"{found.images:,} {found.split} images of {found.data}"),
        ("augmentation", found.tta),
        *(("note", note) for note in found.notes),
        *cost_row(found),
    ]
    screen.print(align(rows), markup=False)


def _print_pair(group: ComparedGroup) -> None:
    """Print the difference of the only two runs."""
    (pair,) = group.pairs
    text = (
        f"{100 * pair.difference:+.2f} points, 95 % interval {_ends(pair.interval)}, McNemar mid-p "
        f"{pair.p:.2g}, as weights\nAs two sides: cifarnet compare {pair.first} vs {pair.second}"
    )
    console().print(f"{pair.first} less {pair.second}: {text}\n", markup=False)


def _spread(group: ComparedGroup) -> list[tuple[str, str]]:
    if group.accuracy_interval is None or group.std_interval is None:
        return []
    (low, high), (least, most) = group.accuracy_interval, group.std_interval
    flips = 100 * (group.flip_std or 0.0)
    ratio = "-" if group.std_ratio is None else f"{group.std_ratio:.2f}"
    few, many = group.seeds_needed_interval or [None, None]
    return [
        ("mean", f"{percent(group.accuracy)}  (95 % interval {percent(low)} to {percent(high)})"),
        (
            "std",
            f"{100 * (group.std or 0.0):.2f} points  (95 % interval {100 * least:.2f} to "
            f"{100 * most:.2f}); flips of test images alone: {flips:.2f}, ratio {ratio}",
        ),
        (
            "seeds needed",
            f"{_many(group.seeds_needed)} per config to show 0.2 points  (95 % interval "
            f"{_many(few)} to {_many(many)})",
        ),
    ]


def _many(seeds: int | None) -> str:
    return "over 100,000" if seeds is None else f"{seeds:,}"


def _print_details(one: ConfigDifference) -> None:
    from rich.table import Table

    rows = [
        *([("Welch", f"{_ends(one.welch.interval)} points")] if one.welch else []),
        *([("bootstrap", f"{_ends(one.bootstrap_interval)} points")] if one.welch else []),
        *(
            [("seeds needed", f"{_many(one.seeds_needed)} per config to show 0.2 points")]
            if one.judges == "configs"
            else []
        ),
    ]
    screen = console()
    if rows:
        screen.print(align(rows) + "\n", markup=False)
    table = Table("class", title="by class, exploratory: intervals are not adjusted")
    for heading in ("images", "points", "95 % interval"):
        table.add_column(heading, justify="right")
    # Of many classes, those that differ most; the record has all.
    parts = one.classes
    if len(parts) > _ALL:
        parts = sorted(parts, key=lambda part: -abs(part.difference))[:_SOME]
        table.caption = f"the {_SOME} largest of {len(one.classes):,}; all are in compare.json"
    for part in parts:
        value = f"{100 * part.difference:+.2f}"
        table.add_row(part.name, f"{part.images:,}", value, _ends(part.interval))
    screen.print(table)
    screen.print("")


def _ends(interval: list[float] | None) -> str:
    return "-" if interval is None else " to ".join(f"{100 * end:+.2f}" for end in interval)
