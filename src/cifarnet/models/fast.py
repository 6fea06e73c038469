"""A stock Keras model rewritten for training speed: same weights, same numbers."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from cifarnet.backend import keras
from cifarnet.models import layers

_FAST_CLASSES: dict[type[keras.Layer], type[keras.Layer]] = {
    keras.layers.BatchNormalization: layers.BatchNormalization,
    keras.layers.Conv2D: layers.Conv2D,
    keras.layers.MaxPooling2D: layers.MaxPooling2D,
}
_POOLINGS = (keras.layers.MaxPooling2D, keras.layers.AveragePooling2D)
# Layers whose outputs are those of their `activation`; recurrent layers use it elsewhere.
_ENDS_IN_ACTIVATION = (
    keras.layers.Activation,
    keras.layers.Conv2D,
    keras.layers.Conv2DTranspose,
    keras.layers.Dense,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv2D,
)


def rewrite(model: keras.Model) -> keras.Model:
    """Return a copy of a stock model that computes the same numbers faster while training.

    Each layer is replaced by one that corresponds to it, so that the order of the variables is the
    same: batch normalization, gelu and silu by fused ones, convolutions by those of
    `layers.Conv2D`, which skip what a following pooling does not read. A ReLU before a max-pooling
    moves behind it, where the map is smaller.

    Args:
        model: a functional model that calls each layer once, as `models.build` returns it.

    Returns:
        A model with the values of all variables of `model`, seeds of random layers included. No
        variable is shared. It is not for saving: its layers are not Keras'.
    """
    changes = _changes_around_poolings(model)

    def replacement(layer: keras.Layer) -> keras.Layer:
        # SpatialDropout2D's own config loses the compute dtype.
        config = {**layer.get_config(), "dtype": layer.dtype_policy}
        if str(config.get("activation")) in layers.ACTIVATIONS:
            config["activation"] = layers.ACTIVATIONS[config["activation"]]
        config.update(changes[layer.name])
        kind = type(layer)
        return _FAST_CLASSES.get(kind, kind).from_config(config)

    rewritten = keras.models.clone_model(model, clone_function=replacement)
    for source, target in zip(model.variables, rewritten.variables, strict=True):
        target.assign(source.value)
        target.trainable = source.trainable
    return rewritten


def _changes_around_poolings(model: keras.Model) -> dict[str, dict[str, Any]]:
    """Return the arguments to change of layers before poolings and of these, by layer name."""
    changes: dict[str, dict[str, Any]] = defaultdict(dict)
    for layer, pooling in _pooled_layers(model):
        if layer.activity_regularizer is not None:  # which reads all outputs, activated
            continue
        if type(layer) is keras.layers.Conv2D and pooling.padding == "valid":
            changes[layer.name]["pooling"] = (pooling.pool_size, pooling.strides)
        if type(pooling) is keras.layers.MaxPooling2D and _ends_in_relu(layer):
            # The maximum of ReLUs is the ReLU of the maximum, and so are the gradients.
            changes[layer.name]["activation"] = "linear"
            changes[pooling.name]["activation"] = "relu"
    return changes


def _pooled_layers(model: keras.Model) -> list[tuple[keras.Layer, keras.Layer]]:
    """Return each layer whose outputs only a pooling reads, with that pooling."""
    readers: dict[int, list[keras.Layer]] = defaultdict(list)
    for reader in model.layers:
        for tensor in keras.tree.flatten(reader.input):
            readers[id(tensor)].append(reader)
    for tensor in keras.tree.flatten(model.output):
        readers[id(tensor)].append(model)
    found = []
    for layer in model.layers:
        match readers.get(id(layer.output)):
            case [reader] if type(reader) in _POOLINGS:
                found.append((layer, reader))
    return found


def _ends_in_relu(layer: keras.Layer) -> bool:
    return isinstance(layer, _ENDS_IN_ACTIVATION) and layer.activation is keras.activations.relu
