"""What `cifarnet evaluate` prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cifarnet.cli.render import console, cost_row
from cifarnet.errors import JsonObject
from cifarnet.formatting import align, duration, percent

if TYPE_CHECKING:
    from cifarnet.runs import Evaluation


def show_files(found: Evaluation) -> None:
    """Say which files an evaluation wrote, and where."""
    from cifarnet import evaluation as evaluations

    pictures = [found.sprite_file, *evaluations.pictures(found)]
    files = [found.path, found.predictions_file, *pictures]
    written = ", ".join(file.name for file in files)
    console().print(f"in {found.path.parent}: {written}\n", markup=False)


def document(found: Evaluation) -> JsonObject:
    """Return what `--json` shows of an evaluation."""
    from cifarnet import evaluation as evaluations

    pictures = [str(picture) for picture in evaluations.pictures(found)]
    return {"folder": str(found.path.parent), "pictures": pictures, **found.to_json()}


def _class_means(found: Evaluation) -> list[tuple[str, str]]:
    means = (("balanced", found.balanced_accuracy), ("macro F1", found.macro_f1))
    return [(name, percent(value)) for name, value in means if value is not None]


def _percent(value: float, interval: Sequence[float] | None) -> str:
    if interval is None:
        return percent(value)
    return f"{percent(value)}  (95 % interval {percent(interval[0])} to {percent(interval[1])})"


def _confidence(found: Evaluation) -> list[tuple[str, str]]:
    """Return rows on what confidence is worth."""
    error, interval = found.expected_calibration_error, found.expected_calibration_error_interval
    rows = [("calibration error", _percent(error, interval))]
    if (scaling := found.temperature) is not None:
        at_bound = " (the bound)" if scaling.at_bound else ""
        fitted = f"temperature {scaling.temperature:.3f}{at_bound} of {scaling.images:,}"
        after = _percent(scaling.calibrated_error, scaling.calibrated_error_interval)
        rows += [
            ("if calibrated", after),
            ("", f"loss {scaling.calibrated_loss:.4f} nats; {fitted} validation images"),
        ]
    if found.advice:
        rows.append(("to calibrate", found.advice))
    if (selective := found.selective) is not None:
        surest = selective.accuracy_at_80_coverage
        rows += [
            ("most confident 80 %", _percent(surest, selective.accuracy_at_80_coverage_interval)),
            ("risk-coverage", f"area {selective.aurc:.4f}{_range(selective.aurc_interval)}"),
        ]
        if selective.error_auroc is not None:
            auroc = f"AUROC {selective.error_auroc:.4f}{_range(selective.error_auroc_interval)}"
            rows.append(("finding errors", auroc))
    return rows


def _range(interval: Sequence[float] | None) -> str:
    return "" if interval is None else f"  (95 % interval {interval[0]:.4f} to {interval[1]:.4f})"


def _without_near_duplicates(found: Evaluation) -> list[tuple[str, str]]:
    part = found.without_near_duplicates
    if part is None:
        return []
    value = _percent(part.accuracy_without_near_duplicates, part.interval)
    rows = [
        ("not near training", f"{value}, {part.images:,} images without a near duplicate there")
    ]
    if part.left_out_accuracy is not None:
        with_one = _percent(part.left_out_accuracy, part.left_out_interval)
        rows.append(("near training", f"{with_one}, {part.left_out:,} images with one"))
    return rows


def show(found: Evaluation) -> None:
    """Print the metrics of an evaluation, and a table of its classes."""
    from rich.table import Table

    from cifarnet.reporting import shown

    about = found.about
    rows = [
        ("accuracy", _percent(found.accuracy, found.accuracy_interval)),
        *_without_near_duplicates(found),
        *_class_means(found),
        # Of five classes or fewer it is always 100 %.
        *([("top-5", percent(found.top5_accuracy))] if len(found.classes) > 5 else []),
        ("loss", f"{found.loss:.4f} nats"),
        *_confidence(found),
        ("images", f"{found.count:,} {about.split} images of {about.data}"),
        ("augmentation", about.tta),
        ("runtime", about.runtime),
        *([("assumed", "; ".join(about.assumed))] if about.assumed else []),
        *([("left out", about.changed_data)] if about.changed_data else []),
        *(
            [("known", f"{about.duplicates:,} are also training images")]
            if about.duplicates
            else []
        ),
        ("time", f"{duration(about.seconds)}, {about.images_per_second:,.0f} images/s"),
        *cost_row(found),
    ]
    screen = console()
    screen.print(align(rows) + "\n", markup=False)
    table = Table("class")
    for heading in ("precision", "recall", "F1", "images"):
        table.add_column(heading, justify="right")
    labels = shown.classes(found)
    for one in (found.per_class[label] for label in labels):
        values = (f"{value:.3f}" for value in (one.precision, one.recall, one.f1))
        table.add_row(one.name, *values, f"{one.support:,}")
    screen.print(table)
    screen.print(shown.rest(len(labels), len(found.classes), found.path.name), markup=False)
