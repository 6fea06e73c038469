"""Networks of Keras files as functions that TensorFlow differentiates: raw pixels to logits.

`Predictor` takes whole pixels and returns NumPy arrays. Attacks and explanations need gradients
with respect to the pixels, or to what a layer gives; a foreign file's preprocessing is included.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from cifarnet.backend import default_settings, keras, tf
from cifarnet.errors import ArtifactError
from cifarnet.predictors.base import Predictor

# Probabilities are raised to this before their logarithm, which would be infinite; the gradient
# below it is 0. The smallest normal float32 is 1.2e-38.
_SMALLEST = 1e-37


class Differentiable:
    """A Keras network with its preprocessing, differentiable.

    Attributes:
        network: the `keras.Model` as loaded. Its weights may be changed; later calls use them.
        size: side of the images, pixels.
        classes: number of classes, at least 2.
    """

    def __init__(self, predictor: Predictor, order: Sequence[int] | None = None) -> None:
        """Take the network of a loaded Keras file.

        Args:
            predictor: of the file, from `predictors.load`; of a network in memory, from
                `keras_file.from_model`.
            order: the column of each class in the outputs, as `artifacts.class_order` finds it;
                None: the network's own order.

        Raises:
            ArtifactError: the file is not a Keras file.
        """
        if predictor.network is None:
            raise ArtifactError(
                f"gradients need a Keras file, received one that {predictor.runtime} runs. Give "
                "the run, or its model.keras"
            )
        self.network: keras.Model = predictor.network
        self.size, self.classes = predictor.size, predictor.classes
        self._inputs, self._kind = predictor.inputs, predictor.output_kind
        self._fixed_batch = predictor.fixed_batch
        self._order = list(range(predictor.classes)) if order is None else list(order)
        shape = (None, self.size, self.size, 3)
        self._function = tf.function(
            self._logits, input_signature=[tf.TensorSpec(shape, tf.float32)]
        )

    def logits(self, pixels: tf.Tensor) -> tf.Tensor:
        """Return logits of pixels, to be called within a `tf.GradientTape` or a `tf.function`.

        The softmax of logits are the predicted probabilities, except that independent sigmoids are
        divided by their sum. Of a network that gives probabilities they are the logarithms, with
        probabilities below 1e-37 raised to that; one column x is of the second of two classes, and
        gives (0, x) as logits.

        Args:
            pixels: float32 [N, size, size, 3], RGB, 0-255; need not be whole numbers.

        Returns:
            float32 [N, classes].
        """
        return self._function(pixels)

    def pixel_gradients(self, pixels: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Compute the gradient of one logit per image with respect to the pixels.

        Args:
            pixels: [N, size, size, 3], any numeric dtype, 0-255.
            labels: integers [N], whose logit it is.

        Returns:
            float32 [N, size, size, 3], logit per level of 255.
        """
        values = tf.constant(pixels, tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(values)
            chosen = tf.gather(self.logits(values), tf.constant(labels, tf.int32), batch_dims=1)
        return np.asarray(tape.gradient(chosen, values))

    def convolutions(self) -> list[keras.Layer]:
        """Return the network's two-dimensional convolutions in their order, of any depth."""
        return [layer for layer in _leaves(self.network) if isinstance(layer, _CONVOLUTIONS)]

    def layer_gradients(
        self, layer: keras.Layer, pixels: np.ndarray, labels: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Compute what a layer gives, and the gradient of one logit per image with respect to it.

        Layers of functional, sequential and nested networks all work: the layer's tensor is taken
        while the whole network computes, not from a second `keras.Model`, which for a loaded
        `Sequential` computes the layer apart from the logits and has no gradient between them.

        Args:
            layer: of `network`, such as one of `convolutions()`.
            pixels: [N, size, size, 3], any numeric dtype, 0-255.
            labels: integers [N], whose logit it is.

        Returns:
            Activations and gradients, float32, each of the layer's output shape, such as
            [N, H, W, C].

        Raises:
            ArtifactError: the network does not call the layer, or the logits do not depend on it.
        """
        size = self._fixed_batch or len(pixels)
        starts = range(0, len(pixels), size)
        parts = [self._tapped(layer, pixels[i : i + size], labels[i : i + size]) for i in starts]
        activations, gradients = (np.concatenate(part) for part in zip(*parts, strict=True))
        return activations, gradients

    def _tapped(
        self, layer: keras.Layer, pixels: np.ndarray, labels: np.ndarray
    ) -> tuple[np.ndarray, ...]:
        """Return activations and gradients of images that the network takes in one call."""
        values, columns = tf.constant(pixels, tf.float32), tf.constant(labels, tf.int32)
        found: list[tf.Tensor] = []
        with tf.GradientTape() as tape, _recording(layer, found):
            tape.watch(values)
            chosen = tf.gather(self._logits(values), columns, batch_dims=1)
        gradients = tape.gradient(chosen, found[-1]) if found else None
        if gradients is None:
            raise ArtifactError(f"the network's outputs do not depend on its layer {layer.name}")
        both = (found[-1], gradients)
        return tuple(np.asarray(tf.cast(one, tf.float32))[: len(pixels)] for one in both)

    def _logits(self, pixels: tf.Tensor) -> tf.Tensor:
        values = self._inputs.values(pixels)
        if self._inputs.layout == "nchw":
            values = tf.transpose(values, [0, 3, 1, 2])
        with default_settings():  # while it is traced
            rows = self._rows(values)
        if self._kind == "probabilities":
            if rows.shape[1] == 1:
                rows = tf.concat([1 - rows, rows], axis=1)
            rows = tf.math.log(tf.maximum(rows, _SMALLEST))
        elif rows.shape[1] == 1:
            rows = tf.concat([tf.zeros_like(rows), rows], axis=1)
        return tf.gather(rows, self._order, axis=1)

    def _rows(self, values: tf.Tensor) -> tf.Tensor:
        """Return the network's outputs, float32 [N, K]."""
        count, size = tf.shape(values)[0], self._fixed_batch
        if size is None:
            rows = self.network(values, training=False)
        else:
            missing = -count % size
            filled = tf.pad(values, [[0, missing], [0, 0], [0, 0], [0, 0]])
            batches = tf.reshape(filled, [-1, size, *values.shape[1:]])
            rows = tf.map_fn(lambda batch: self.network(batch, training=False), batches)
        columns = 1 if self._is_one_column(rows) else self.classes
        return tf.reshape(tf.cast(rows, tf.float32), [-1, columns])[:count]

    def _is_one_column(self, rows: tf.Tensor) -> bool:
        batch_dimensions = 1 if self._fixed_batch is None else 2
        return bool(np.prod(rows.shape[batch_dimensions:]) == 1)


_CONVOLUTIONS = (
    keras.layers.Conv2D,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv2D,
)


def _leaves(layer: keras.Layer) -> Iterator[keras.Layer]:
    """Yield the layers of a network and of the networks inside it, in their order."""
    inner = getattr(layer, "layers", None)
    if not inner:
        yield layer
        return
    for one in inner:
        yield from _leaves(one)


@contextmanager
def _recording(layer: keras.Layer, found: list[Any]) -> Iterator[None]:
    """Append to `found` what a layer gives each time that it is called."""
    original = layer.call

    def call(*args: Any, **kwargs: Any) -> Any:
        found.append(original(*args, **kwargs))
        return found[-1]

    layer.call = call
    try:
        yield
    finally:
        del layer.call
