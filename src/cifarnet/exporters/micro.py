"""What TensorFlow Lite Micro, the runtime of microcontrollers, can do with a LiteRT file."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable
from typing import Any

import numpy as np

from cifarnet import system
from cifarnet.errors import ArtifactError
from cifarnet.exporters import messages
from cifarnet.runs.results import MicroRecord

# The interpreter computes with reference kernels: 7 ms per image for the article's network.
_IMAGES = 100
# Mean over images of the largest difference of a probability from LiteRT's, whose kernels round
# differently; 0.01 for the article's network.
_MAX_DIFFERENCE = 0.05
# Memory for tensors, bytes; more than any network needs that fits a microcontroller.
_ARENA = 100_000_000


# Operations of int8 files by the types of their tensors, from python_ops_resolver.cc and the
# kernels of tflite-micro (tensorflow/lite/micro/kernels). The tests compare with its interpreter.
_OPERATIONS = {
    "INT8": (
        "ABS ADD AVERAGE_POOL_2D BATCH_MATMUL CONCATENATION DIV HARD_SWISH LEAKY_RELU LOGISTIC "
        "LOG_SOFTMAX MAXIMUM MAX_POOL_2D MINIMUM MUL PACK PRELU RELU RSQRT SOFTMAX "
        "SQUARED_DIFFERENCE SUB TANH"
    ),
    # Shapes, axes and biases are INT32.
    "INT8 INT32": (
        "CONV_2D DEPTHWISE_CONV_2D FULLY_CONNECTED MEAN PAD REDUCE_MAX RESHAPE RESIZE_BILINEAR "
        "RESIZE_NEAREST_NEIGHBOR SPLIT STRIDED_SLICE SUM TRANSPOSE TRANSPOSE_CONV"
    ),
    "INT8 BOOL": "EQUAL GREATER GREATER_EQUAL LESS LESS_EQUAL NOT_EQUAL SELECT_V2",
    "INT8 FLOAT32": "DEQUANTIZE",
    "INT8 FLOAT32 UINT8": "QUANTIZE",
    # Without a kernel of INT8; LiteRT's converter leaves some of these in float32.
    "FLOAT32": "ELU EXP LOG NEG SQRT SQUARE",
}
KERNELS: dict[str, set[str]] = {
    name: set(types.split()) for types, names in _OPERATIONS.items() for name in names.split()
}


def require_operations(content: bytes, layers: Iterable[str]) -> None:
    """Check that TensorFlow Lite Micro has the operations of a LiteRT file.

    Its interpreter decides where it is installed, elsewhere the list `KERNELS`.

    Args:
        content: the file.
        layers: names of the network's layers.

    Raises:
        ArtifactError: an operation is missing; names it and its layer.
    """
    missing = unsupported(content, layers)
    if _runtime() is not None:
        try:
            interpreter = _Interpreter(content)
            interpreter.predict(np.zeros(interpreter.shape, np.uint8))  # some fail only then
            return
        except RuntimeError as error:
            if not missing:
                reason = " ".join(str(error).split())[:300].rstrip(".")
                raise ArtifactError(
                    f"TensorFlow Lite Micro cannot run this network: {reason}. For a "
                    "microcontroller, train a smaller network or one of other layers."
                ) from error
    if missing:
        raise ArtifactError(
            f"TensorFlow Lite Micro has no {', '.join(missing)}. For a microcontroller, train "
            "with another layer or activation there, such as relu or silu."
        )


def check(content: bytes, pixels: np.ndarray, probabilities: np.ndarray) -> MicroRecord:
    """Compare TensorFlow Lite Micro's probabilities with LiteRT's, where it is installed.

    Args:
        content: of a LiteRT file whose operations it has.
        pixels: uint8 [N, S, S, 3]; the first 100 are predicted.
        probabilities: LiteRT's.

    Raises:
        ArtifactError: they differ, or it fails.
    """
    if _runtime() is None:
        return MicroRecord(checked_by="list of operations")
    interpreter = _Interpreter(content)
    pixels = pixels[:_IMAGES]
    try:
        found = interpreter.predict(pixels)
    except RuntimeError as error:
        raise ArtifactError(f"TensorFlow Lite Micro fails on an image: {error}") from error
    difference = float(np.abs(found - probabilities[: len(pixels)]).max(axis=1).mean())
    if difference > _MAX_DIFFERENCE:
        raise ArtifactError(
            f"in TensorFlow Lite Micro probabilities differ from LiteRT's by {difference:.2g} on "
            f"average, expected at most {_MAX_DIFFERENCE}"
        )
    return MicroRecord(checked_by=interpreter.name, images=len(pixels), mean_difference=difference)


def unsupported(content: bytes, layers: Iterable[str]) -> list[str]:
    """Return the operations of a LiteRT file that are not in `KERNELS`, each with its layer."""
    from ai_edge_litert import schema_py_generated as schema

    operations, types = (_names(kind) for kind in (schema.BuiltinOperator, schema.TensorType))
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    (graph,) = model.subgraphs
    found = {}
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        name = operations[max(code.builtinCode, code.deprecatedBuiltinCode)]
        tensors = [graph.tensors[i] for i in (*operator.inputs, *operator.outputs) if i >= 0]
        other = {types[tensor.type] for tensor in tensors} - KERNELS.get(name, set())
        if other:
            of = f" of {', '.join(sorted(other))}" if name in KERNELS else ""
            layer = messages.layer_in(tensors[-1].name.decode(), layers)
            found[name + of + (f" (layer {layer})" if layer else "")] = True
    return list(found)


class _Interpreter:
    """The interpreter of TensorFlow Lite Micro.

    Raises:
        RuntimeError: it cannot run the file.
    """

    def __init__(self, content: bytes) -> None:
        runtime = _runtime()
        self.name = f"TensorFlow Lite Micro {importlib.metadata.version('tflite-micro')}"
        with system.quiet():
            self._interpreter = runtime.Interpreter.from_bytes(content, arena_size=_ARENA)
        self.shape = self._interpreter.get_input_details(0)["shape"]
        self._output = self._interpreter.get_output_details(0)["quantization_parameters"]

    def predict(self, pixels: np.ndarray) -> np.ndarray:
        """Return probabilities float32 [N, K]."""
        found = []
        with system.quiet():
            for image in pixels:
                self._interpreter.set_input(image[None], 0)
                self._interpreter.invoke()
                found.append(self._interpreter.get_output(0)[0])
        scale, zero = self._output["scales"][0], self._output["zero_points"][0]
        return (np.stack(found).astype(np.float32) - zero) * scale


def _runtime() -> Any:
    """Return the package's module; None where it is not installed.

    It does not import without `pkg_resources`, which setuptools 81 no longer has.
    """
    try:
        from tflite_micro import runtime
    except ImportError:
        return None
    return runtime


def _names(enumeration: type) -> dict[int, str]:
    return {value: name for name, value in vars(enumeration).items() if isinstance(value, int)}
