"""ONNX files, run by ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from cifarnet import system
from cifarnet.errors import ArtifactError
from cifarnet.predictors.base import RuntimeModel, read_metadata

# Key of cifarnet's entry in the file's metadata.
METADATA = "cifarnet"
_DTYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
}


def load(path: Path) -> RuntimeModel:
    """Load an ONNX file with one input; the first output is used.

    Raises:
        ArtifactError: damaged, or with another kind of input.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = system.usable_cores()
    options.log_severity_level = 4  # errors are raised as well
    try:
        session = onnxruntime.InferenceSession(
            path.read_bytes(), options, providers=["CPUExecutionProvider"]
        )
        about = session.get_modelmeta().custom_metadata_map.get(METADATA, "{}")
        metadata = read_metadata(about)
    except Exception as error:
        text = " ".join(str(error).split())
        raise ArtifactError(f"{path} cannot be loaded: {text[:300]}") from error
    inputs = session.get_inputs()
    if len(inputs) != 1 or inputs[0].type not in _DTYPES:
        raise ArtifactError(
            f"{path}: expected one input of {', '.join(_DTYPES)}, received "
            f"{', '.join(f'{i.name}: {i.type}' for i in inputs)}"
        )
    name = inputs[0].name

    def run(images: Any) -> Any:
        return session.run(None, {name: images})[0]

    return RuntimeModel(
        runtime=f"ONNX Runtime {onnxruntime.__version__}",
        run=run,
        shape=tuple(d if isinstance(d, int) else None for d in inputs[0].shape),
        dtype=_DTYPES[inputs[0].type],
        metadata=metadata,
    )
