"""`cifarnet evaluate` and `cifarnet predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cifarnet.artifacts import foreign, resolve
from cifarnet.cli.render import Command, console, duration, facts, load_tensorflow, percent

_target = click.argument("target", metavar="RUN|ARTIFACT")


@click.command(cls=Command)
@_target
@click.option(
    "--split",
    type=click.Choice(["test", "validation"]),
    default="test",
    show_default=True,
    help="Which images.",
)
@click.option(
    "--tta",
    type=click.Choice(["none", "mirror", "mirror_translate"]),
    help="Test-time augmentation; without it, what the config says.",
)
@click.option(
    "--require",
    "requirements",
    multiple=True,
    metavar='"METRIC>=VALUE"',
    help="Exit with 3 unless this holds; may be given often.",
)
@foreign
def evaluate(
    target: str, split: str, tta: str | None, requirements: tuple[str, ...], **wanted: Any
) -> Any:
    """Measure a trained network on images it was not trained on.

    RUN is a path, a name under runs/, or `latest`; ARTIFACT is a .keras, .h5, .onnx or .tflite
    file or a SavedModel folder. Of a file that cifarnet did not write, the last options say what
    it takes and gives; the result names what was assumed instead.

    \b
    Example:
      cifarnet evaluate latest
      cifarnet evaluate latest --tta mirror --require "accuracy>=0.6"
      cifarnet evaluate foreign.onnx --input-range 0-1 --mean 0.5,0.5,0.5 --std 0.25,0.25,0.25
    """
    screen = console()
    found = resolve(target)
    artifact, run, config = found
    if run is None and split == "validation":
        raise click.UsageError(
            "only a run knows its validation images; a model file by itself is measured "
            "on the test set"
        )
    load_tensorflow(screen)
    from cifarnet import data
    from cifarnet import evaluation as evaluation
    from cifarnet.cli.display import Display

    for requirement in requirements:
        evaluation.parse_requirement(requirement)
    kind = tta or config.evaluate.tta
    predictor = found.load(**wanted)
    with Display(screen) as display:
        dataset = data.load(config.data, config.seed, display.fetching)
    images = dataset.split(split)
    folder = artifact.with_name(f"{artifact.name}.evaluation")
    if run is not None and found.whole_run:
        folder = run.evaluation
    stem = split if kind == "none" else f"{split}-{kind}"
    about = {
        "artifact": str(artifact),
        "runtime": predictor.runtime,
        "assumed": predictor.assumed,
        "data": dataset.description,
        "split": split,
        "tta": kind,
        "digest": dataset.digests()[split],
    }
    with screen.status(f"evaluating {len(images.labels):,} {split} images"):
        metrics, arrays = evaluation.measure(
            evaluation.tta(predictor, kind), images.pixels, images.labels, dataset.classes, about
        )
    with found.writing(folder):
        evaluation.write(metrics, arrays, folder, stem)
        pictures = _draw(folder, stem)
    _print(screen, metrics, stem, folder, pictures)
    for requirement in requirements:
        evaluation.check(metrics, requirement)
    if run is not None and len(pictures) > 0:
        screen.print(f"Next: cifarnet predict {target} IMAGE ...\n", markup=False)
    return {"folder": str(folder), "pictures": [str(p) for p in pictures], **metrics}


def _draw(folder: Path, stem: str) -> list[Path]:
    from cifarnet.reporting import plots

    confusion = folder / f"{stem}-confusion.png"
    reliability = folder / f"{stem}-reliability.png"
    mistakes = folder / f"{stem}-mistakes.png"
    plots.confusion(folder / f"{stem}.json", confusion)
    plots.reliability(folder / f"{stem}.json", reliability)
    plots.mistakes(folder / f"{stem}.json", folder / f"{stem}-predictions.npz", mistakes)
    return [confusion, reliability, mistakes]


def _print(
    screen: Any, metrics: dict[str, Any], stem: str, folder: Path, pictures: list[Path]
) -> None:
    from rich.table import Table

    low, high = metrics["accuracy_interval"]
    about = metrics["about"]
    rows = [
        (
            "accuracy",
            f"{percent(metrics['accuracy'])}  (95 % interval {percent(low)} to {percent(high)})",
        ),
        ("top-5", percent(metrics["top5_accuracy"])),
        ("loss", f"{metrics['loss']:.4f} nats"),
        ("calibration error", percent(metrics["expected_calibration_error"])),
        ("images", f"{metrics['count']:,} {about['split']} images of {about['data']}"),
        ("augmentation", about["tta"]),
        ("runtime", about["runtime"]),
        *([("assumed", "; ".join(about["assumed"]))] if about["assumed"] else []),
        ("time", f"{duration(about['seconds'])}, {about['images_per_second']:,.0f} images/s"),
    ]
    screen.print(facts(rows) + "\n", markup=False)
    table = Table("class")
    for heading in ("precision", "recall", "F1", "images"):
        table.add_column(heading, justify="right")
    for one in metrics["per_class"]:
        values = (f"{one[key]:.3f}" for key in ("precision", "recall", "f1"))
        table.add_row(one["class"], *values, f"{one['support']:,}")
    screen.print(table)
    names = ", ".join(picture.name for picture in pictures)
    screen.print(f"\nin {folder}: {stem}.json, {stem}-predictions.npz, {names}\n", markup=False)


@click.command(cls=Command)
@_target
@click.argument(
    "images", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="IMAGE..."
)
@click.option(
    "--top", default=3, show_default=True, type=click.IntRange(1), help="How many classes to name."
)
@foreign
def predict(target: str, images: tuple[Path, ...], top: int, **wanted: Any) -> Any:
    """Classify image files, or all images in folders.

    Images of another size are resized to the network's. RUN|ARTIFACT and the last options are as
    for `evaluate`.

    \b
    Example:
      cifarnet predict latest cat.jpg
      cifarnet predict latest photos/ --json
    """
    import numpy as np

    from cifarnet import data

    found = resolve(target)
    files = data.image_files(images)
    screen = console()
    load_tensorflow(screen)
    predictor = found.load(**wanted)
    pixels = np.stack([data.read_image(file, predictor.size) for file in files])
    probabilities = predictor(pixels)
    classes = found.classes(predictor)
    document = []
    for file, row in zip(files, probabilities, strict=True):
        ranked = [(classes[i], float(row[i])) for i in np.argsort(-row)[:top]]
        document.append(
            {
                "image": str(file),
                "classes": [{"class": name, "probability": value} for name, value in ranked],
            }
        )
        text = "  ".join(f"{name} {percent(value)}" for name, value in ranked)
        screen.print(f"{file}: {text}", markup=False)
    if predictor.assumed:
        screen.print(f"assumed: {'; '.join(predictor.assumed)}", markup=False)
    return document
