"""`cifarnet evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from cifarnet.choices import Split, Tta
from cifarnet.cli import evaluation_table, gate, options, robustness, robustness_table
from cifarnet.cli.command import Command
from cifarnet.cli.render import WhenMeasured, console, display, name_page

if TYPE_CHECKING:
    from cifarnet.runs import Robustness
    from cifarnet.runs.documents import Record


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
@gate.require('"METRIC>=VALUE"')
@click.option(
    "--near-duplicates",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="CSV",
    help="Images with near duplicates in training: audit.csv, or ciFAIR's list.",
)
@robustness.options
@options.measuring
def evaluate(
    target: str,
    split: str,
    tta: str | None,
    required: tuple[str, ...],
    near_duplicates: Path | None,
    common: options.Common,
    **stated: Any,
) -> Any:
    """Evaluate a trained network on images it was not trained on.

    RUN is a path, a name under runs/, or `latest`; ARTIFACT is a .keras, .h5, .onnx or .tflite
    file, a SavedModel folder, or the page of a `web` export. For a file that cifarnet did not
    write, the last options state its input and output, and -o names its images; the result lists
    what was assumed instead.

    --robustness also measures accuracy under 15 corruptions and under attacks, and whether the
    confidence tells out-of-distribution images, on as many test images as --budget allows.

    \b
    Example:
      cifarnet evaluate latest
      cifarnet evaluate latest --robustness --budget 5min --require "corruption_accuracy>=0.5"
      cifarnet evaluate latest --tta mirror --require "accuracy>=0.6"
      cifarnet evaluate latest -o data.path=moved/photos
      cifarnet evaluate foreign.onnx --input-range 0-1 --mean 0.5,0.5,0.5 --std 0.25,0.25,0.25
      cifarnet evaluate pets.keras -o data.source=directory -o data.path=photos
    """
    wanted = robustness.wanted(stated, split)
    return _evaluate(target, split, tta, required, near_duplicates, common, wanted)


def _evaluate(
    target: str,
    split: str,
    tta: str | None,
    required: tuple[str, ...],
    near_duplicates: Path | None,
    common: options.Common,
    wanted: robustness.Wanted | None,
) -> Any:
    from cifarnet.robustness import check
    from cifarnet.runs import Evaluation, Robustness

    gate.parse(required, Evaluation, *([Robustness] if wanted else []))
    if wanted:
        check(**wanted._asdict())
    from cifarnet import evaluation as evaluations

    with display() as shown:
        callbacks = [shown, WhenMeasured(evaluation_table.show)]
        found = evaluations.evaluate(
            target, split, tta, callbacks=callbacks, near_duplicates=near_duplicates, **common
        )
    evaluation_table.show_files(found)
    document = evaluation_table.document(found)
    records: list[Record] = [found]
    if wanted:
        robust = _robustness(target, wanted, common)
        document["robustness"] = robustness_table.document(robust)
        records.append(robust)
    document |= name_page(found.path)
    gate.check(required, document, *records)
    after = f"explain {target}" if wanted else f"predict {target} IMAGE ..."
    console().print(f"Next: cifarnet {after}\n", markup=False)
    return document


def _robustness(target: str, wanted: robustness.Wanted, common: options.Common) -> Robustness:
    from cifarnet.robustness import evaluate_robustness

    with display() as shown:
        callbacks = [shown, WhenMeasured(robustness_table.show)]
        found = evaluate_robustness(target, callbacks=callbacks, **wanted._asdict(), **common)
    robustness_table.show_files(found)
    return found
