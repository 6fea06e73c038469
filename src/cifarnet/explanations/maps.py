"""Heat maps: how much each pixel of an image supports a class, by four methods."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from cifarnet.data import images_per_batch
from cifarnet.errors import ArtifactError

if TYPE_CHECKING:
    from cifarnet.predictors.gradients import Differentiable

Maps = npt.NDArray[np.float32]
# Pixels uint8 [N, S, S, 3] and the class to explain of each, int [N] -> [N, S, S]: positive where a
# pixel supports the class, negative where it speaks against it.
Explainer = Callable[[np.ndarray, np.ndarray], Maps]

_POSITIONS = 7  # of the square, along a side
_STEPS = 32  # of integrated gradients
_BATCH = 490  # images per call of the network: the squares of ten images
# Added to probabilities before their logarithm: half a step of 8-bit outputs, which may be 0.
_FLOOR = 1 / 512


def occlusion(predict: Callable[[np.ndarray], np.ndarray], color: Sequence[float]) -> Explainer:
    """Cover squares of an image, one per prediction, and measure what the class loses.

    Zeiler and Fergus 2014, arXiv 1311.2901. A pixel's value is the fall of log(p + 1/512), nats,
    where p is the probability of the class, averaged over the squares that cover the pixel. At 32
    pixels there are 49 squares of 8 x 8 in steps of 4; other sizes are scaled.

    Args:
        predict: pixels to probabilities; gradients are not needed.
        color: of the squares, RGB, 0-255.
    """
    fill = np.rint(color).astype(np.uint8)

    def explain(pixels: np.ndarray, classes: np.ndarray) -> np.ndarray:
        covers = _squares(pixels.shape[1])
        covered = np.where(covers[None, ..., None], fill, pixels[:, None])
        rows = predict(np.concatenate([pixels, covered.reshape(-1, *pixels.shape[1:])]))
        of_class = np.repeat(classes, len(covers))
        before = np.log(rows[np.arange(len(pixels)), classes] + _FLOOR)
        after = np.log(rows[len(pixels) :][np.arange(len(of_class)), of_class] + _FLOOR)
        falls = before[:, None] - after.reshape(len(pixels), -1)
        return np.tensordot(falls, covers, axes=1) / covers.sum(axis=0)

    return _in_batches(explain, _BATCH // _POSITIONS**2)


def _squares(size: int) -> npt.NDArray[np.bool_]:
    """Return where the squares of occlusion are, [squares, size, size]."""
    side = max(1, round(size / 4))
    starts = np.unique(np.linspace(0, size - side, _POSITIONS).round().astype(int))
    inside = (np.arange(size) >= starts[:, None]) & (np.arange(size) < starts[:, None] + side)
    return (inside[:, None, :, None] & inside[None, :, None, :]).reshape(-1, size, size)


def gradcam(network: Differentiable) -> Explainer:
    """Sum the channels of the last convolution, each weighted by its mean gradient.

    Selvaraju et al. 2017, arXiv 1610.02391. The positive part is resized to the image.

    Raises:
        ArtifactError: the network has no convolution.
    """
    return _activation_map(network, lambda gradients: gradients.mean(axis=(1, 2), keepdims=True))


def layercam(network: Differentiable) -> Explainer:
    """Sum the channels of the last convolution, each position weighted by its positive gradient.

    Jiang et al. 2021, doi 10.1109/TIP.2021.3089943. The positive part is resized to the image.

    Raises:
        ArtifactError: the network has no convolution.
    """
    return _activation_map(network, lambda gradients: np.maximum(gradients, 0))


def _activation_map(
    network: Differentiable, weights: Callable[[np.ndarray], np.ndarray]
) -> Explainer:
    convolutions = network.convolutions()
    if not convolutions:
        raise ArtifactError(
            "the network has no convolution, which class activation maps need; use the method "
            "occlusion or integrated"
        )

    def explain(pixels: np.ndarray, classes: np.ndarray) -> np.ndarray:
        activations, gradients = network.layer_gradients(convolutions[-1], pixels, classes)
        maps = np.maximum((activations * weights(gradients)).sum(axis=-1), 0)
        return np.stack([_resize(one, pixels.shape[1]) for one in maps])

    return _in_batches(explain, _BATCH)


def _resize(values: np.ndarray, size: int) -> np.ndarray:
    from PIL import Image

    image = Image.fromarray(values.astype(np.float32))
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))


def integrated(network: Differentiable, color: Sequence[float]) -> Explainer:
    """Integrate the gradient of the logit from an image of one color to the image.

    Sundararajan et al. 2017, arXiv 1703.01365. The mean gradient at the middles of 32 steps, times
    the difference to the color, summed over red, green and blue. The sum of a map is the
    difference of the logits of the two images, as far as 32 steps give the integral.

    Args:
        network: pixels to logits.
        color: of the image to start from, RGB, 0-255.
    """
    start = np.asarray(color, np.float32)
    shares = ((np.arange(_STEPS, dtype=np.float32) + 0.5) / _STEPS)[:, None, None, None]

    def explain(pixels: np.ndarray, classes: np.ndarray) -> np.ndarray:
        change = pixels - start
        path = (start + shares * change[:, None]).reshape(-1, *pixels.shape[1:])
        gradients = network.pixel_gradients(path, np.repeat(classes, _STEPS))
        mean = gradients.reshape(len(pixels), _STEPS, *pixels.shape[1:]).mean(axis=1)
        return (mean * change).sum(axis=-1)

    return _in_batches(explain, _BATCH // _STEPS)


def of_gradients(method: str, network: Differentiable, color: Sequence[float]) -> Explainer:
    """Return the explainer of a method that needs gradients; `color` is as for `integrated`."""
    if method == "integrated":
        return integrated(network, color)
    return {"gradcam": gradcam, "layercam": layercam}[method](network)


def _in_batches(explain: Callable[[np.ndarray, np.ndarray], np.ndarray], count: int) -> Explainer:
    def whole(pixels: np.ndarray, classes: np.ndarray) -> Maps:
        size = images_per_batch(pixels.shape[1], count)
        starts = range(0, len(pixels), size)
        parts = [explain(pixels[i : i + size], classes[i : i + size]) for i in starts]
        return np.concatenate(parts).astype(np.float32)

    return whole
