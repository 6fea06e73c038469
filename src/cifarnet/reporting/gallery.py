"""The images of a page, and what a click on one shows, as JSON for its script."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cifarnet import runs
from cifarnet.errors import JsonObject
from cifarnet.runs import Evaluation
from cifarnet.runs.explanations import ExplainedImage, Explanation

_PROBABILITIES = 10  # of an image, the largest
_MAX_EXPLAINED = 20  # per method; four methods and the sprite stay below a megabyte
_MAX_SIDE = 32  # of a heat map, values


def data_uri(content: bytes, kind: str) -> str:
    """Return a `data:` address with the content inside."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def images(found: Evaluation) -> JsonObject | None:
    """Return the stored images of an evaluation; None if it has none.

    Returns:
        `sheet`: address of the WebP image; `side`, `columns` of it; `images`: for each the row in
        the split, true class, and [class, probability] pairs, most probable first.

    Raises:
        RunError, OSError: its files are damaged.
    """
    from PIL import Image

    sprite = found.sprite
    if sprite is None or not sprite.rows or not found.sprite_file.is_file():
        return None
    with Image.open(found.sprite_file) as sheet:
        sheet.load()
    arrays = runs.read_arrays(found.predictions_file)
    probabilities, labels = arrays["probabilities"], arrays["labels"]
    rows = np.array(sprite.rows)
    best = np.argsort(-probabilities[rows], axis=1, kind="stable")[:, :_PROBABILITIES]
    values = np.take_along_axis(probabilities[rows], best, axis=1).astype(float).round(4)
    return {
        "sheet": data_uri(found.sprite_file.read_bytes(), "image/webp"),
        "side": sprite.side,
        "columns": sprite.columns,
        "images": [
            [row, int(labels[row]), [[int(i), float(p)] for i, p in zip(*both, strict=True)]]
            for row, *both in zip(sprite.rows, best, values, strict=True)
        ],
    }


def explained(found: Explanation, published: bool) -> JsonObject | None:
    """Return the explained images of one method with their heat maps; None if it has none.

    Args:
        found: the record.
        published: name image files without their folders.

    Returns:
        `sheet`, `side`, `columns` as of `images`; `map_side`; and for each image its caption, its
        row in the test split if it is of that, and base64 of its maps, one signed byte per value,
        scaled to the largest of a map.

    Raises:
        RunError: its arrays are damaged.
    """
    arrays = runs.read_arrays(found.path.with_name("explanations.npz"))
    pixels = arrays["pixels"][:_MAX_EXPLAINED]
    if not len(pixels):
        return None
    maps = {name: _reduced(arrays[name]) for name in ("predicted", "true") if name in arrays}
    return {
        "method": found.method_name,
        "sheet": _strip(pixels),
        "side": pixels.shape[1],
        "columns": len(pixels),
        "map_side": maps["predicted"].shape[1],
        "images": [
            {
                "row": _row(one),
                "name": Path(one.image).name if published else one.image,
                **_captions(one),
                "maps": {name: _bytes(values[i]) for name, values in maps.items()},
            }
            for i, one in enumerate(found.images[: len(pixels)])
        ],
    }


def _row(one: ExplainedImage) -> int | None:
    match = re.fullmatch(r"test\[(\d+)\]", one.image)
    return int(match[1]) if match else None


def _captions(one: ExplainedImage) -> JsonObject:
    return {
        "predicted": [one.predicted, one.confidence],
        "true": None if one.true is None else [one.true, one.true_probability],
    }


def _reduced(values: np.ndarray) -> np.ndarray:
    """Average maps [N, S, S] over blocks, so that a side has at most 32 to 63 values."""
    by = max(1, values.shape[1] // _MAX_SIDE)
    side = values.shape[1] // by
    cut = values[:, : side * by, : side * by]
    return cut.reshape(len(values), side, by, side, by).mean(axis=(2, 4))


def _bytes(values: np.ndarray) -> str:
    largest = float(np.abs(values).max()) or 1.0
    scaled = np.round(127 * values / largest).astype(np.int8)
    return base64.b64encode(scaled.tobytes()).decode()


def _strip(pixels: Sequence[np.ndarray] | np.ndarray) -> str:
    """Return images [N, S, S, 3] side by side as a WebP address."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.concatenate(list(pixels), axis=1)).save(file, "WEBP", quality=90)
    return data_uri(file.getvalue(), "image/webp")
