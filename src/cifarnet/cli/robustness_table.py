"""What `cifarnet evaluate --robustness` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cifarnet.cli.render import console, cost_row
from cifarnet.errors import JsonObject
from cifarnet.formatting import align, duration, percent

if TYPE_CHECKING:
    from cifarnet.runs.robustness import AttackRecord, Robustness


def show(found: Robustness) -> None:
    """Print the figures of a robustness evaluation, and a table of the corruptions."""
    from rich.table import Table

    corrupted = found.corruptions
    low, high = corrupted.accuracy_interval
    interval = f"(95 % interval {percent(low)} to {percent(high)})"
    rows = [
        ("corrupted", f"{percent(corrupted.accuracy)}  {interval}"),
        ("clean", f"{percent(corrupted.clean.accuracy)} of the same images"),
        ("drop", f"{100 * (corrupted.clean.accuracy - corrupted.accuracy):.2f} points"),
        ("images", f"{corrupted.chosen}; {corrupted.images_from}"),
        *(("note", note) for note in corrupted.notes),
    ]
    screen = console()
    screen.print(align(rows) + "\n", markup=False)
    table = Table("accuracy, %", "clean", "1", "2", "3", "4", "5")
    for column in table.columns[1:]:
        column.justify = "right"
    clean = f"{100 * corrupted.clean.accuracy:.1f}"
    for one in corrupted.scores:
        values = (f"{100 * value:.1f}" for value in one.accuracy)
        table.add_row(one.corruption.replace("_", " "), clean, *values)
    table.add_section()
    by_severity = (corrupted.clean, *corrupted.severities)
    for name in ("accuracy", "confidence", "calibration_error"):
        values = (f"{100 * getattr(one, name):.1f}" for one in by_severity)
        label = "mean" if name == "accuracy" else name.replace("_", " ")
        table.add_row(label, *values)
    screen.print(table)
    if found.attacks is not None:
        _show_attacks(found.attacks)
    _show_detection(found)
    screen.print(align([("time", duration(found.seconds)), *cost_row(found)]) + "\n", markup=False)


def show_files(found: Robustness) -> None:
    """Say which files a robustness evaluation wrote, and where."""
    from cifarnet import robustness

    written = ", ".join(file.name for file in [found.path, *robustness.pictures(found)])
    console().print(f"in {found.path.parent}: {written}\n", markup=False)


def document(found: Robustness) -> JsonObject:
    """Return what `--json` shows of a robustness evaluation."""
    from cifarnet import robustness

    pictures = [str(picture) for picture in robustness.pictures(found)]
    return {"path": str(found.path), "pictures": pictures, **found.to_json()}


def _show_attacks(attacks: AttackRecord) -> None:
    from rich.table import Table

    table = Table("attack, of 255", "worst case", "95 % interval", "PGD", "APGD-DLR", "only Square")
    for column in table.columns[1:]:
        column.justify = "right"
    for one in attacks.scores:
        low, high = (percent(value) for value in one.accuracy_interval)
        alone = (percent(one.pgd), percent(one.apgd_dlr), f"{one.only_square:,} images")
        table.add_row(f"{one.epsilon:g}", percent(one.accuracy), f"{low} to {high}", *alone)
    table.caption = f"upper bounds of robust accuracy, not AutoAttack; {attacks.chosen}"
    console().print(table)
    for note in attacks.notes:
        console().print(f"note: {note}", markup=False)


def _show_detection(found: Robustness) -> None:
    from rich.table import Table

    table = Table("confidence against", "AUROC", "95 % interval", "images", "unreadable")
    for column in table.columns[1:]:
        column.justify = "right"
    for one in found.out_of_distribution:
        low, high = (f"{value:.3f}" for value in one.auroc_interval)
        count = f"{one.images:,}"
        table.add_row(
            one.against, f"{one.auroc:.3f}", f"{low} to {high}", count, str(one.unreadable)
        )
    console().print(table)
