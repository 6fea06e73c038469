"""Write TensorFlow SavedModel folders."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from cifarnet.backend import keras, tf
from cifarnet.exporters import network
from cifarnet.predictors import Metadata
from cifarnet.predictors import saved_model as predictor


def write(
    model: keras.Model, quantization: str, calibration: np.ndarray, metadata: Metadata, folder: Path
) -> Path:
    """Write the SavedModel `NAME/1` with the signature `serving_default`; see `formats.Writer`.

    Servers of TensorFlow and OpenVINO take the folder NAME, with a folder for each version.
    """
    path = folder / metadata["model"] / "1"
    save(model, None, path)
    file = path / predictor.METADATA
    file.parent.mkdir()
    file.write_text(json.dumps(metadata), encoding="utf-8")
    return path


def save(model: keras.Model, batch_size: int | None, path: Path) -> None:
    """Save a network for inference. Keras' own `ExportArchive` would store every weight twice.

    Args:
        model: as `network.build` returns it.
        batch_size: of its input; None leaves it open.
        path: the new folder.
    """
    module = tf.Module()
    module.weights = [variable.value for variable in model.variables]
    module.serve = network.serving_function(model, batch_size)
    tf.saved_model.save(module, str(path), signatures=module.serve)
