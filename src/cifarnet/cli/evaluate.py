"""`cifarnet evaluate` and `cifarnet predict`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cifarnet.cli.common import Command, console, duration, facts, load_tensorflow, percent

if TYPE_CHECKING:
    from cifarnet.config import Config
    from cifarnet.rundir import RunDir

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
def evaluate(target: str, split: str, tta: str | None, requirements: tuple[str, ...]) -> Any:
    """Measure a trained network on images it was not trained on.

    RUN is a path, a name under runs/, or `latest`; ARTIFACT is a model file.

    \b
    Example:
      cifarnet evaluate latest
      cifarnet evaluate latest --tta mirror
      cifarnet evaluate latest --require "accuracy>=0.6"
    """
    screen = console()
    artifact, run, config = _resolve(target)
    if run is None and split == "validation":
        raise click.UsageError(
            "only a run knows its validation images; a model file by itself is measured "
            "on the test set"
        )
    load_tensorflow(screen)
    from cifarnet import data, predictors, report
    from cifarnet import evaluate as evaluation
    from cifarnet.cli.display import Display

    for requirement in requirements:
        evaluation.parse_requirement(requirement)
    kind = tta or config.evaluate.tta
    predict_ = evaluation.tta(predictors.load(artifact, config.evaluate.batch_size), kind)
    with Display(screen) as display:
        dataset = data.load(config.data, config.seed, display.fetching)
    images = dataset.split(split)
    folder = run.evaluation if run else artifact.with_name(f"{artifact.name}.evaluation")
    stem = split if kind == "none" else f"{split}-{kind}"
    about = {
        "artifact": str(artifact),
        "data": dataset.description,
        "split": split,
        "tta": kind,
        "digest": dataset.digests()[split],
    }
    with screen.status(f"evaluating {len(images.labels):,} {split} images"):
        metrics = evaluation.run(
            predict_, images.pixels, images.labels, dataset.classes, folder, stem, about
        )
        pictures = _draw(report, folder, stem)
    _print(screen, metrics, stem, folder, pictures)
    for requirement in requirements:
        evaluation.check(metrics, requirement)
    if run is not None and len(pictures) > 0:
        screen.print(f"Next: cifarnet predict {target} IMAGE ...\n", markup=False)
    return {"folder": str(folder), "pictures": [str(p) for p in pictures], **metrics}


def _draw(report: Any, folder: Path, stem: str) -> list[Path]:
    confusion = folder / f"{stem}-confusion.png"
    reliability = folder / f"{stem}-reliability.png"
    mistakes = folder / f"{stem}-mistakes.png"
    report.confusion(folder / f"{stem}.json", confusion)
    report.reliability(folder / f"{stem}.json", reliability)
    report.mistakes(folder / f"{stem}.json", folder / f"{stem}-predictions.npz", mistakes)
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
def predict(target: str, images: tuple[Path, ...], top: int) -> Any:
    """Classify image files, or all images in folders.

    \b
    Example:
      cifarnet predict latest cat.jpg
      cifarnet predict latest photos/ --json
    """
    import numpy as np

    from cifarnet import sources

    artifact, run, config = _resolve(target)
    files = sources.image_files(images)
    screen = console()
    load_tensorflow(screen)
    from cifarnet import predictors

    predict_ = predictors.load(artifact, config.evaluate.batch_size)
    pixels = np.stack([sources.read_image(file, config.data.image_size) for file in files])
    probabilities = predict_(pixels)
    classes = _classes(run, probabilities.shape[1])
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
    return document


def _classes(run: RunDir | None, count: int) -> list[str]:
    """The run's class names; CIFAR-10's for ten outputs of a lone file; else numbers."""
    from cifarnet import sources

    if run is not None:
        return list(run.read_manifest()["data"]["classes"])
    if count == len(sources.CIFAR10_CLASSES):
        return list(sources.CIFAR10_CLASSES)
    return [f"class {i}" for i in range(count)]


def _resolve(target: str) -> tuple[Path, RunDir | None, Config]:
    """The model file a user means, the run it belongs to, and that run's config.

    A file outside any run is taken for a CIFAR-10 network.

    Raises:
        RunError: no such run or file, or a run without a model.
    """
    from cifarnet import config, rundir
    from cifarnet.errors import RunError

    path = Path(target)
    if path.suffix and path.exists() and not (path / "run.json").exists():
        homes = [parent for parent in path.resolve().parents if (parent / "run.json").is_file()]
        if not homes:
            return path, None, config.of_data()
        run = rundir.RunDir(homes[0])
        return path, run, config.load(run.config)
    run = rundir.find(target)
    if not run.model.is_file():
        raise RunError(
            f"{run.path} has no model yet ({rundir.status(run)}). "
            f"Finish it with: cifarnet train --resume {run.path}"
        )
    return run.model, run, config.load(run.config)
