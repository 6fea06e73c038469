"""Build a `keras.Model` from the layer list of a config: raw pixels 0-255 in, logits out."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cifarnet import config as cfg
from cifarnet.backend import default_settings, keras, tf
from cifarnet.errors import ModelError
from cifarnet.models.initializers import Dirac, Whitening
from cifarnet.models.layer_classes import find_class, shortened, wrong_arguments

POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}

# Layers that are an activation; others have one as their argument `activation`.
ACTIVATION_LAYERS = (
    keras.layers.Activation,
    keras.layers.ELU,
    keras.layers.LeakyReLU,
    keras.layers.PReLU,
    keras.layers.ReLU,
    keras.layers.Softmax,
)

# Images whose inputs of a whitening are computed at once: few, so that they stay in the caches.
_BLOCK = 500


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

    Black, white and random images pass each layer once, which shows what its shapes do not.

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
        ModelError: a layer that is unknown, refused or does not fit, that computes another shape
            than Keras infers or values that are not finite, or an activation that ends the
            network; names its place.
    """
    policy = POLICIES[precision]
    inputs = keras.Input((size, size, 3), name="pixels")
    normalize = _normalization(config.normalize, mean, std, policy)
    start = _Output(normalize(inputs), normalize(_probes(size)))
    end = _Builder(inputs, policy, images).chain(start, config.layers, "model.layers")
    shape, expected = tuple(end.tensor.shape), (None, classes)
    if shape != expected:
        raise ModelError(
            f"model.layers: the last layer gives shape {shape}, expected "
            f"{expected}, one logit per class. End the list with `- Dense: {{units: {classes}}}`"
            f"{'' if len(shape) == 2 else ' after `- Flatten` or a global pooling'}."
        )
    if end.activation:
        raise ModelError(
            f"{end.activation} The network must end in logits: the loss contains the softmax."
        )
    return keras.Model(inputs, end.tensor)


def _probes(size: int) -> npt.NDArray[np.float32]:
    """Return a black, a white and a random image."""
    images = np.zeros((3, size, size, 3), np.float32)
    images[1] = 255
    images[2] = np.random.default_rng(0).integers(0, 256, images[2].shape)
    return images


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
class _Output:
    """The output of a layer.

    Attributes:
        tensor: symbolic, [B, ...].
        values: for the images of `_probes`.
        activation: says that the network so far ends in an activation, and how to remove it; empty
            if it does not.
    """

    tensor: keras.KerasTensor
    values: Any
    activation: str = ""


@dataclass(frozen=True)
class _Builder:
    """Apply layers of a list to symbolic tensors and to the images of `_probes`.

    Attributes:
        inputs: of the model.
        policy: dtype policy of the layers.
        images: see `build`.
    """

    inputs: keras.KerasTensor
    policy: str
    images: npt.NDArray[np.uint8] | None

    def chain(self, output: _Output, layers: Sequence[cfg.Layer], where: str) -> _Output:
        """Apply layers one after another; `where` is the list's place in the config."""
        for i, item in enumerate(layers):
            ((name, kwargs),) = item.items()
            apply = self._residual if name == "Residual" else functools.partial(self._layer, name)
            output = apply(output, kwargs, f"{where}[{i}] ({name})")
        return output

    def _residual(self, before: _Output, kwargs: dict[str, Any], place: str) -> _Output:
        """Add the outputs of `layers` and of `shortcut`, which is the identity by default.

        He et al. 2015, arXiv 1512.03385. Expanded into Keras' own layers, which every file format
        can hold. The sum ends in an activation if both branches do.
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
            branches.append(self.chain(before, items, f"{place}.{key}"))
        shapes = [branch.tensor.shape for branch in branches]
        if shapes[0] != shapes[1]:
            raise ModelError(
                f"{place}: `layers` gives shape {shapes[0]} and the shortcut "
                f"{shapes[1]}; they are added, so they must be equal. Give the shortcut a "
                "convolution with the same strides and filters."
            )
        add = keras.layers.Add(dtype=self.policy)
        tensor = add([branch.tensor for branch in branches])
        values = _computed(add, [branch.values for branch in branches], tensor, place)
        both = all(branch.activation for branch in branches)
        return _Output(tensor, values, branches[0].activation if both else "")

    def _layer(self, name: str, before: _Output, kwargs: dict[str, Any], place: str) -> _Output:
        layer_class = find_class(name, place)
        initializer = self._initializer(kwargs.get("kernel_initializer"), before.tensor)
        arguments = {"dtype": self.policy, **kwargs}
        if initializer is not None:
            arguments["kernel_initializer"] = initializer
        try:
            layer = layer_class(**arguments)
            tensor = layer(before.tensor)
        except Exception as error:  # Keras raises many kinds; each is the user's layer not fitting
            problem = wrong_arguments(layer_class, kwargs) or shortened(error)
            raise ModelError(f"{place}: {problem}") from error
        if tensor is before.tensor:  # as some of Keras' image layers do
            raise ModelError(f"{place}: Keras cannot have this layer inside a model; remove it")
        if initializer is not None:
            # The kernel is drawn; a saved model must not name an initializer that Keras lacks.
            layer.kernel_initializer = keras.initializers.Zeros()
        if isinstance(initializer, Whitening):
            layer.kernel.trainable = False
        values = _computed(layer, before.values, tensor, place)
        activation = _final_activation(layer, kwargs, place)
        if not activation and before.activation and _changes_nothing(layer, before.values):
            activation = before.activation
        return _Output(tensor, values, activation)

    def _initializer(self, name: object, tensor: keras.KerasTensor) -> Dirac | Whitening | None:
        """Return our initializer of this name for a layer that reads `tensor`, if there is one."""
        if name == "dirac":
            return Dirac()
        if name != "whitening":
            return None
        if self.images is None:
            return Whitening(None)
        before = keras.Model(self.inputs, tensor)
        starts = range(0, len(self.images), _BLOCK)
        parts = (before(self.images[i : i + _BLOCK].astype(np.float32)) for i in starts)
        return Whitening(np.concatenate([np.asarray(part, np.float32) for part in parts]))


def _computed(layer: keras.Layer, inputs: Any, tensor: keras.KerasTensor, place: str) -> Any:
    """Return what a layer computes from the outputs of the layer before for `_probes`.

    Args:
        layer: has been called on symbolic inputs.
        inputs: a tensor, or a list of them.
        tensor: what it gave for symbolic inputs.
        place: of the layer in the config.
    """
    if not hasattr(tensor, "shape"):
        raise ModelError(f"{place}: expected a layer of one output, this one gives several")
    try:
        try:
            values = layer(inputs)
        except tf.errors.UnimplementedError:
            # On a CPU, `data_format: channels_first` runs in TensorFlow's optimized graphs alone.
            values = tf.zeros((len(inputs), *tensor.shape[1:]), tensor.dtype)
        shape, finite = tuple(values.shape[1:]), np.isfinite(np.asarray(values, np.float32)).all()
    except Exception as error:  # as for a call on symbolic inputs
        raise ModelError(f"{place}: it fails on real images: {shortened(error)}") from error
    if shape != tuple(tensor.shape[1:]):
        raise ModelError(
            f"{place}: it gives shape {shape} for each image, where Keras infers "
            f"{tuple(tensor.shape[1:])} and would fail in training. Use another activation, other "
            "arguments or another layer."
        )
    # float16 is too narrow for some networks before their first update of statistics.
    if not finite and layer.compute_dtype != "float16":
        raise ModelError(
            f"{place}: it gives values that are not finite in {layer.compute_dtype} for black, "
            "white or random images. Use other arguments, another layer before it or `normalize: "
            "standard`."
        )
    return values


def _final_activation(layer: keras.Layer, kwargs: dict[str, Any], place: str) -> str:
    """Say how to remove the activation of a layer's outputs; empty if there is none."""
    activation = getattr(layer, "activation", None)
    if activation in (None, keras.activations.linear) and not (
        isinstance(layer, ACTIVATION_LAYERS) and activation is None
    ):
        return ""
    if isinstance(layer, ACTIVATION_LAYERS):
        return f"{place}: the network ends in this activation. Remove the layer."
    if isinstance(layer, keras.layers.RNN):
        return (
            f"{place}: the network ends in this layer's activation. "
            "Add a Dense layer without activation after it."
        )
    name = kwargs["activation"]
    stated = f"`activation: {name}`" if isinstance(name, str) else "`activation`"
    return f"{place}: the network ends in an activation. Remove {stated}."


def _changes_nothing(layer: keras.Layer, inputs: Any) -> bool:
    """Return whether a layer passes all values on, perhaps in another shape or order."""
    if layer.weights:
        return False
    # Small integers, which every precision holds exactly.
    before = np.random.default_rng(0).integers(-8, 8, inputs.shape).astype(np.float32)
    after = np.asarray(layer(before), np.float32)
    return np.array_equal(np.sort(before, axis=None), np.sort(after, axis=None))
