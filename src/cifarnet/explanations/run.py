"""Explain decisions of a run or model file, and check the method that does it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, get_args

import numpy as np

from cifarnet import artifacts, runs
from cifarnet.artifacts import Artifact
from cifarnet.callbacks import Callback, job
from cifarnet.choices import MAX_MISTAKES, ExplanationMethod
from cifarnet.cost import Meter, Power
from cifarnet.data import Dataset
from cifarnet.errors import ArtifactError, ConfigError
from cifarnet.explanations import checks, maps, selection
from cifarnet.explanations.maps import Explainer
from cifarnet.explanations.selection import Chosen
from cifarnet.formatting import count
from cifarnet.predictors import Predict, Predictor, Preprocessing
from cifarnet.reporting import explanations as pictures
from cifarnet.runs import Run, documents
from cifarnet.runs.explanations import METHOD_NAMES, ExplainedImage, Explanation

_MISTAKES = 10  # without images
FILES = ARRAYS, PICTURE, RECORD = "explanations.npz", "explanations.png", "explain.json"


def explain(
    target: Run | str | Path,
    images: Iterable[str | Path] = (),
    mistakes: int | None = None,
    method: str = "occlusion",
    preprocessing: Preprocessing | None = None,
    callbacks: Iterable[Callback] | None = None,
    overrides: Iterable[str] = (),
    allow_changed_data: bool = False,
    output: str | Path | None = None,
    power: Power | None = None,
) -> Explanation:
    """Show which pixels decisions depend on, and check the method that says so.

    Explains the predicted class, and the true one where it is known. Each call also compares the
    method with random maps, a centered blob and edges, and shuffles the network's weights.

    Args:
        target: a run, its path or name, `latest`, or a model file.
        images: image files and folders of them; none: `mistakes`.
        mistakes: how many of the most confident mistakes on the test set to explain instead; 10.
        method: `occlusion`, of any model file; or of Keras files `layercam`, `gradcam`,
            `integrated`.
        preprocessing, callbacks, overrides, allow_changed_data, output, power: as for `evaluate`.

    Returns:
        What was explained and the checks; `path` is the file, with arrays and a picture beside it.

    Raises:
        ConfigError: an unknown `method`, or images and mistakes at once.
        RunError, ArtifactError: the target cannot be found or loaded, or has not what is needed.
        DataError: the images cannot be read, or there are no mistakes.

    Example:
        explanation = cifarnet.explain("latest", mistakes=20)
        print(explanation.verdict, explanation.path)
    """
    meter, files = Meter(power), _check(images, mistakes, method)
    with job(callbacks) as callback:
        artifact = artifacts.resolve(target, overrides)
        callback.on_stage(f"loading {artifact.path}")
        predictor = artifact.load(preprocessing)
        dataset = artifact.dataset(callback.on_fetch, allow_changed_data, predictor)
        subject = _Subject.of(artifact, predictor, dataset, method)
        found, arrays = _explain(subject, files, mistakes or _MISTAKES, callback)
        callback.on_result(found := found.replace(cost=meter.read()))
        folder = _folder(artifact, output, method, files)
        with artifact.writing(folder, callback):
            return _write(found, arrays, folder)


def _folder(
    artifact: Artifact, output: str | Path | None, method: str, files: Sequence[Path]
) -> Path:
    """Return where results are written: mistakes and files beside each other."""
    folder = artifact.evaluation_folder(output)
    if output is not None:
        return folder
    return folder / "explanations" / (f"{method}-images" if files else method)


def _check(images: Iterable[str | Path], mistakes: int | None, method: str) -> list[Path]:
    """Check the arguments; return the image files and folders."""
    if method not in get_args(ExplanationMethod):
        expected = ", ".join(get_args(ExplanationMethod))
        raise ConfigError(f"method: expected one of {expected}; received {method!r}")
    if isinstance(images, str | Path):
        raise ConfigError(f"images: expected a list of paths, received {str(images)!r}")
    files = [Path(image) for image in images]
    if files and mistakes is not None:
        raise ConfigError("expected images or mistakes, received both; leave one out")
    if mistakes is not None and not 1 <= mistakes <= MAX_MISTAKES:
        raise ConfigError(f"mistakes: expected 1 to {MAX_MISTAKES}, received {mistakes}")
    return files


class _Subject(NamedTuple):
    """What is explained and how; `explainer` and `predict` have the classes of `dataset`."""

    artifact: Artifact
    predictor: Predictor
    dataset: Dataset
    predict: Predict
    explainer: Explainer
    method: str
    assumed: list[str]

    @classmethod
    def of(
        cls, artifact: Artifact, predictor: Predictor, dataset: Dataset, method: str
    ) -> _Subject:
        predict, assumed = artifacts.align(predictor, dataset.classes)
        if method == "occlusion":
            explainer = maps.occlusion(predict, dataset.mean)
        else:
            from cifarnet.predictors.gradients import Differentiable

            order, _ = artifacts.class_order(predictor, dataset.classes)
            explainer = maps.of_gradients(method, Differentiable(predictor, order), dataset.mean)
        return cls(artifact, predictor, dataset, predict, explainer, method, assumed)


def _explain(
    subject: _Subject, files: Sequence[Path], mistakes: int, callback: Callback
) -> tuple[Explanation, dict[str, np.ndarray]]:
    artifact, predictor, dataset, predict, explainer, method, assumed = subject
    if files:
        chosen = selection.read(files, predictor.size)
    else:
        about = artifact.source(predictor, dataset, "test")
        chosen = selection.mistakes(artifact, predict, dataset, about, mistakes)
    name = METHOD_NAMES[method]
    callback.on_stage(f"explaining {count(len(chosen.pixels), 'image')} by {name}")
    listed, arrays = _maps(explainer, predict, chosen, dataset.classes)
    split, pixels = selection.checked(artifact, dataset)
    callback.on_stage(f"checking {name} on {len(pixels)} {split} images")
    checked = checks.check(explainer, predict, predictor.network, pixels)
    found = Explanation(
        method=method,
        images=listed,
        unreadable=list(chosen.unreadable),
        checks=checked,
        verdict=checks.verdict(checked.gains, checked.randomized),
        classes=list(dataset.classes),
        about=artifact.source(predictor, dataset, split, assumed),
    )
    return found, arrays


def _maps(
    explainer: Explainer, predict: Predict, chosen: Chosen, classes: Sequence[str]
) -> tuple[list[ExplainedImage], dict[str, np.ndarray]]:
    """Explain images: what was predicted for them, and the arrays of pixels and maps."""
    probabilities = predict(chosen.pixels)
    if not np.isfinite(probabilities).all():
        raise ArtifactError("the network gives values that are not finite, which have no reason")
    predicted = probabilities.argmax(axis=1)
    arrays = {"pixels": chosen.pixels, "predicted": explainer(chosen.pixels, predicted)}
    if chosen.labels is not None:
        arrays["true"] = explainer(chosen.pixels, chosen.labels)
    listed = []
    for i, (name, row) in enumerate(zip(chosen.names, probabilities, strict=True)):
        true = None if chosen.labels is None else int(chosen.labels[i])
        listed.append(
            ExplainedImage(
                image=name,
                predicted=classes[predicted[i]],
                confidence=float(row[predicted[i]]),
                true=None if true is None else classes[true],
                true_probability=None if true is None else float(row[true]),
            )
        )
    return listed, arrays


def _write(found: Explanation, arrays: dict[str, np.ndarray], folder: Path) -> Explanation:
    runs.write_arrays(folder / ARRAYS, arrays)
    found = documents.write(folder / RECORD, found)
    pictures.draw(found, folder / ARRAYS, folder / PICTURE)
    return found
