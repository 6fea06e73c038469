"""Keras models and their files, `.keras` and `.h5`."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from cifarnet import layers as _registered  # noqa: F401 - so that files with our layers load
from cifarnet.errors import ArtifactError
from cifarnet.predictors.predictor import OF_RUNS, Network, Predictor

# A member of our own in the zip archive that a `.keras` file is.
METADATA = "cifarnet.json"


def load(path: Path) -> Network:
    """A Keras file's network. Keras' safe mode refuses files with code inside.

    Raises:
        ArtifactError: damaged, or with code inside.
    """
    try:
        model = keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises many kinds on files that are not its own
        text = " ".join(str(error).split())
        raise ArtifactError(f"{path} cannot be loaded: {text[:300]}") from None
    return _network(model, _metadata(path))


def from_model(model: keras.Model, batch_size: int = 500) -> Predictor:
    """The predict function of a run's model in memory: raw pixels in, logits out.

    Raises:
        ArtifactError: the model does not take one batch of RGB images.
    """
    return Predictor(_network(model, {}), batch_size, OF_RUNS)


def _network(model: keras.Model, metadata: dict[str, Any]) -> Network:
    shape = getattr(model, "input_shape", None)
    if not isinstance(shape, tuple):
        raise ArtifactError(f"expected a model of one input, received input {shape}")

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32)])
    def outputs(images: tf.Tensor) -> tf.Tensor:
        return tf.cast(model(images, training=False), tf.float32)

    return Network(
        runtime=f"Keras {keras.__version__}",
        run=lambda images: outputs(tf.constant(images)).numpy(),
        shape=shape,
        dtype=np.float32,
        metadata=metadata,
    )


def _metadata(path: Path) -> dict[str, Any]:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if METADATA in archive.namelist():
                return dict(json.loads(archive.read(METADATA)))
    return {}
