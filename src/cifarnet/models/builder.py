"""Build a `keras.Model` from the layer list of a config: raw pixels 0-255 in, logits out."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cifarnet import config as cfg
from cifarnet import runs
from cifarnet.backend import default_settings, keras
from cifarnet.errors import ModelError
from cifarnet.models.initializers import Dirac, Whitening

POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}

_RUNS_CODE = {"Lambda", "TFSMLayer", "TorchModuleWrapper", "FlaxLayer", "JaxLayer", "Wrapper"}
_NOT_IN_LISTS = {"Input", "InputLayer", "Layer"}


@default_settings()
def build(
    config: cfg.ModelConfig,
    size: int,
    classes: int,
    mean: Sequence[float],
    std: Sequence[float],
    precision: str = "float32",
    images: npt.NDArray[np.uint8] | None = None,
) -> keras.Model:
    """Build the network of a config from Keras' own layers.

    Args:
        config: normalization and layers.
        size: side of the input images, pixels.
        classes: number of logits.
        mean: channel means of the training images, 0-255, [3], for `normalize: standard`.
        std: their standard deviations, 0-255, [3].
        precision: of the arithmetic: float32, bfloat16 or float16. Weights are float32.
        images: training images, uint8 [N, size, size, 3], from which the kernels with
            `kernel_initializer: whitening` are computed; some thousand are enough. None: these
            kernels are zero.

    Returns:
        A functional model of float [B, size, size, 3] pixels, RGB, 0-255, to [B, classes] logits.
        Its initial weights depend on Keras' global seed. Whitening kernels are not trainable.

    Raises:
        ModelError: a layer that is unknown, refused or does not fit; names its place.
    """
    policy = POLICIES[precision]
    inputs = keras.Input((size, size, 3), name="pixels")
    outputs = _normalization(config.normalize, mean, std, policy)(inputs)
    outputs = _Builder(inputs, policy, images).chain(outputs, config.layers, "model.layers")
    expected = (None, classes)
    if tuple(outputs.shape) != expected:
        raise ModelError(
            f"model.layers: the last layer gives shape {tuple(outputs.shape)}, expected "
            f"{expected}, one logit per class. End the list with `- Dense: {{units: {classes}}}`"
            f"{'' if len(outputs.shape) == 2 else ' after `- Flatten` or a global pooling'}."
        )
    return keras.Model(inputs, outputs)


def _normalization(
    kind: str, mean: Sequence[float], std: Sequence[float], policy: str
) -> keras.Layer:
    if kind == "unit":
        return keras.layers.Rescaling(1 / 255, name="normalize", dtype=policy)
    if kind == "standard":
        return keras.layers.Normalization(
            mean=list(mean), variance=[d * d for d in std], name="normalize", dtype=policy
        )
    return keras.layers.Identity(name="normalize", dtype=policy)


@dataclass(frozen=True)
class _Builder:
    """Apply layers of a list to symbolic tensors.

    Attributes:
        inputs: of the model.
        policy: dtype policy of the layers.
        images: see `build`.
    """

    inputs: keras.KerasTensor
    policy: str
    images: npt.NDArray[np.uint8] | None

    def chain(
        self, tensor: keras.KerasTensor, layers: Sequence[cfg.Layer], where: str
    ) -> keras.KerasTensor:
        """Apply layers one after another; `where` is the list's place in the config."""
        for i, item in enumerate(layers):
            ((name, kwargs),) = item.items()
            apply = self._residual if name == "Residual" else functools.partial(self._layer, name)
            tensor = apply(tensor, kwargs, f"{where}[{i}] ({name})")
        return tensor

    def _residual(
        self, tensor: keras.KerasTensor, kwargs: dict[str, Any], place: str
    ) -> keras.KerasTensor:
        """Add the outputs of `layers` and of `shortcut`, which is the identity by default.

        He et al. 2015, arXiv 1512.03385. Expanded into Keras' own layers, which every file format
        can hold.
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
            branches.append(self.chain(tensor, items, f"{place}.{key}"))
        if branches[0].shape != branches[1].shape:
            raise ModelError(
                f"{place}: `layers` gives shape {branches[0].shape} and the shortcut "
                f"{branches[1].shape}; they are added, so they must be equal. Give the shortcut a "
                "convolution with the same strides and filters."
            )
        return keras.layers.Add(dtype=self.policy)(branches)

    def _layer(
        self, name: str, tensor: keras.KerasTensor, kwargs: dict[str, Any], place: str
    ) -> keras.KerasTensor:
        layer_class = _layer_class(name, place)
        initializer = self._initializer(kwargs.get("kernel_initializer"), tensor)
        if initializer is not None:
            kwargs = {**kwargs, "kernel_initializer": initializer}
        try:
            layer = layer_class(**{"dtype": self.policy, **kwargs})
            outputs = layer(tensor)
        except Exception as error:  # Keras raises many kinds; each is the user's layer not fitting
            raise ModelError(f"{place}: {_shortened(error)}") from error
        if initializer is not None:
            # The kernel is drawn; a saved model must not name an initializer that Keras lacks.
            layer.kernel_initializer = keras.initializers.Zeros()
        if isinstance(initializer, Whitening):
            layer.kernel.trainable = False
        return outputs

    def _initializer(self, name: object, tensor: keras.KerasTensor) -> Dirac | Whitening | None:
        """Return our initializer of this name for a layer that reads `tensor`, if there is one."""
        if name == "dirac":
            return Dirac()
        if name != "whitening":
            return None
        if self.images is None:
            return Whitening(None)
        before = keras.Model(self.inputs, tensor)
        return Whitening(np.asarray(before(self.images.astype(np.float32)), np.float32))


def _layer_class(name: str, place: str) -> type[keras.Layer]:
    if name in _RUNS_CODE or name in _NOT_IN_LISTS:
        raise ModelError(f"{place}: this layer is not allowed in a config; use a plain Keras layer")
    if name.startswith("Random") or name in {"AutoContrast", "AugMix", "CutMix", "MixUp"}:
        raise ModelError(f"{place}: augmentation belongs into `data.augment`, not into the model")
    found = getattr(keras.layers, name, None)
    if not (inspect.isclass(found) and issubclass(found, keras.Layer)):
        near = difflib.get_close_matches(name, ["Residual", *dir(keras.layers)], n=3, cutoff=0.5)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise ModelError(f"{place}: expected the name of a Keras layer class{hint}")
    return found


def _shortened(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else text[:297] + "..."


def save(model: keras.Model, path: Path) -> None:
    """Write a `.keras` file atomically.

    Raises:
        RunError: it cannot be written.
    """
    with runs.beside(path) as temporary:
        model.save(temporary)
