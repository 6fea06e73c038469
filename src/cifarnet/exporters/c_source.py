"""Write an int8 LiteRT file as C source, for microcontrollers with TensorFlow Lite Micro."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cifarnet.backend import keras
from cifarnet.exporters import litert_format, micro
from cifarnet.predictors import Metadata

_HEADER = """\
/* {title}
 *
 * Input: uint8 [1, {size}, {size}, 3], RGB, 0-255, row by row.
 * Output: uint8 [1, {classes}]; output q is the probability CIFARNET_OUTPUT_SCALE * (q - zero).
 */
#ifndef CIFARNET_MODEL_H_
#define CIFARNET_MODEL_H_

#define CIFARNET_MODEL_SIZE {length}u
#define CIFARNET_IMAGE_SIZE {size}
#define CIFARNET_CLASSES {classes}
#define CIFARNET_INPUT_SCALE {input_scale!r}f
#define CIFARNET_INPUT_ZERO {input_zero}
#define CIFARNET_OUTPUT_SCALE {output_scale!r}f
#define CIFARNET_OUTPUT_ZERO {output_zero}

#ifdef __cplusplus
extern "C" {{
#endif

/* The whole LiteRT file. */
extern const unsigned char cifarnet_model[CIFARNET_MODEL_SIZE];
/* Class names, by output. */
extern const char *const cifarnet_classes[CIFARNET_CLASSES];

#ifdef __cplusplus
}}
#endif

#endif
"""

_SOURCE = """\
#include "model.h"

/* TensorFlow Lite Micro reads it in place, so it is aligned. */
#if defined(__GNUC__) || defined(__clang__)
__attribute__((aligned(16)))
#endif
const unsigned char cifarnet_model[CIFARNET_MODEL_SIZE] = {{
{numbers}
}};

const char *const cifarnet_classes[CIFARNET_CLASSES] = {{
{names}
}};
"""


def write(
    model: keras.Model, quantization: str, calibration: np.ndarray, metadata: Metadata, folder: Path
) -> Path:
    """Write an int8 `model.tflite`, and `model.h` and `model.c` with its bytes.

    See `formats.Writer`.

    Raises:
        ArtifactError: an operation that TensorFlow Lite Micro does not have.
    """
    path = litert_format.write(model, quantization, calibration, metadata, folder)
    content = path.read_bytes()
    micro.require_operations(content, [layer.name for layer in model.layers])
    rows = [content[i : i + 16] for i in range(0, len(content), 16)]
    numbers = ",\n".join("  " + ", ".join(f"0x{byte:02x}" for byte in row) for row in rows)
    names = ",\n".join(f"  {_string_literal(name)}" for name in metadata["classes"])
    source = _SOURCE.format(numbers=numbers, names=names)
    (folder / "model.h").write_text(_header(content, metadata), encoding="ascii")
    (folder / "model.c").write_text(source, encoding="ascii")
    return path


def _header(content: bytes, metadata: Metadata) -> str:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content)
    (inputs,), (outputs,) = interpreter.get_input_details(), interpreter.get_output_details()
    input_scale, input_zero = inputs["quantization"]
    output_scale, output_zero = outputs["quantization"]
    return _HEADER.format(
        title=f"cifarnet {metadata['cifarnet']}, run {metadata['run']}".replace("*/", "* /"),
        length=len(content),
        size=int(inputs["shape"][1]),
        classes=int(outputs["shape"][1]),
        input_scale=float(input_scale),
        input_zero=input_zero,
        output_scale=float(output_scale),
        output_zero=output_zero,
    )


def _string_literal(text: str) -> str:
    """Return a C string literal: UTF-8, octal escapes for all but letters, digits and ` _-.`."""
    unescaped = set(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 _-.")
    return '"' + "".join(chr(b) if b in unescaped else f"\\{b:03o}" for b in text.encode()) + '"'
