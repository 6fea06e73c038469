"""`cifarnet data audit`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cifarnet.cli import gate, options
from cifarnet.cli.command import Command
from cifarnet.cli.render import WhenMeasured, console, cost_row, display
from cifarnet.formatting import align, count, percent

if TYPE_CHECKING:
    from cifarnet.cost import Power
    from cifarnet.runs import Audit


@click.command(cls=Command)
@options.config_file
@click.option(
    "--run",
    metavar="RUN|ARTIFACT",
    help="Audit the images of this run, and list labels that its network doubts.",
)
@gate.require('"COUNT<=VALUE"')
@options.overrides
@options.allow_changed_data
@options.output
@options.power
def audit(
    config_file: Path | None,
    run: str | None,
    required: tuple[str, ...],
    overrides: tuple[str, ...],
    allow_changed_data: bool,
    output: Path | None,
    power: Power | None,
) -> Any:
    """Find duplicates, leakage between splits, unusable images and doubtful labels.

    Near duplicates are images of one photograph: cut, mirrored, recompressed, brighter or darker.
    Nothing is changed or removed. Without --config and --run, CIFAR-10 is audited.

    \b
    Example:
      cifarnet data audit -o data.source=directory -o data.path=photos --require "leaks<=0"
      cifarnet data audit --run latest
    """
    from cifarnet import auditing
    from cifarnet.runs import Audit

    gate.parse(required, Audit)
    with display() as shown:
        found = auditing.audit(
            config_file,
            run,
            callbacks=[shown, WhenMeasured(_show)],
            overrides=overrides,
            allow_changed_data=allow_changed_data,
            output=output,
            power=power,
        )
    written = [path for path in (found.path, *auditing.files(found)) if path.exists()]
    names = ", ".join(path.name for path in written)
    console().print(f"in {found.path.parent}: {names}\n", markup=False)
    paths = [str(path) for path in written]
    document = {"folder": str(found.path.parent), "files": paths, **found.to_json()}
    gate.check(required, document, found)
    if found.duplicates:
        console().print(f"Next: look at {auditing.files(found).duplicates}\n", markup=False)
    return document


def _show(found: Audit) -> None:
    from rich.table import Table

    held_out = sum(one.count for one in found.splits if one.split != "train")
    ratio = "-" if found.class_ratio is None else f"{found.class_ratio:.2f}"
    rows = [
        ("data", found.data),
        ("leaks", f"{found.leaks:,} of {held_out:,} validation and test images"),
        ("exact duplicates", f"{found.exact_duplicates:,}"),
        ("near duplicates", f"{found.near_duplicates:,}"),
        *_conflicts(found),
        ("one color", f"{found.one_color:,}"),
        ("unreadable", "not known" if found.unreadable is None else f"{found.unreadable:,}"),
        ("class balance", f"largest to smallest class {ratio}, {found.missing_classes} missing"),
        *([("left out", found.changed_data)] if found.changed_data else []),
        *cost_row(found),
    ]
    screen = console()
    screen.print(align(rows) + "\n", markup=False)
    table = Table("images of", "with a duplicate in", title="duplicates")
    for heading in ("exact", "near", "of"):
        table.add_column(heading, justify="right")
    for one in found.overlaps:
        if one.exact or one.near:
            numbers = (f"{n:,}" for n in (one.exact, one.near, one.images))
            table.add_row(one.split, one.other, *numbers)
    screen.print(table if table.row_count else "no duplicates")
    for pair in [x for x in found.duplicates if x.split != x.other_split and x.file][:10]:
        screen.print(f"leak: {pair.file} = {pair.other_file}", markup=False)
    for pair in [x for x in found.duplicates if x.label != x.other_label][:10]:
        this = f"{_name(pair.split, pair.index, pair.file)} ({pair.label})"
        other = f"{_name(pair.other_split, pair.other_index, pair.other_file)} ({pair.other_label})"
        screen.print(f"two labels: {this} {'=' if pair.exact else '~'} {other}", markup=False)
    for doubt in found.doubts[:10]:
        name = _name(doubt.split, doubt.index, doubt.file)
        screen.print(
            f"doubtful label: {name}: {doubt.label} has {percent(doubt.label_confidence)}, "
            f"{doubt.predicted} {percent(doubt.confidence)}",
            markup=False,
        )
    for note in found.notes:
        screen.print(f"note: {note}", markup=False)
    screen.print("")


def _conflicts(found: Audit) -> list[tuple[str, str]]:
    if found.conflicting_labels is None:
        return []
    images = count(found.conflicting_labels, "image")
    return [("two labels", f"{images} with a duplicate of another label")]


def _name(split: str, index: int, file: str) -> str:
    return file or f"{split} image {index}"
