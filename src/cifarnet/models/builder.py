"""A layer list from the config -> a `keras.Model`: raw pixels 0-255 in, logits out."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cifarnet import config as cfg
from cifarnet import runs
from cifarnet.backend import keras
from cifarnet.errors import ModelError
from cifarnet.models import layers as own_layers

POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}

_RUNS_CODE = {"Lambda", "TFSMLayer", "TorchModuleWrapper", "FlaxLayer", "JaxLayer", "Wrapper"}
_NOT_IN_LISTS = {"Input", "InputLayer", "Layer"}


def build(
    config: cfg.ModelConfig,
    size: int,
    classes: int,
    mean: Sequence[float],
    std: Sequence[float],
    precision: str = "float32",
    plain: bool = False,
) -> keras.Model:
    """Build the network of a config.

    Args:
        config: normalisation and layers.
        size: side of the input images, pixels.
        classes: number of logits the last layer must give.
        mean: channel means of the training images, 0-255, [3], for `normalize: standard`.
        std: their standard stds, 0-255, [3].
        precision: of the arithmetic: float32, bfloat16 or float16. Weights are float32.
        plain: use Keras' own layers only, in the order of the list, for a model to be shown, saved
            or exported; else what trains fastest, with the same weights and numbers.

    Returns:
        A model of float [B, size, size, 3] pixels, RGB, 0-255, to [B, classes] logits, its
        weights drawn anew from Keras' global seed.

    Raises:
        ModelError: a layer that is unknown, refused or does not fit; names its place.
    """
    policy = POLICIES[precision]
    inputs = keras.Input((size, size, 3), name="pixels")
    outputs = _normalize(config.normalize, mean, std, policy)(inputs)
    outputs = _chain(outputs, config.layers, "model.layers", policy, plain)
    expected = (None, classes)
    if tuple(outputs.shape) != expected:
        raise ModelError(
            f"model.layers: the last layer gives shape {tuple(outputs.shape)}, expected "
            f"{expected}, one logit a class. End the list with `- Dense: {{units: {classes}}}`"
            f"{'' if len(outputs.shape) == 2 else ' after `- Flatten` or a global pooling'}."
        )
    return keras.Model(inputs, outputs)


def _normalize(kind: str, mean: Sequence[float], std: Sequence[float], policy: str) -> keras.Layer:
    if kind == "unit":
        return keras.layers.Rescaling(1 / 255, name="normalize", dtype=policy)
    if kind == "standard":
        return keras.layers.Normalization(
            mean=list(mean), variance=[d * d for d in std], name="normalize", dtype=policy
        )
    return keras.layers.Identity(name="normalize", dtype=policy)


def _chain(tensor: Any, layers: Sequence[cfg.Layer], where: str, policy: str, plain: bool) -> Any:
    relu_is_due = False
    for i, layer in enumerate(layers):
        ((name, kwargs),) = layer.items()
        place = f"{where}[{i}] ({name})"
        if name == "Residual":
            tensor = _residual(tensor, kwargs, place, policy, plain)
            continue
        # A maximum of ReLUs is the ReLU of the maximum, and their gradients are the same, but a
        # pooled map has fewer numbers: a step of the article's network is 6 to 9 % faster.
        following = layers[i + 1] if i + 1 < len(layers) else {}
        if not plain and "MaxPooling2D" in following and _ends_in_relu(kwargs):
            kwargs, relu_is_due = {**kwargs, "activation": "linear"}, True
        if not plain and name == "Conv2D":
            kwargs = _before_pooling(kwargs, following, place)
        tensor = _apply(tensor, name, kwargs, place, policy, plain)
        if relu_is_due and name == "MaxPooling2D":
            tensor, relu_is_due = keras.layers.ReLU(dtype=policy)(tensor), False
    return tensor


def _ends_in_relu(kwargs: dict[str, Any]) -> bool:
    return kwargs.get("activation") == "relu" and not _is_looked_at(kwargs)


def _is_looked_at(kwargs: dict[str, Any]) -> bool:
    """Whether a regulariser wants all outputs, activated."""
    return "activity_regularizer" in kwargs


def _before_pooling(kwargs: dict[str, Any], following: cfg.Layer, place: str) -> dict[str, Any]:
    """A convolution's arguments, with those of a pooling without padding that follows."""
    if "pooling" in kwargs:  # an argument of ours that no saved model could have
        raise ModelError(f"{place}: Conv2D has no argument `pooling`; remove it")
    name = next(iter(following), None)
    if name not in {"MaxPooling2D", "AveragePooling2D"} or _is_looked_at(kwargs):
        return kwargs
    try:
        pooling = getattr(keras.layers, name)(**following[name])
    except Exception:  # told when the layer itself is built
        return kwargs
    if pooling.padding != "valid":
        return kwargs
    return {**kwargs, "pooling": (pooling.pool_size, pooling.strides)}


def _residual(tensor: Any, kwargs: dict[str, Any], place: str, policy: str, plain: bool) -> Any:
    """`layers` plus `shortcut` (default: the input itself), added.

    He et al. 2015, arXiv 1512.03385. Expanded into plain layers, so any file format holds it.
    """
    if "layers" not in kwargs or set(kwargs) - {"layers", "shortcut"}:
        raise ModelError(
            f"{place}: expected `layers: [...]` and perhaps `shortcut: [...]`, "
            f"received the keys {sorted(kwargs)}"
        )
    branches = []
    for key in ("layers", "shortcut"):
        try:
            items = cfg.normalize_layers(kwargs.get(key, []))
        except ValueError as error:
            raise ModelError(f"{place}.{key}: {error}") from error
        branches.append(_chain(tensor, items, f"{place}.{key}", policy, plain))
    if branches[0].shape != branches[1].shape:
        raise ModelError(
            f"{place}: `layers` gives shape {branches[0].shape} and the shortcut "
            f"{branches[1].shape}; they are added, so they must be equal. Give the shortcut a "
            "convolution with the same strides and filters."
        )
    return keras.layers.Add(dtype=policy)(branches)


def _apply(
    tensor: Any, name: str, kwargs: dict[str, Any], place: str, policy: str, plain: bool
) -> Any:
    layer_class = _layer_class(name, place, plain)
    initializer = own_layers.INITIALIZERS.get(str(kwargs.get("kernel_initializer")))
    if initializer is not None:  # a plain model's weights are set afterwards
        kwargs = {**kwargs, "kernel_initializer": "zeros" if plain else initializer()}
    activation = own_layers.ACTIVATIONS.get(str(kwargs.get("activation")))
    if activation is not None and not plain:
        kwargs = {**kwargs, "activation": activation}
    try:
        return layer_class(**{"dtype": policy, **kwargs})(tensor)
    except Exception as error:  # Keras raises many kinds; each is the user's layer not fitting
        raise ModelError(f"{place}: {_first_sentences(error)}") from error


def _layer_class(name: str, place: str, plain: bool) -> type[keras.Layer]:
    if name in _RUNS_CODE or name in _NOT_IN_LISTS:
        raise ModelError(f"{place}: this layer is not allowed in a config; use a plain Keras layer")
    if name.startswith("Random") or name in {"AutoContrast", "AugMix", "CutMix", "MixUp"}:
        raise ModelError(f"{place}: augmentation belongs into `data.augment`, not into the model")
    found = None if plain else getattr(own_layers, name, None)
    found = found or getattr(keras.layers, name, None)
    if not (inspect.isclass(found) and issubclass(found, keras.Layer)):
        near = difflib.get_close_matches(name, ["Residual", *dir(keras.layers)], n=3, cutoff=0.5)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise ModelError(f"{place}: expected the name of a Keras layer class{hint}")
    return found


def _first_sentences(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else text[:297] + "..."


def whiten(model: keras.Model, images: np.ndarray) -> None:
    """Compute the kernels that the config gives `kernel_initializer: whitening`, and fix them.

    Args:
        model: a model not yet trained.
        images: uint8 [N, S, S, 3]; some thousand training images are enough.

    Raises:
        ModelError: a layer with another number of filters than whitening gives.
    """
    for layer in model.layers:
        if not isinstance(getattr(layer, "kernel_initializer", None), own_layers.Whitening):
            continue
        before = keras.Model(model.input, layer.input)
        inputs = np.asarray(before(images.astype(np.float32)), np.float32)
        kernel = own_layers.whitening_kernel(inputs, layer.kernel_size[0])
        if kernel.shape != tuple(layer.kernel.shape):
            raise ModelError(
                f"{layer.name}: whitening a {layer.kernel_size[0]} x {layer.kernel_size[0]} kernel "
                f"gives {kernel.shape[-1]} filters, received filters: {layer.filters}"
            )
        layer.kernel.assign(kernel)
        layer.kernel.trainable = False


def save(model: keras.Model, path: Path) -> None:
    """Write a `.keras` file atomically.

    Raises:
        RunError: it cannot be written.
    """
    with runs.beside(path) as temporary:
        model.save(temporary)
