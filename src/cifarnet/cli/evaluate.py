"""`cifarnet evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from cifarnet.choices import Split, Tta
from cifarnet.cli import options
from cifarnet.cli.command import Command
from cifarnet.cli.render import WhenMeasured, console, display, load_tensorflow
from cifarnet.formatting import align, duration, percent

if TYPE_CHECKING:
    from cifarnet.runs import Evaluation


@click.command(cls=Command)
@click.argument("target", metavar="RUN|ARTIFACT")
@click.option(
    "--split",
    type=click.Choice(get_args(Split)),
    default="test",
    show_default=True,
    help="Images to evaluate on.",
)
@click.option(
    "--tta",
    type=click.Choice(get_args(Tta)),
    help="Test-time augmentation; default: as the config says.",
)
@click.option(
    "--require",
    "required",
    multiple=True,
    metavar='"METRIC>=VALUE"',
    help="Exit with 3 unless this holds; repeatable.",
)
@options.data_path
@options.allow_changed_data
@options.output
@options.foreign
def evaluate(
    target: str,
    split: str,
    tta: str | None,
    required: tuple[str, ...],
    overrides: tuple[str, ...],
    allow_changed_data: bool,
    output: Path | None,
    **stated: Any,
) -> Any:
    """Evaluate a trained network on images it was not trained on.

    RUN is a path, a name under runs/, or `latest`; ARTIFACT is a .keras, .h5, .onnx or .tflite
    file or a SavedModel folder. For a file that cifarnet did not write, the last options state its
    input and output, and -o names its images; the result lists what was assumed instead.

    \b
    Example:
      cifarnet evaluate latest
      cifarnet evaluate latest --tta mirror --require "accuracy>=0.6"
      cifarnet evaluate latest -o data.path=moved/photos
      cifarnet evaluate foreign.onnx --input-range 0-1 --mean 0.5,0.5,0.5 --std 0.25,0.25,0.25
      cifarnet evaluate pets.keras -o data.source=directory -o data.path=photos
    """
    load_tensorflow()
    from cifarnet import evaluation as evaluations
    from cifarnet import requirements
    from cifarnet.runs import Evaluation

    for requirement in required:
        requirements.parse(requirement, Evaluation)
    foreign = options.preprocessing(**stated)
    with display() as shown:
        found = evaluations.evaluate(
            target,
            split,
            tta,
            preprocessing=foreign,
            callbacks=[shown, WhenMeasured(_print)],
            overrides=overrides,
            allow_changed_data=allow_changed_data,
            output=output,
        )
    _print_files(found)
    for requirement in required:
        requirements.check(requirement, found)
    console().print(f"Next: cifarnet predict {target} IMAGE ...\n", markup=False)
    pictures = [str(picture) for picture in evaluations.pictures(found)]
    return {"folder": str(found.path.parent), "pictures": pictures, **found.to_json()}


def _print_files(found: Evaluation) -> None:
    from cifarnet import evaluation as evaluations

    files = [found.path, evaluations.predictions(found), *evaluations.pictures(found)]
    written = ", ".join(file.name for file in files)
    console().print(f"in {found.path.parent}: {written}\n", markup=False)


def _class_means(found: Evaluation) -> list[tuple[str, str]]:
    means = (("balanced", found.balanced_accuracy), ("macro F1", found.macro_f1))
    return [(name, percent(value)) for name, value in means if value is not None]


def _print(found: Evaluation) -> None:
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
