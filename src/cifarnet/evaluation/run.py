"""Evaluate a run or model file on a split, and classify image files."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cifarnet import artifacts, data, runs
from cifarnet.artifacts import Artifact
from cifarnet.callbacks import Callback, Callbacks
from cifarnet.errors import DataError
from cifarnet.evaluation.metrics import metrics
from cifarnet.evaluation.tta import tta as with_tta
from cifarnet.predictors import Predict, Preprocessing
from cifarnet.reporting import plots
from cifarnet.runs import Evaluation, Run, records
from cifarnet.runs.records import EvaluationSource


def evaluate(
    target: Run | str | Path,
    split: str = "test",
    tta: str | None = None,
    preprocessing: Preprocessing | None = None,
    callbacks: Iterable[Callback] = (),
) -> Evaluation:
    """Measure a trained network on images it was not trained on.

    Writes `<split>.json`, `<split>-predictions.npz` and pictures into the run, or into a folder
    beside a model file.

    Args:
        target: a run, its path or name, `latest`, or a model file, ours or foreign.
        split: `test` or `validation`; a model file outside any run has no validation images.
        tta: test-time augmentation: `none`, `mirror`, `mirror_translate`; None: as the config says.
        preprocessing: what a foreign file takes.
        callbacks: told of each stage.

    Raises:
        RunError, ArtifactError: the target cannot be found or loaded, or has changed.
        DataError: the images cannot be read, or there is no such split.
    """
    told = Callbacks(callbacks)
    artifact = artifacts.resolve(target)
    if artifact.run is None and split == "validation":
        raise DataError(
            "only a run knows its validation images; a model file by itself is measured "
            "on the test set"
        )
    config = artifact.config
    kind = tta or config.evaluate.tta
    told.on_stage(f"loading {artifact.path}")
    predictor = artifact.load(preprocessing)
    dataset = data.load(config.data, config.seed, told.on_fetch)
    images = dataset.split(split)
    about = EvaluationSource(
        artifact=str(artifact.path),
        runtime=predictor.runtime,
        assumed=predictor.assumed,
        data=dataset.description,
        split=split,
        tta=kind,
        digest=dataset.digests()[split],
    )
    told.on_stage(f"evaluating {len(images.labels):,} {split} images")
    predict = with_tta(predictor, kind)
    evaluation, arrays = measure(predict, images.pixels, images.labels, dataset.classes, about)
    stem = split if kind == "none" else f"{split}-{kind}"
    folder = _folder(artifact)
    with artifact.writing(folder):
        return write(evaluation, arrays, folder, stem)


def measure(
    predict: Predict,
    pixels: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    about: EvaluationSource,
) -> tuple[Evaluation, dict[str, np.ndarray]]:
    """Predict a split and compute its metrics.

    Args:
        predict: the network.
        pixels: uint8 [N, S, S, 3].
        labels: uint8 [N].
        classes: names, by label.
        about: recorded, with the time taken.

    Returns:
        The metrics; and arrays: `probabilities` float32 [N, classes], `labels`, and the pixels of
        the listed `mistakes`, from which pictures are drawn.
    """
    start = time.perf_counter()
    probabilities = predict(pixels)
    seconds = time.perf_counter() - start
    found = metrics(probabilities, labels, classes)
    timing = {
        "seconds": round(seconds, 3),
        "images_per_second": round(len(pixels) / seconds, 1),
    }
    found = found.model_copy(update={"about": about.model_copy(update=timing)})
    rows = [mistake.index for mistake in found.mistakes]
    return found, {"probabilities": probabilities, "labels": labels, "mistakes": pixels[rows]}


def write(
    evaluation: Evaluation, arrays: dict[str, np.ndarray], folder: Path, stem: str
) -> Evaluation:
    """Write what `measure` found to `<stem>.json` and `<stem>-predictions.npz`, with pictures.

    Raises:
        RunError: they cannot be written.
    """
    runs.write_arrays(folder / f"{stem}-predictions.npz", arrays)
    evaluation = records.write(folder / f"{stem}.json", evaluation)
    confusion, reliability, mistakes = pictures(evaluation)
    plots.confusion(evaluation, confusion)
    plots.reliability(evaluation, reliability)
    plots.mistakes(evaluation, predictions(evaluation), mistakes)
    return evaluation


def predictions(evaluation: Evaluation) -> Path:
    """Return the file with an evaluation's arrays; see `measure`."""
    return evaluation.path.with_name(f"{evaluation.path.stem}-predictions.npz")


def pictures(evaluation: Evaluation) -> tuple[Path, Path, Path]:
    """Return the pictures of an evaluation: confusion matrix, reliability, mistakes."""
    stem = evaluation.path.stem
    confusion, reliability, mistakes = (
        evaluation.path.with_name(f"{stem}-{name}.png")
        for name in ("confusion", "reliability", "mistakes")
    )
    return confusion, reliability, mistakes


@dataclass(frozen=True)
class Prediction:
    """The classes of one image file, most probable first, with their probabilities."""

    image: Path
    classes: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Predictions:
    """Predictions of image files, and what was assumed of a foreign model file."""

    images: tuple[Prediction, ...]
    assumed: tuple[str, ...]


def predict(
    target: Run | str | Path,
    images: Iterable[str | Path],
    top: int = 3,
    preprocessing: Preprocessing | None = None,
) -> Predictions:
    """Classify image files, and all image files in folders.

    Args:
        target: a run, its path or name, `latest`, or a model file, ours or foreign.
        images: files and folders; other sizes are resized to the network's.
        top: number of classes to return per image.
        preprocessing: what a foreign file takes.

    Raises:
        RunError, ArtifactError: the target cannot be found or loaded, or has changed.
        DataError: a file is missing or not an image.
    """
    artifact = artifacts.resolve(target)
    files = data.image_files(Path(image) for image in images)
    predictor = artifact.load(preprocessing)
    pixels = np.stack([data.read_image(file, predictor.size) for file in files])
    names = artifact.classes(predictor)
    found = []
    for file, row in zip(files, predictor(pixels), strict=True):
        ranked = tuple((names[i], float(row[i])) for i in np.argsort(-row)[:top])
        found.append(Prediction(file, ranked))
    return Predictions(tuple(found), tuple(predictor.assumed))


def _folder(artifact: Artifact) -> Path:
    if artifact.run is not None and artifact.is_run_model:
        return artifact.run.evaluation_folder
    return artifact.path.with_name(f"{artifact.path.name}.evaluation")
