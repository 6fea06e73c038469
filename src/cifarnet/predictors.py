"""Any artifact -> one function from raw pixels to probabilities."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from cifarnet import layers as _registered  # noqa: F401 - so that files with our layers load
from cifarnet.errors import ArtifactError

# uint8 [N, S, S, 3], RGB, 0-255 -> float32 [N, classes], probabilities
Predict = Callable[[np.ndarray], np.ndarray]


def load(path: Path, batch_size: int = 500) -> Predict:
    """The predict function of a model file.

    Args:
        path: a `.keras` file: raw pixels 0-255 in, logits out.
        batch_size: images computed at once.

    Raises:
        ArtifactError: no such file, another kind, damaged, or with code inside.
    """
    if not path.exists():
        raise ArtifactError(f"there is no model file {path}")
    if path.suffix != ".keras":
        raise ArtifactError(
            f"{path}: expected a .keras file, received {path.suffix or 'no suffix'}"
        )
    try:
        model = keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises many kinds on files that are not its own
        text = " ".join(str(error).split())
        raise ArtifactError(f"{path} cannot be loaded: {text[:300]}") from None
    return from_model(model, batch_size)


def from_model(model: keras.Model, batch_size: int = 500) -> Predict:
    """The predict function of a model with logits as its output.

    Raises:
        ArtifactError: the model does not take one batch of RGB images.
    """
    shape = getattr(model, "input_shape", None)
    if not (isinstance(shape, tuple) and len(shape) == 4 and shape[3] == 3 and shape[1]):
        raise ArtifactError(f"expected a model of images [N, S, S, 3], received input {shape}")
    size = shape[1]

    @tf.function(input_signature=[tf.TensorSpec([None, size, size, 3], tf.uint8)])
    def probabilities(pixels: tf.Tensor) -> tf.Tensor:
        logits = model(tf.cast(pixels, tf.float32), training=False)
        return tf.nn.softmax(tf.cast(logits, tf.float32))

    classes = model.output_shape[-1]

    def predict(pixels: np.ndarray) -> np.ndarray:
        _check(pixels, size)
        batches = [
            probabilities(tf.constant(pixels[i : i + batch_size])).numpy()
            for i in range(0, len(pixels), batch_size)
        ]
        return np.concatenate([np.empty((0, classes), np.float32), *batches])

    return predict


def _check(pixels: np.ndarray, size: int) -> None:
    expected = (size, size, 3)
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1:] != expected:
        raise ArtifactError(
            f"expected images uint8 [N, {size}, {size}, 3], received {pixels.dtype} "
            f"{list(pixels.shape)}"
        )
