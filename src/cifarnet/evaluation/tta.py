"""Test-time augmentation: average the predictions of several views of each image."""

from __future__ import annotations

from functools import partial

import numpy as np

from cifarnet.data.stored_pixels import Pixels, StoredPixels, Transform
from cifarnet.predictors import Predict


def with_tta(predict: Predict, kind: str) -> Predict:
    """Make a predict function that averages over views of each image.

    Logits are averaged, as in Jordan 2024, arXiv 2404.00498, section 3.5. Log-probabilities differ
    from logits by a constant per image and view, which the final softmax cancels, so averaging them
    is equivalent.

    Args:
        predict: pixels to probabilities, without augmentation.
        kind: `none`; `mirror`: the image and its mirror image, each with weight 1/2;
            `mirror_translate`: those two with weight 1/4 each, and both shifted by one pixel
            up-left and down-right (borders filled by reflection) with weight 1/8 each.
    """
    if kind == "none":
        return predict

    def averaged(pixels: Pixels) -> np.ndarray:
        views = [(weight, _see(pixels, view)) for weight, view in _views(kind)]
        total = np.sum([weight * _log(predict(seen)) for weight, seen in views], axis=0)
        scaled = np.exp(total - total.max(axis=1, keepdims=True))
        return (scaled / scaled.sum(axis=1, keepdims=True)).astype(np.float32)

    return averaged


def _views(kind: str) -> list[tuple[float, Transform]]:
    """Return what makes each view of a batch, with its weight; they sum to 1."""
    if kind == "mirror":
        return [(0.5, _same), (0.5, _mirrored)]
    one, other = partial(_shifted, at=0), partial(_shifted, at=2)
    weighted: list[tuple[float, Transform]] = [(0.5, _same), (0.25, one), (0.25, other)]
    return [
        (weight / 2, view)
        for weight, straight in weighted
        for view in (straight, lambda pixels, straight=straight: _mirrored(straight(pixels)))
    ]


def _see(pixels: Pixels, view: Transform) -> Pixels:
    return pixels.mapped(view) if isinstance(pixels, StoredPixels) else view(np.asarray(pixels))


def _same(pixels: np.ndarray) -> np.ndarray:
    return pixels


def _mirrored(pixels: np.ndarray) -> np.ndarray:
    return pixels[:, :, ::-1]


def _shifted(pixels: np.ndarray, at: int) -> np.ndarray:
    size = pixels.shape[1]
    padded = np.pad(pixels, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
    return padded[:, at : at + size, at : at + size]


def _log(probabilities: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(probabilities.astype(np.float64), np.finfo(np.float32).tiny))
