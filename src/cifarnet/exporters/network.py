"""The network as it is exported: float32, raw pixels in, probabilities out."""

from __future__ import annotations

import math
from typing import Any

from cifarnet.backend import keras, tf
from cifarnet.errors import ModelError

INPUT, OUTPUT = "pixels", "probabilities"


def build(model: keras.Model, portable: bool) -> keras.Model:
    """Copy a run's model, and append a softmax.

    Args:
        model: float32, of Keras' own layers, logits out.
        portable: replace layers whose operations other runtimes lack by equivalent layers of
            cifarnet. Without it the copy has Keras' own layers, and loads without cifarnet.

    Raises:
        ModelError: a layer computes in another precision, which the converters write wrongly.
    """
    for layer in model.layers:
        if layer.compute_dtype not in ("float32", None):
            raise ModelError(
                f"{layer.name}: expected a float32 network, received {layer.compute_dtype}; "
                "export the run, not the model in training"
            )
    copy = keras.models.clone_model(model, clone_function=_portable if portable else None)
    copy.set_weights(model.get_weights())
    outputs = keras.layers.Softmax(name=OUTPUT, dtype="float32")(copy.output)
    return keras.Model(copy.input, outputs)


def serving_function(model: keras.Model, batch_size: int | None) -> Any:
    """Return a `tf.function` of float32 pixels [N, S, S, 3] to `{"probabilities": [N, K]}`."""
    shape = [batch_size, *model.input_shape[1:]]

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32, name=INPUT)])
    def serve(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        return {OUTPUT: model(pixels, training=False)}

    return serve


def _portable(layer: keras.Layer) -> keras.Layer:
    if isinstance(layer, keras.layers.Conv2D) and getattr(layer, "groups", 1) > 1:
        return _GroupedConv2D.from_config(layer.get_config())
    if isinstance(layer, keras.layers.Flatten):
        return _Flatten.from_config(layer.get_config())
    return layer.__class__.from_config(layer.get_config())


class _Flatten(keras.layers.Flatten):
    """Flatten to a number of features that the graph holds as a constant.

    Keras' layer computes the shape from the batch, after which LiteRT cannot resize the batch.
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return tf.reshape(inputs, [-1, math.prod(inputs.shape[1:])])


class _GroupedConv2D(keras.layers.Conv2D):
    """Compute each group by a convolution of its own.

    On CPUs, Keras computes grouped convolutions in a function compiled by XLA, which no other
    format can hold.
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        parts = zip(
            tf.split(inputs, self.groups, axis=-1),
            tf.split(self.kernel.value, self.groups, axis=-1),
            strict=True,
        )
        outputs = tf.concat(
            [
                tf.nn.conv2d(
                    images, kernel, self.strides, self.padding.upper(), dilations=self.dilation_rate
                )
                for images, kernel in parts
            ],
            axis=-1,
        )
        if self.use_bias:
            outputs += self.bias.value
        return self.activation(outputs)
