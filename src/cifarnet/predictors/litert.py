"""LiteRT files (`.tflite`), run by the LiteRT interpreter."""

from __future__ import annotations

import functools
import importlib.metadata
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from cifarnet import system
from cifarnet.errors import ArtifactError
from cifarnet.predictors.base import Metadata, RuntimeModel, read_metadata

# Name of cifarnet's entry in the file's metadata.
METADATA = b"cifarnet"


def load(path: Path) -> RuntimeModel:
    """Load a LiteRT file: float or quantized, with a fixed or an open batch dimension.

    Raises:
        ArtifactError: damaged, or with other than one input and one output.
    """
    content = path.read_bytes()
    try:
        if content[4:8] != b"TFL3":
            raise ValueError("expected TFL3 at byte 4, as in every LiteRT file")
        interpreter = _interpreter(content)
        (inputs,) = interpreter.get_input_details()
        (outputs,) = interpreter.get_output_details()
        metadata = _metadata(content)
    except Exception as error:
        text = " ".join(str(error).split())
        raise ArtifactError(f"{path} cannot be loaded: {text[:300]}") from error
    signature = inputs.get("shape_signature", inputs["shape"])
    scale, zero_point = inputs["quantization"]

    @functools.lru_cache(maxsize=3)
    def for_batch(count: int) -> Interpreter:
        """Return an interpreter that was resized before its first run; LiteRT may fail later."""
        resized = _interpreter(content)
        resized.resize_tensor_input(inputs["index"], [count, *inputs["shape"][1:]])
        with system.quiet():
            resized.allocate_tensors()
        return resized

    def run(images: Any) -> Any:
        interpreter = for_batch(len(images))
        interpreter.set_tensor(inputs["index"], images)
        interpreter.invoke()
        return _dequantize(interpreter.get_tensor(outputs["index"]), *outputs["quantization"])

    return RuntimeModel(
        runtime=f"LiteRT {importlib.metadata.version('ai-edge-litert')}",
        run=run,
        shape=tuple(int(d) if d > 0 else None for d in signature),
        dtype=inputs["dtype"],
        scale=scale or 1.0,
        zero_point=zero_point,
        metadata=metadata,
    )


def _interpreter(content: bytes) -> Interpreter:
    with system.quiet():
        return Interpreter(model_content=content, num_threads=system.usable_cores())


def _dequantize(values: Any, scale: float, zero_point: int) -> Any:
    """Return float32 values of quantized outputs; scale 0: the outputs are not quantized."""
    return (values.astype(np.float32) - zero_point) * scale if scale else values


def _metadata(content: bytes) -> Metadata:
    model = schema.Model.GetRootAs(content, 0)
    for i in range(model.MetadataLength()):
        entry = model.Metadata(i)
        if entry.Name() == METADATA:
            return read_metadata(model.Buffers(entry.Buffer()).DataAsNumpy().tobytes())
    return {}
