"""Evaluate a run or model file on a split."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import get_args

import numpy as np

from cifarnet import artifacts, data, runs
from cifarnet.artifacts import Artifact
from cifarnet.callbacks import Callback, job, warn_unfinished
from cifarnet.choices import Split, Tta
from cifarnet.cost import Meter, Power
from cifarnet.errors import ConfigError, DataError
from cifarnet.evaluation import sprite
from cifarnet.evaluation.confidence import advice, temperature_scaling
from cifarnet.evaluation.metrics import compute_metrics
from cifarnet.evaluation.near_duplicates import Known, with_near_duplicates, without
from cifarnet.evaluation.tta import with_tta
from cifarnet.predictors import Predict, Predictor, Preprocessing
from cifarnet.reporting import plots
from cifarnet.runs import Evaluation, Run, documents
from cifarnet.runs.results import EvaluationSource, evaluation_stem


def evaluate(
    target: Run | str | Path,
    split: str = "test",
    tta: str | None = None,
    preprocessing: Preprocessing | None = None,
    callbacks: Iterable[Callback] | None = None,
    overrides: Iterable[str] = (),
    allow_changed_data: bool = False,
    output: str | Path | None = None,
    power: Power | None = None,
    near_duplicates: str | Path | None = None,
) -> Evaluation:
    """Evaluate a trained network on images it was not trained on.

    Writes `<split>[-<tta>].json`, arrays and pictures into the run, or beside a model file.

    Args:
        target: a run, its path or name, `latest`, or a model file.
        split: `test`; or `validation` of a run.
        tta: test-time augmentation: `none`, `mirror`, `mirror_translate`; None: the config's.
        preprocessing: input and output of a model file that cifarnet did not write.
        callbacks: notified of each stage; None: show progress on a terminal or in a notebook.
        overrides: `key=value` texts, such as `data.path=photos`: where the images are.
        allow_changed_data: where images of a run's folder are gone or changed, use the others.
        output: folder to write into instead.
        power: of this machine, and its electricity, for the record's cost.
        near_duplicates: `audit.csv`, or ciFAIR's list; None: the own list of CIFAR-10.

    Returns:
        The metrics; `path` is the file they are written to.

    Raises:
        ConfigError: an unknown `split` or `tta`.
        RunError, ArtifactError: the target cannot be found or loaded, or has changed.
        DataError: the images are unreadable or not those of the run, or there is no such split.

    Example:
        evaluation = cifarnet.evaluate("latest", tta="mirror")
        print(evaluation.accuracy, evaluation.accuracy_interval)
    """
    meter = Meter(power)
    with job(callbacks) as callback:
        artifact = artifacts.resolve(target, overrides)
        kind = _check(artifact, split, tta)
        predictor, dataset = _load(artifact, preprocessing, allow_changed_data, callback)
        known = with_near_duplicates(dataset, split, near_duplicates)
        evaluation, arrays = _measure(artifact, predictor, dataset, split, kind, known, callback)
        callback.on_result(evaluation := evaluation.replace(cost=meter.read()))
        with artifact.writing(folder := artifact.evaluation_folder(output), callback):
            return write(evaluation, arrays, folder, evaluation_stem(split, kind))


def _load(
    artifact: Artifact,
    preprocessing: Preprocessing | None,
    allow_changed_data: bool,
    callback: Callback,
) -> tuple[Predictor, data.Dataset]:
    warn_unfinished(artifact.run, callback)
    callback.on_stage(f"loading {artifact.path}")
    predictor = artifact.load(preprocessing)
    return predictor, artifact.dataset(callback.on_fetch, allow_changed_data, predictor)


def _check(artifact: Artifact, split: str, tta: str | None) -> str:
    """Check what to evaluate on; return the test-time augmentation."""
    kind = artifact.config.evaluate.tta if tta is None else tta
    for name, value, choices in (("split", split, get_args(Split)), ("tta", kind, get_args(Tta))):
        if value not in choices:
            raise ConfigError(f"{name}: expected one of {', '.join(choices)}; received {value!r}")
    if artifact.run is None and split == "validation":
        raise DataError(
            "only a run knows its validation images; a model file outside any run is evaluated "
            "on the test set"
        )
    return kind


def _measure(
    artifact: Artifact,
    predictor: Predictor,
    dataset: data.Dataset,
    split: str,
    tta: str,
    known: Known | None,
    callback: Callback,
) -> tuple[Evaluation, dict[str, np.ndarray]]:
    images = dataset.split(split)
    predict, order = artifacts.align(predictor, dataset.classes)
    about = artifact.source(predictor, dataset, split, order).replace(tta=tta)
    predict = with_tta(predict, tta)
    callback.on_stage(f"evaluating {len(images.labels):,} {split} images")
    found, arrays = measure(predict, images.pixels, images.labels, dataset.classes, about)
    if artifact.run is not None and split == "test" and len(dataset.validation.labels):
        callback.on_stage(f"fitting a temperature on {len(dataset.validation.labels):,} images")
        predicted = arrays["probabilities"], images.labels
        scaling = temperature_scaling(predict, dataset, *predicted)
        found = found.replace(temperature=scaling)
    found = found.replace(without_near_duplicates=without(known, arrays))
    return found.replace(advice=advice(found, artifact, dataset)), arrays


def measure(
    predict: Predict,
    pixels: data.Pixels,
    labels: np.ndarray,
    classes: Sequence[str],
    about: EvaluationSource,
) -> tuple[Evaluation, dict[str, np.ndarray]]:
    """Predict a split and compute its metrics.

    Args:
        predict: pixels to probabilities.
        pixels: uint8 [N, S, S, 3].
        labels: int [N].
        classes: names, by label.
        about: stored in the evaluation, with the time taken added.

    Returns:
        The metrics; and arrays: `probabilities` float32 [N, classes], `labels`, and for pictures
        `mistakes` and `images`, the pixels of the listed mistakes and of the sprite.
    """
    start = time.perf_counter()
    probabilities = predict(pixels)
    seconds = time.perf_counter() - start
    found = compute_metrics(probabilities, labels, classes)
    timing = {
        "seconds": round(seconds, 3),
        "images_per_second": round(len(pixels) / seconds, 1),
    }
    chosen = sprite.choose(probabilities, labels, pixels.shape[1])
    found = found.replace(about=about.replace(**timing), sprite=chosen)
    rows = [mistake.index for mistake in found.mistakes]
    shown = {"mistakes": pixels[rows], "images": pixels[chosen.rows]}
    return found, {"probabilities": probabilities, "labels": labels, **shown}


def write(
    evaluation: Evaluation, arrays: dict[str, np.ndarray], folder: Path, stem: str
) -> Evaluation:
    """Write the results of `measure` to `<stem>.json`, `<stem>-predictions.npz` and pictures.

    Raises:
        RunError: they cannot be written.
    """
    stored = {name: array for name, array in arrays.items() if name != "images"}
    runs.write_arrays(folder / f"{stem}-predictions.npz", stored)
    if evaluation.sprite is not None:
        images = folder / f"{stem}-images.webp"
        sprite.write(evaluation.sprite, arrays["images"], images)
    evaluation = documents.write(folder / f"{stem}.json", evaluation)
    confusion, reliability, mistakes = pictures(evaluation)
    plots.confusion(evaluation, confusion)
    plots.reliability(evaluation, reliability)
    plots.mistakes(evaluation, evaluation.predictions_file, mistakes)
    return evaluation


def pictures(evaluation: Evaluation) -> tuple[Path, Path, Path]:
    """Return the files of an evaluation's pictures: confusion matrix, reliability, mistakes."""
    stem = evaluation.path.stem
    confusion, reliability, mistakes = (
        evaluation.path.with_name(f"{stem}-{name}.png")
        for name in ("confusion", "reliability", "mistakes")
    )
    return confusion, reliability, mistakes
