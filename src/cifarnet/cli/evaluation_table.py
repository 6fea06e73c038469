"""What `cifarnet evaluate` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cifarnet.cli.render import console, cost_row
from cifarnet.errors import JsonObject
from cifarnet.formatting import align, duration, percent

if TYPE_CHECKING:
    from cifarnet.runs import Evaluation


def show_files(found: Evaluation) -> None:
    """Say which files an evaluation wrote, and where."""
    from cifarnet import evaluation as evaluations

    files = [found.path, evaluations.predictions(found), *evaluations.pictures(found)]
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


def show(found: Evaluation) -> None:
    """Print the metrics of an evaluation, and a table of its classes."""
    from rich.table import Table

    low, high = found.accuracy_interval
    about = found.about
    interval = f"(95 % interval {percent(low)} to {percent(high)})"
    rows = [
        ("accuracy", f"{percent(found.accuracy)}  {interval}"),
        *_class_means(found),
        # Of five classes or fewer it is always 100 %.
        *([("top-5", percent(found.top5_accuracy))] if len(found.classes) > 5 else []),
        ("loss", f"{found.loss:.4f} nats"),
        ("calibration error", percent(found.expected_calibration_error)),
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
    for one in found.per_class:
        values = (f"{value:.3f}" for value in (one.precision, one.recall, one.f1))
        table.add_row(one.name, *values, f"{one.support:,}")
    screen.print(table)
    screen.print("")
