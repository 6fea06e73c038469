"""Checks of a heat map method: does it find the pixels that matter, and depend on the weights?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from cifarnet import statistics
from cifarnet.explanations.maps import Explainer, Maps
from cifarnet.predictors import Predict
from cifarnet.runs.explanations import Gain, MethodChecks, RandomizedWeights

_STEPS = 8  # of deletion and insertion; 16 or 32 change no gain by more than 0.006
_RANDOMIZED = 24  # images of the correlations
_SEED = 0
# A rank correlation with all weights shuffled that the verdict mentions; a convention of cifarnet.
_MUCH = 0.5


def random_maps(pixels: np.ndarray) -> Maps:
    """Return random maps as smooth as those of `edges`, [N, S, S].

    Single random pixels would be noise, which disturbs a network wherever it is.
    """
    random = np.random.default_rng(_SEED)
    return _smooth(random.random(pixels.shape[:3], np.float32), 1 / 16)


def centered_blob(pixels: np.ndarray) -> Maps:
    """Return a Gaussian in the middle, of a standard deviation of a quarter of the side."""
    size = pixels.shape[1]
    squared = (np.arange(size) - (size - 1) / 2) ** 2
    blob = np.exp(-(squared[:, None] + squared) / (2 * (size / 4) ** 2))
    return np.broadcast_to(blob.astype(np.float32), pixels.shape[:3])


def edges(pixels: np.ndarray) -> Maps:
    """Return how strong edges are, [N, S, S]: the Sobel magnitude of the gray image.

    Smoothed by a Gaussian of 1/16 of the side, without which edges are easier to surpass.
    """
    from scipy import ndimage

    gray = pixels.mean(axis=3, dtype=np.float32)
    strength = np.hypot(ndimage.sobel(gray, axis=1), ndimage.sobel(gray, axis=2))
    return _smooth(strength, 1 / 16)


def blurred(pixels: np.ndarray) -> np.ndarray:
    """Return images blurred by a Gaussian of 1/8 of the side, which removes what is in them."""
    return np.rint(_smooth(pixels.astype(np.float32), 1 / 8)).astype(np.uint8)


def _smooth(values: np.ndarray, share: float) -> np.ndarray:
    """Smooth rows and columns of [N, S, S, ...] by a Gaussian of a share of the side."""
    from scipy import ndimage

    width = share * values.shape[1]
    return ndimage.gaussian_filter(values, (0, width, width, 0)[: values.ndim])


REFERENCES = {"random maps": random_maps, "a centered blob": centered_blob, "edges": edges}


def check(explain: Explainer, predict: Predict, network: Any, pixels: np.ndarray) -> MethodChecks:
    """Check a method on images, on the class predicted for each.

    Args:
        explain: the method.
        predict: pixels to probabilities.
        network: the `keras.Model` that both use; None: its weights cannot be changed.
        pixels: uint8 [N, S, S, 3]; at least 2 images.
    """
    classes = predict(pixels).argmax(axis=1)
    # Not the color that a method itself covers with, which favors that method.
    fill = blurred(pixels)
    own = areas(predict, explain(pixels, classes), pixels, classes, fill)
    gains = [
        gain(name, own, areas(predict, make(pixels), pixels, classes, fill))
        for name, make in REFERENCES.items()
    ]
    few = pixels[:_RANDOMIZED]
    stages = None if network is None else randomized(explain, network, few, classes[:_RANDOMIZED])
    return MethodChecks(
        images=len(pixels),
        deletion=float(own[0].mean()),
        insertion=float(own[1].mean()),
        gains=gains,
        randomized=stages,
        randomized_images=0 if stages is None else len(few),
    )


def areas(
    predict: Predict, maps: Maps, pixels: np.ndarray, classes: np.ndarray, fill: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Compute the areas under the deletion and the insertion curve of each image.

    Petsiuk et al. 2018, arXiv 1806.07421. Deletion covers the pixels from the highest value of the
    map to the lowest, in 8 steps; insertion uncovers them in the same order. The curves are the
    probability of the class over the share of pixels; a good map has a small area under
    deletion and a large one under insertion. Equal values are in random order.

    Args:
        predict: pixels to probabilities.
        maps: [N, S, S].
        pixels: uint8 [N, S, S, 3].
        classes: int [N].
        fill: pixels that cover, uint8, broadcast to those of `pixels`.

    Returns:
        The areas under deletion and insertion, float64 [N] each, 0 to 1.
    """
    ranks = _ranks(maps)
    rows = np.arange(len(pixels))
    deletion, insertion = [], []
    for step in range(_STEPS + 1):
        first = (ranks < round(step / _STEPS * ranks[0].size))[..., None]
        deletion.append(predict(np.where(first, fill, pixels))[rows, classes])
        insertion.append(predict(np.where(first, pixels, fill))[rows, classes])
    return _area(deletion), _area(insertion)


def _area(curves: Sequence[np.ndarray]) -> np.ndarray:
    values = np.asarray(curves, np.float64)
    return (values[1:] + values[:-1]).sum(axis=0) / (2 * _STEPS)


def _ranks(maps: Maps) -> np.ndarray:
    """Return the rank of each pixel of a map, 0 for the highest, int [N, S, S]."""
    flat = maps.reshape(len(maps), -1)
    order = np.lexsort((np.random.default_rng(_SEED).random(flat.shape), -flat), axis=1)
    return np.argsort(order, axis=1).reshape(maps.shape)


def gain(
    over: str,
    own: tuple[np.ndarray, np.ndarray],
    reference: tuple[np.ndarray, np.ndarray],
) -> Gain:
    """Compare the areas of a method with those of a reference on the same images; see `areas`."""
    differences = reference[0] - own[0], own[1] - reference[1]
    (deletion, insertion) = ((x.mean(), statistics.bootstrap_mean(x)) for x in differences)
    return Gain(
        over=over,
        deletion=float(deletion[0]),
        deletion_interval=list(deletion[1]),
        insertion=float(insertion[0]),
        insertion_interval=list(insertion[1]),
    )


def randomized(
    explain: Explainer, network: Any, pixels: np.ndarray, classes: np.ndarray
) -> list[RandomizedWeights]:
    """Shuffle the weights of a network layer by layer, and correlate the maps with the first ones.

    Adebayo et al. 2018, arXiv 1810.03292: cascading from the output to the input. Each array of
    weights is shuffled within itself, which keeps the size of what the layers give. Afterwards the
    weights are as before.

    Args:
        explain: uses the network's current weights.
        network: a `keras.Model`.
        pixels: uint8 [N, S, S, 3].
        classes: explained, int [N].

    Returns:
        One value after each array of two dimensions or more, which are kernels.
    """
    before = network.get_weights()
    trained = explain(pixels, classes)
    found = []
    try:
        for variable in _shuffling(network.weights):
            maps = explain(pixels, classes)
            values = np.array([_correlation(*pair) for pair in zip(trained, maps, strict=True)])
            found.append(
                RandomizedWeights(
                    down_to=variable.path,
                    correlation=float(values.mean()),
                    interval=list(statistics.bootstrap_mean(values)),
                )
            )
    finally:
        network.set_weights(before)
    return found


def _shuffling(weights: Sequence[Any]) -> Iterator[Any]:
    """Shuffle arrays of weights from the last to the first, and yield each kernel.

    What comes before the first kernel is shuffled with it, so that all is when it is yielded.
    """
    random = np.random.default_rng(_SEED)
    first = next((i for i, one in enumerate(weights) if len(one.shape) > 1), 0)
    for variable in [*reversed(weights[first + 1 :]), *weights[: first + 1]]:
        values = variable.numpy()
        variable.assign(random.permutation(values.ravel()).reshape(values.shape))
        if values.ndim > 1:
            yield variable


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    from scipy import stats

    # Also NaN, which shuffled weights may give, has no range above 0.
    if not (np.ptp(first) > 0 and np.ptp(second) > 0):
        return 0.0
    return float(stats.spearmanr(first, second, axis=None).statistic)


def verdict(gains: Sequence[Gain], stages: Sequence[RandomizedWeights] | None) -> str:
    """Say what the intervals show, such as `not shown to be better than a centered blob`.

    A method is better than a reference if both intervals are above 0, worse if both are below.
    """
    words: dict[str, list[str]] = {}
    for one in gains:
        lows, highs = zip(one.deletion_interval, one.insertion_interval, strict=True)
        found = "better than" if min(lows) > 0 else "not shown to be better than"
        words.setdefault("worse than" if max(highs) < 0 else found, []).append(one.over)
    parts = [f"{word} {_listed(names)}" for word, names in words.items()]
    if stages and stages[-1].interval[0] > _MUCH:
        parts.append("hardly dependent on the weights")
    return "; ".join(parts)


def _listed(names: Sequence[str]) -> str:
    *rest, last = names
    return f"{', '.join(rest)} and {last}" if rest else last
