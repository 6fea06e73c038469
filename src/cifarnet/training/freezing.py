"""Layers that are trained for some epochs only."""

from __future__ import annotations

from cifarnet.backend import keras
from cifarnet.config import Config
from cifarnet.errors import ConfigError


def freezes(config: Config, model: keras.Model) -> list[tuple[keras.Layer, int]]:
    """Return the layers of `train.freeze`, each with the epochs it is trained for.

    Raises:
        ConfigError: the network has no layer of a name.
    """
    layers = {layer.name: layer for layer in model.layers}
    for name in config.train.freeze:
        if name not in layers:
            raise ConfigError(
                f"train.freeze: expected the name of a layer, received {name!r}; name it in "
                f"the list, as in `- Conv2D: {{name: {name}, ...}}`"
            )
    return [(layers[name], epochs) for name, epochs in config.train.freeze.items()]
