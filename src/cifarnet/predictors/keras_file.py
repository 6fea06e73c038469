"""Keras models and their files, `.keras` and `.h5`."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from cifarnet.backend import default_settings, keras, tf
from cifarnet.errors import ArtifactError
from cifarnet.models import layers as _registered  # noqa: F401 - registers our layers, which files may have
from cifarnet.predictors.base import (
    MAX_BYTES,
    RUN_PREPROCESSING,
    Metadata,
    Predictor,
    RuntimeModel,
    read_metadata,
)

# A `.keras` file is a zip archive; this member of it is cifarnet's.
METADATA = "cifarnet.json"


def load(path: Path) -> RuntimeModel:
    """Load a Keras file. Keras' safe mode refuses files with code inside.

    Raises:
        ArtifactError: damaged, or with code inside.
    """
    try:
        _check_weights(path)
        with default_settings():
            model = keras.models.load_model(path, compile=False, safe_mode=True)
        metadata = _metadata(path)
    except Exception as error:  # Keras raises many kinds
        text = " ".join(str(error).split())
        raise ArtifactError(f"{path} cannot be loaded: {text[:300]}") from error
    return _runtime_model(model, metadata)


def from_model(model: keras.Model, batch_size: int = 500) -> Predictor:
    """Make the predict function of a run's model in memory: raw pixels in, logits out.

    Raises:
        ArtifactError: the model does not take one batch of RGB images.
    """
    return Predictor(_runtime_model(model, {}), batch_size, RUN_PREPROCESSING)


def _check_weights(path: Path) -> None:
    """Refuse files that unpack to more than `MAX_BYTES`, or refer to other files.

    Raises:
        ValueError: the file is refused.
    """
    if not zipfile.is_zipfile(path):
        _check_hdf5(path)
        return
    with zipfile.ZipFile(path) as archive:
        if sum(member.file_size for member in archive.infolist()) > MAX_BYTES:
            raise ValueError(f"it unpacks to more than {MAX_BYTES:,} bytes")
        for name in archive.namelist():
            if name.endswith(".h5"):
                _check_hdf5(io.BytesIO(archive.read(name)))


def _check_hdf5(file: Any) -> None:
    total = 0

    def visit(name: str, item: Any) -> None:
        nonlocal total
        if isinstance(item, h5py.Dataset):
            total += item.nbytes
            if total > MAX_BYTES:
                raise ValueError(f"its weights claim more than {MAX_BYTES:,} bytes")
            if item.external or item.is_virtual:
                raise ValueError(f"its weights {name} are in another file")

    with h5py.File(file, "r") as content:
        content.visititems(visit)


def _runtime_model(model: keras.Model, metadata: Metadata) -> RuntimeModel:
    shape = getattr(model, "input_shape", None)
    if not isinstance(shape, tuple):
        raise ArtifactError(f"expected a model of one input, received input {shape}")

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32)])
    def outputs(images: tf.Tensor) -> tf.Tensor:
        with default_settings():  # while it is traced
            return tf.cast(model(images, training=False), tf.float32)

    return RuntimeModel(
        runtime=f"Keras {keras.__version__}",
        run=lambda images: outputs(tf.constant(images)).numpy(),
        shape=shape,
        dtype=np.float32,
        metadata=metadata,
    )


def _metadata(path: Path) -> Metadata:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if METADATA in archive.namelist():
                return read_metadata(archive.read(METADATA))
    return {}
