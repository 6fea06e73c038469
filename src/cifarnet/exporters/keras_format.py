"""Write `.keras` files."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np

from cifarnet.backend import keras
from cifarnet.predictors import Metadata, keras_file


def write(
    model: keras.Model, quantization: str, calibration: np.ndarray, metadata: Metadata, folder: Path
) -> Path:
    """Write `model.keras`, which Keras loads without cifarnet; see `formats.Writer`."""
    path = folder / "model.keras"
    model.save(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(keras_file.METADATA, json.dumps(metadata))
    return path
