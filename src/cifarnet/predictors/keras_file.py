"""Keras models and their files, `.keras` and `.h5`."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from cifarnet.backend import keras, tf
from cifarnet.errors import ArtifactError
from cifarnet.models import layers as _registered  # noqa: F401 - so that files with our layers load
from cifarnet.predictors.base import MOST_BYTES, OF_RUNS, Network, Predictor, read_metadata

# A member of our own in the zip archive that a `.keras` file is.
METADATA = "cifarnet.json"


def load(path: Path) -> Network:
    """A Keras file's network. Keras' safe mode refuses files with code inside.

    Raises:
        ArtifactError: damaged, or with code inside.
    """
    try:
        _check_weights(path)
        model = keras.models.load_model(path, compile=False, safe_mode=True)
        metadata = _metadata(path)
    except Exception as error:  # Keras raises many kinds on files that are not its own
        text = " ".join(str(error).split())
        raise ArtifactError(f"{path} cannot be loaded: {text[:300]}") from error
    return _network(model, metadata)


def from_model(model: keras.Model, batch_size: int = 500) -> Predictor:
    """The predict function of a run's model in memory: raw pixels in, logits out.

    Raises:
        ArtifactError: the model does not take one batch of RGB images.
    """
    return Predictor(_network(model, {}), batch_size, OF_RUNS)


def _check_weights(path: Path) -> None:
    """Refuse files that unpack to more than they should, or point at other files.

    Raises:
        ValueError: how.
    """
    if not zipfile.is_zipfile(path):
        _check_hdf5(path)
        return
    with zipfile.ZipFile(path) as archive:
        if sum(member.file_size for member in archive.infolist()) > MOST_BYTES:
            raise ValueError(f"it unpacks to more than {MOST_BYTES:,} bytes")
        for name in archive.namelist():
            if name.endswith(".h5"):
                _check_hdf5(io.BytesIO(archive.read(name)))


def _check_hdf5(file: Any) -> None:
    total = 0

    def visit(name: str, thing: Any) -> None:
        nonlocal total
        if isinstance(thing, h5py.Dataset):
            total += thing.nbytes
            if total > MOST_BYTES:
                raise ValueError(f"its weights claim more than {MOST_BYTES:,} bytes")
            if thing.external or thing.is_virtual:
                raise ValueError(f"its weights {name} are in another file")

    with h5py.File(file, "r") as content:
        content.visititems(visit)


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
                return read_metadata(archive.read(METADATA))
    return {}
