"""A network for images of another size than its own, with the same layers and weights."""

from __future__ import annotations

from collections.abc import Iterable

from cifarnet.backend import keras
from cifarnet.config import ModelConfig
from cifarnet.errors import ModelError
from cifarnet.models.builder import build

_GRAY = (128.0, 128.0, 128.0)


def check_sizes(
    config: ModelConfig, size: int, classes: int, others: Iterable[int]
) -> dict[int, keras.Model]:
    """Build the network of a config for images of some sizes, and compare its weights.

    Args:
        config: normalization and layers.
        size: side of the images it is for, pixels.
        classes: number of logits.
        others: other sides.

    Returns:
        The networks by size, in float32. None of them shares weights with another.

    Raises:
        ModelError: a layer does not fit images of a size, or its weights depend on it.
    """
    found = {}
    for side in dict.fromkeys([size, *others]):
        try:
            found[side] = build(config, side, classes, _GRAY, _GRAY)
        except ModelError as error:
            raise ModelError(f"for images of {side} x {side} pixels, {error}") from error
        _compare(found[size], found[side], size, side)
    return found


def _compare(whole: keras.Model, other: keras.Model, size: int, side: int) -> None:
    """Check that the weights of two networks have equal shapes."""
    for i, (ours, theirs) in enumerate(zip(whole.layers, other.layers, strict=True)):
        shapes = [[tuple(w.shape) for w in layer.weights] for layer in (ours, theirs)]
        if shapes[0] != shapes[1]:
            before = whole.layers[i - 1]
            raise ModelError(
                f"the weights of the layer {ours.name} ({type(ours).__name__}), after "
                f"{before.name} ({type(before).__name__}), have shapes {shapes[0]} for images of "
                f"{size} x {size} pixels and {shapes[1]} for {side} x {side}. Replace Flatten "
                "by GlobalMaxPooling2D or GlobalAveragePooling2D, which take maps of any size"
            )


def at_size(model: keras.Model, size: int) -> keras.Model:
    """Return a network of the layers, and so the weights, of `model` for images of another size."""
    inputs = keras.Input((size, size, 3), name="pixels")
    return keras.models.clone_model(model, input_tensors=inputs, clone_function=lambda x: x)
