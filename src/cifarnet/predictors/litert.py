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
from cifarnet.predictors import litert_metadata
from cifarnet.predictors.base import RuntimeModel, read_metadata
from cifarnet.predictors.outputs import choose

# Name of cifarnet's entry in the file's metadata.
METADATA = b"cifarnet"


def load(path: Path, output_name: str | None = None, threads: int | None = None) -> RuntimeModel:
    """Load a LiteRT file: float or quantized, with a fixed or an open batch dimension.

    Args:
        output_name: of the output to read, if there are several.
        threads: of the runtime; None: one per core.

    Raises:
        ArtifactError: damaged, or with other than one input.
    """
    content = path.read_bytes()
    try:
        if content[4:8] != b"TFL3":
            raise ValueError("expected TFL3 at byte 4, as in every LiteRT file")
        interpreter = _interpreter(content)
        inputs = _only_input(interpreter.get_input_details())
        found = interpreter.get_output_details()
        names = [one["name"] for one in found]
        position = choose(names, [_signature(one) for one in found], output_name)
        entries = _entries(content)
        metadata = read_metadata(entries.get(METADATA, b"{}"))
        standard = litert_metadata.read(content, entries, position)
    except Exception as error:
        text = " ".join(str(error).split())
        raise ArtifactError(f"{path} cannot be loaded: {text[:300]}") from error
    outputs = found[position]
    scale, zero_point = inputs["quantization"]

    return RuntimeModel(
        runtime=f"LiteRT {importlib.metadata.version('ai-edge-litert')}",
        run=_runner(content, inputs, outputs, threads),
        shape=_signature(inputs),
        dtype=inputs["dtype"],
        scale=scale or 1.0,
        zero_point=zero_point,
        output_step=outputs["quantization"][0],
        metadata=metadata,
        states=standard.preprocessing,
        classes=standard.classes,
    )


def _runner(
    content: bytes, inputs: dict[str, Any], outputs: dict[str, Any], threads: int | None
) -> Any:
    """Return the function of the details of an input and an output."""

    @functools.lru_cache(maxsize=3)
    def for_shape(shape: tuple[int, ...]) -> Interpreter:
        """Return an interpreter that was resized before its first run; LiteRT may fail later."""
        resized = _interpreter(content, threads)
        resized.resize_tensor_input(inputs["index"], shape)
        with system.quiet():
            resized.allocate_tensors()
        return resized

    def run(images: Any) -> Any:
        interpreter = for_shape(images.shape)
        interpreter.set_tensor(inputs["index"], images)
        interpreter.invoke()
        return _dequantize(interpreter.get_tensor(outputs["index"]), *outputs["quantization"])

    return run


def _only_input(details: list[dict[str, Any]]) -> dict[str, Any]:
    if len(details) != 1:
        names = ", ".join(one["name"] for one in details)
        raise ValueError(f"expected one input, received {names or 'none'}")
    return details[0]


def _signature(details: dict[str, Any]) -> tuple[int | None, ...]:
    """Return a tensor's shape; None for an open dimension."""
    shape = details.get("shape_signature", details["shape"])
    return tuple(int(side) if side > 0 else None for side in shape)


def _interpreter(content: bytes, threads: int | None = None) -> Interpreter:
    with system.quiet():
        return Interpreter(model_content=content, num_threads=threads or system.usable_cores())


def _dequantize(values: Any, scale: float, zero_point: int) -> Any:
    """Return float32 values of quantized outputs; scale 0: the outputs are not quantized."""
    return (values.astype(np.float32) - zero_point) * scale if scale else values


def _entries(content: bytes) -> dict[bytes, bytes]:
    """Return the entries of the file's metadata, by name."""
    model = schema.Model.GetRootAs(content, 0)
    found = [model.Metadata(i) for i in range(model.MetadataLength())]
    return {one.Name(): _bytes(model.Buffers(one.Buffer())) for one in found}


def _bytes(buffer: Any) -> bytes:
    return b"" if buffer.DataIsNone() else bytes(buffer.DataAsNumpy().tobytes())
