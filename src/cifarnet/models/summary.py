"""Layers, parameters and multiply-accumulates of a network."""

from __future__ import annotations

import math
from dataclasses import dataclass

from cifarnet import data
from cifarnet.backend import keras
from cifarnet.config import Config
from cifarnet.models import layers
from cifarnet.models.sizes import check_sizes


@dataclass(frozen=True)
class LayerSummary:
    """One layer of a network.

    Attributes:
        name: of the layer.
        type: class name.
        shape: of the output, without the batch.
        parameters: number of weights, trainable or not.
        macs: multiply-accumulates per image; only convolutions and dense layers are counted, as is
            usual.
    """

    name: str
    type: str
    shape: tuple[int, ...]
    parameters: int
    macs: int


def summary(model: keras.Model) -> list[LayerSummary]:
    """Summarize the layers of a model, in order; of a rewritten one as they will be saved."""
    return [
        LayerSummary(
            name=layer.name,
            type=type(layer).__name__,
            shape=tuple(layer.output.shape[1:]),
            parameters=0 if layer.name == "normalize" else layer.count_params(),
            macs=_macs(layer),
        )
        for layer in model.layers
    ]


def total_macs(model: keras.Model) -> int:
    """Return the multiply-accumulates of a model for one image."""
    return sum(_macs(layer) for layer in model.layers)


def _macs(layer: keras.Layer) -> int:
    """Return the multiply-accumulates of one image: kernel size x positions it is applied at."""
    channels_first = getattr(layer, "data_format", None) == "channels_first"
    places = slice(2, None) if channels_first else slice(1, -1)
    positions = math.prod(layer.output.shape[places])
    if isinstance(layer, layers.Conv2D):  # Keras' own layer computes all outputs
        whole = keras.layers.Conv2D.compute_output_shape(layer, layer.input.shape)
        positions = math.prod(whole[places])
    if isinstance(layer, keras.layers.SeparableConv2D):
        return positions * sum(
            math.prod(w.shape) for w in (layer.depthwise_kernel, layer.pointwise_kernel)
        )
    if isinstance(layer, keras.layers.Conv2DTranspose):
        positions = math.prod(layer.input.shape[places])
    kernel = getattr(layer, "kernel", None)
    return positions * math.prod(kernel.shape) if kernel is not None else 0


def summarize(config: Config) -> list[LayerSummary]:
    """Build the network of a config, without its data, and summarize its layers.

    Raises:
        ModelError, ConfigError: as for `check_sizes`.
    """
    classes = len(data.class_names(config.data))
    return summary(check_sizes(config, classes)[config.data.image_size])
