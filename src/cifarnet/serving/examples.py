"""Examples on the page: images that an evaluation of the run has stored."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from cifarnet import browser, runs
from cifarnet.errors import RunError
from cifarnet.runs import Evaluation, Run, documents

_MOST = 10
_log = logging.getLogger("uvicorn.error")


def of(run: Run) -> browser.Examples | None:
    """Return an image of each class, at most ten, that the network was not trained on.

    These are the ones that it was surest of, and right, in the run's stored evaluation. None if
    there is none, or if it cannot be read, which is logged.
    """
    for split in ("test", "validation"):
        path = run.evaluation_folder / f"{split}.json"
        try:
            if path.is_file() and (pixels := _pixels(run, path)) is not None:
                return browser.Examples(pixels, _source(split))
        except (OSError, RunError) as error:
            _log.warning("the page has no examples: %s", error)
    return None


def _source(split: str) -> str:
    return (
        f"{split.capitalize()} images, which the network was not trained on; "
        "of each class the one that it is surest of and right about."
    )


def _pixels(run: Run, path: Path) -> np.ndarray | None:
    """Return uint8 [N, S, S, 3]; None of older weights, or without images of all cells."""
    from PIL import Image

    found = documents.read(path, Evaluation)
    sprite = found.sprite
    if sprite is None or not found.sprite_file.is_file():
        return None
    if not runs.is_current(run, found.about.weights_sha256):
        return None
    places = sprite.surest(found.confusion_matrix)[:_MOST]
    if not places:
        return None
    side = sprite.side
    with Image.open(found.sprite_file, formats=["WEBP"]) as sheet:
        pixels = np.asarray(sheet.convert("RGB"))
    corners = [(place // sprite.columns * side, place % sprite.columns * side) for place in places]
    return np.stack([pixels[y : y + side, x : x + side] for y, x in corners])
