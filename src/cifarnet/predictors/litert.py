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
from cifarnet.predictors.base import Network, read_metadata

# Name of our metadata in the file.
METADATA = b"cifarnet"


def load(path: Path) -> Network:
    """A LiteRT file's network: float or quantised, of a fixed or an open batch.

    Raises:
        ArtifactError: damaged, or with other than one input and one output.
    """
    content = path.read_bytes()
    try:
        if content[4:8] != b"TFL3":
            raise ValueError("it does not begin as a LiteRT file")
        interpreter = _interpreter(content)
        (given,) = interpreter.get_input_details()
        (wanted,) = interpreter.get_output_details()
        metadata = _metadata(content)
    except Exception as error:
        text = " ".join(str(error).split())
        raise ArtifactError(f"{path} cannot be loaded: {text[:300]}") from error
    signature = given.get("shape_signature", given["shape"])
    scale, zero = given["quantization"]

    @functools.lru_cache(maxsize=3)
    def of_batch(count: int) -> Interpreter:
        """One that was resized before its first run: later, LiteRT may fail."""
        resized = _interpreter(content)
        resized.resize_tensor_input(given["index"], [count, *given["shape"][1:]])
        with system.quiet():
            resized.allocate_tensors()
        return resized

    def run(images: Any) -> Any:
        interpreter = of_batch(len(images))
        interpreter.set_tensor(given["index"], images)
        interpreter.invoke()
        return _real(interpreter.get_tensor(wanted["index"]), *wanted["quantization"])

    return Network(
        runtime=f"LiteRT {importlib.metadata.version('ai-edge-litert')}",
        run=run,
        shape=tuple(int(d) if d > 0 else None for d in signature),
        dtype=given["dtype"],
        scale=scale or 1.0,
        zero=zero,
        metadata=metadata,
    )


def _interpreter(content: bytes) -> Interpreter:
    with system.quiet():
        return Interpreter(model_content=content, num_threads=system.usable_cores())


def _real(values: Any, scale: float, zero: int) -> Any:
    """What quantised outputs stand for."""
    return (values.astype(np.float32) - zero) * scale if scale else values


def _metadata(content: bytes) -> dict[str, Any]:
    model = schema.Model.GetRootAs(content, 0)
    for i in range(model.MetadataLength()):
        entry = model.Metadata(i)
        if entry.Name() == METADATA:
            return read_metadata(model.Buffers(entry.Buffer()).DataAsNumpy().tobytes())
    return {}
