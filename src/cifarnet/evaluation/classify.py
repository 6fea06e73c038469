"""Classify image files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cifarnet import artifacts, data
from cifarnet.errors import ConfigError, DataError
from cifarnet.formatting import some
from cifarnet.predictors import Preprocessing
from cifarnet.runs import Run


@dataclass(frozen=True)
class Prediction:
    """Class names and probabilities of one image file, most probable first."""

    image: Path
    classes: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Predictions:
    """Predictions of image files.

    Attributes:
        images: those that could be read, in the order given.
        unreadable: the others, each with the reason.
        assumed: what was assumed about a model file that cifarnet did not write.
    """

    images: tuple[Prediction, ...]
    unreadable: tuple[tuple[Path, str], ...]
    assumed: tuple[str, ...]


def predict(
    target: Run | str | Path,
    images: Iterable[str | Path],
    top: int = 3,
    preprocessing: Preprocessing | None = None,
) -> Predictions:
    """Classify image files, and all image files in folders.

    Args:
        target: a run, its path or name, `latest`, or a model file.
        images: files and folders; images are resized to the network's input.
        top: number of classes to return per image.
        preprocessing: input and output of a model file that cifarnet did not write.

    Raises:
        ConfigError: `top` is not positive.
        RunError, ArtifactError: the target cannot be found or loaded, or has changed.
        DataError: there is no image, or none that can be read.

    Example:
        for prediction in cifarnet.predict("latest", ["cat.png", "photos/"]).images:
            name, probability = prediction.classes[0]
            print(prediction.image, name, probability)
    """
    if top < 1:
        raise ConfigError(f"top: expected at least 1, received {top}")
    if isinstance(images, str | Path):
        raise DataError(f"images: expected a list of paths, received the text {str(images)!r}")
    paths = [Path(image) for image in images]
    if paths and not any(path.exists() for path in paths):  # before the network is loaded
        raise DataError(f"there is no image file or folder {some([*map(str, paths)])}")
    artifact = artifacts.resolve(target)
    predictor = artifact.load(preprocessing)
    pixels, unreadable = data.read_images(paths, predictor.size)
    if not pixels:
        reasons = "; ".join(reason for _, reason in unreadable[:5])
        raise DataError(f"expected at least one image, received none: {reasons or 'no file'}")
    names = artifact.classes(predictor)
    found = []
    for file, row in zip(pixels, predictor(np.stack([*pixels.values()])), strict=True):
        ranked = tuple((names[i], float(row[i])) for i in np.argsort(-row)[:top])
        found.append(Prediction(file, ranked))
    return Predictions(tuple(found), tuple(unreadable), tuple(predictor.assumed))
