"""Test-time augmentation: average the predictions of several views of each image."""

from __future__ import annotations

import numpy as np

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

    def averaged(pixels: np.ndarray) -> np.ndarray:
        views = _views(pixels, kind)
        total = np.sum([weight * _log(predict(view)) for weight, view in views], axis=0)
        scaled = np.exp(total - total.max(axis=1, keepdims=True))
        return (scaled / scaled.sum(axis=1, keepdims=True)).astype(np.float32)

    return averaged


def _views(pixels: np.ndarray, kind: str) -> list[tuple[float, np.ndarray]]:
    """Return the views of a batch with their weights, which sum to 1."""
    if kind == "mirror":
        return [(0.5, view) for view in (pixels, pixels[:, :, ::-1])]
    size = pixels.shape[1]
    padded = np.pad(pixels, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
    shifted = [padded[:, at : at + size, at : at + size] for at in (0, 2)]
    weighted = [(0.5, pixels), *((0.25, view) for view in shifted)]
    return [(w / 2, view) for w, one in weighted for view in (one, one[:, :, ::-1])]


def _log(probabilities: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(probabilities.astype(np.float64), np.finfo(np.float32).tiny))
