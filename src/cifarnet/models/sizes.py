"""A network for images of another size than its own, with the same layers and weights."""

from __future__ import annotations

from cifarnet.backend import keras
from cifarnet.config import Config
from cifarnet.errors import ConfigError, ModelError
from cifarnet.models.builder import build

_GRAY = (128.0, 128.0, 128.0)


def check_sizes(config: Config, classes: int) -> dict[int, keras.Model]:
    """Build the network of a config for each size of its images, and compare its weights.

    Args:
        config: its `train.resolution` has the sizes, beside that of its images.
        classes: number of logits.

    Returns:
        The networks by size, in float32. None of them shares weights with another.

    Raises:
        ModelError: a layer that is unknown, refused or does not fit.
        ConfigError: a layer does not fit images of a smaller size, or its weights depend on it.
    """
    size = config.data.image_size
    found = {size: build(config.model, size, classes, _GRAY, _GRAY)}
    for side in (stage.size for stage in config.train.resolution):
        try:
            found[side] = build(config.model, side, classes, _GRAY, _GRAY)
            _compare(found[size], found[side], size, side)
        except ModelError as error:
            raise ConfigError(
                f"train.resolution: for images of {side} x {side} pixels, {error}"
            ) from error
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
                f"{size} x {size} pixels and {shapes[1]} for {side} x {side}. Use layers whose "
                "weights do not depend on the size of the map, such as GlobalMaxPooling2D or "
                "GlobalAveragePooling2D instead of Flatten"
            )


def at_size(model: keras.Model, size: int) -> keras.Model:
    """Return a network of the layers, and so the weights, of `model` for images of another size."""
    inputs = keras.Input((size, size, 3), name="pixels")
    return keras.models.clone_model(model, input_tensors=inputs, clone_function=lambda x: x)
