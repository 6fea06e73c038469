"""The network as it is exported: float32, raw pixels in, probabilities out."""

from __future__ import annotations

import math
from typing import Any

from cifarnet.backend import keras, tf
from cifarnet.errors import ModelError

INPUT, OUTPUT = "pixels", "probabilities"


def build(model: keras.Model, portable: bool) -> keras.Model:
    """A copy of a run's model with softmax at its end.

    Args:
        model: float32, of Keras' own layers, logits out.
        portable: in operations that every other runtime has, by layers of ours; else, for a
            file that Keras loads without cifarnet, of Keras' own layers.

    Raises:
        ModelError: a layer in another precision, which no format would hold rightly.
    """
    for layer in model.layers:
        if layer.compute_dtype not in ("float32", None):
            raise ModelError(
                f"{layer.name}: expected a float32 network, received {layer.compute_dtype}; "
                "export the run it comes from, not the model in training"
            )
    copy = keras.models.clone_model(model, clone_function=_portable if portable else None)
    copy.set_weights(model.get_weights())
    outputs = keras.layers.Softmax(name=OUTPUT, dtype="float32")(copy.output)
    return keras.Model(copy.input, outputs)


def endpoint(model: keras.Model, batch: int | None) -> Any:
    """A traced function of float32 pixels [batch, S, S, 3] to `{"probabilities": [batch, K]}`."""
    shape = [batch, *model.input_shape[1:]]

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
    """With the number of features written down.

    Keras' own computes a shape from the batch, after which LiteRT cannot change the batch.
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return tf.reshape(inputs, [-1, math.prod(inputs.shape[1:])])


class _GroupedConv2D(keras.layers.Conv2D):
    """Groups as convolutions side by side.

    TensorFlow has grouped convolutions on a processor only as compiled functions, which no
    other format can hold.
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
