"""Keras models and their files, `.keras` and `.h5`."""

from __future__ import annotations

import io
import json
import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from cifarnet.backend import default_settings, initialize_devices, keras, tf
from cifarnet.errors import ArtifactError
from cifarnet.models import METADATA
from cifarnet.models import layers as _registered  # noqa: F401 - registers our layers, which files may have
from cifarnet.predictors import keras_config
from cifarnet.predictors.base import (
    MAX_BYTES,
    Metadata,
    Predictor,
    RuntimeModel,
    read_metadata,
)
from cifarnet.predictors.outputs import choose
from cifarnet.predictors.preprocessing import RUN_PREPROCESSING

__all__ = ["METADATA", "from_model", "load"]

# Members of a `.keras` file, which is a zip archive.
_CONFIG, _ABOUT = "config.json", "metadata.json"


def load(path: Path, output_name: str | None = None) -> RuntimeModel:
    """Load a Keras file, also of Keras 2. Keras' safe mode refuses files with code inside.

    Args:
        output_name: of the output to read, if there are several.

    Raises:
        ArtifactError: damaged, or with code inside.
    """
    initialize_devices()
    try:
        _check_weights(path)
        metadata = _metadata(path)
        with default_settings():
            model = _of_one_output(_load(path), output_name)
        return _runtime_model(model, metadata)
    except Exception as error:  # Keras raises many kinds
        writer = _writer(path)
        by = f" (written by Keras {writer}, read by {keras.__version__})" if writer else ""
        raise ArtifactError(f"{path} cannot be loaded{by}: {_reason(error)}") from error


def from_model(model: keras.Model, batch_size: int = 500) -> Predictor:
    """Make the predict function of a run's model in memory: raw pixels in, logits out.

    Raises:
        ArtifactError: the model does not take one batch of RGB images.
    """
    return Predictor(_runtime_model(model, {}), batch_size, RUN_PREPROCESSING)


def _load(path: Path) -> keras.Model:
    """Load a file; one of an older Keras from a copy whose config this one understands."""
    text = _config(path)
    config = json.loads(text)
    simple = keras_config.simplify(config)
    if str(_writer(path)).startswith("2.") and '"hard_sigmoid"' in text:
        raise ValueError(
            "its activation hard_sigmoid is another function since Keras 3 (x / 6 + 0.5, was "
            "0.2 x + 0.5). Convert it to ONNX or LiteRT with the Keras that wrote it"
        )
    if simple == config:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        _copy(path, copy, json.dumps(simple))
        return keras.models.load_model(copy, compile=False, safe_mode=True)


def _config(path: Path) -> str:
    """Return a model's config, JSON."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return archive.read(_CONFIG).decode("utf-8")
    with h5py.File(path, "r") as file:
        if "model_config" not in file.attrs:
            raise ValueError("it has weights without a network; save the whole model")
        config = file.attrs["model_config"]
        return str(config.decode("utf-8") if isinstance(config, bytes) else config)


def _copy(path: Path, copy: Path, config: str) -> None:
    """Copy a file with another config."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive, zipfile.ZipFile(copy, "w") as written:
            for name in archive.namelist():
                written.writestr(name, config if name == _CONFIG else archive.read(name))
        return
    shutil.copyfile(path, copy)
    with h5py.File(copy, "r+") as file:
        file.attrs["model_config"] = config


def _reason(error: BaseException) -> str:
    """Return the reason that Keras gives last, at most 300 characters of it.

    Each layer around the failing one repeats its whole config before the reason.
    """
    text = " ".join(str(error).split())
    return text.rpartition("Exception encountered: ")[2][:300]


def _writer(path: Path) -> str | None:
    """Return the version of Keras that wrote a file; None if it does not say it."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return str(json.loads(archive.read(_ABOUT))["keras_version"])[:20]
        with h5py.File(path, "r") as file:
            version = file.attrs["keras_version"]
            return str(version.decode() if isinstance(version, bytes) else version)[:20]
    except Exception:  # damaged, which the caller is about to say
        return None


def _of_one_output(model: keras.Model, name: str | None) -> keras.Model:
    outputs = getattr(model, "outputs", None)
    if not outputs:
        return model
    # A Sequential model has no `output_names`.
    names = list(getattr(model, "output_names", [model.layers[-1].name]))
    position = choose(names, [list(one.shape) for one in outputs], name)
    return model if len(outputs) == 1 else keras.Model(model.inputs, outputs[position])


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
    if not isinstance(shape, tuple) or not all(d is None or isinstance(d, int) for d in shape):
        raise ArtifactError(f"expected a model of one input, received input {shape}")

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32)])
    def outputs(images: tf.Tensor) -> tf.Tensor:
        with default_settings():  # while it is traced
            return tf.cast(model(images, training=False), tf.float32)

    # Calling `outputs` itself would look for the trace of each call's arguments.
    traced = outputs.get_concrete_function()
    return RuntimeModel(
        runtime=f"Keras {keras.__version__}",
        run=lambda images: traced(tf.constant(images)).numpy(),
        shape=shape,
        dtype=np.float32,
        metadata=metadata,
        network=model,
    )


def _metadata(path: Path) -> Metadata:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if METADATA in archive.namelist():
                return read_metadata(archive.read(METADATA))
    return {}
