"""A LiteRT file as C, for a microcontroller with TensorFlow Lite Micro."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cifarnet.errors import ArtifactError

# Operations that LiteRT has and TensorFlow Lite Micro, so far, has not.
_NOT_MICRO = {"GELU"}

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


def write(path: Path, metadata: dict[str, Any], folder: Path) -> None:
    """Write `model.h` and `model.c` beside an int8 LiteRT file.

    Args:
        path: the file.
        metadata: its `classes`, `run` and `cifarnet` version.
        folder: gets the sources.

    Raises:
        ArtifactError: an operation that TensorFlow Lite Micro does not have.
    """
    from ai_edge_litert.interpreter import Interpreter

    content = path.read_bytes()
    missing = _operations(content) & _NOT_MICRO
    if missing:
        raise ArtifactError(
            f"c: TensorFlow Lite Micro has no {', '.join(sorted(missing))}; for a microcontroller "
            "train with another activation, such as relu or silu"
        )
    interpreter = Interpreter(model_content=content)
    (given,), (wanted,) = interpreter.get_input_details(), interpreter.get_output_details()
    (input_scale, input_zero), (output_scale, output_zero) = (
        details["quantization"] for details in (given, wanted)
    )
    header = _HEADER.format(
        title=f"cifarnet {metadata['cifarnet']}, run {metadata['run']}".replace("*/", "* /"),
        length=len(content),
        size=int(given["shape"][1]),
        classes=int(wanted["shape"][1]),
        input_scale=float(input_scale),
        input_zero=input_zero,
        output_scale=float(output_scale),
        output_zero=output_zero,
    )
    rows = [content[i : i + 16] for i in range(0, len(content), 16)]
    numbers = ",\n".join("  " + ", ".join(f"0x{byte:02x}" for byte in row) for row in rows)
    names = ",\n".join(f"  {_literal(name)}" for name in metadata["classes"])
    (folder / "model.h").write_text(header, encoding="ascii")
    (folder / "model.c").write_text(_SOURCE.format(numbers=numbers, names=names), encoding="ascii")


def _operations(content: bytes) -> set[str]:
    from ai_edge_litert import schema_py_generated as schema

    names = {v: k for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    return {
        names[max(code.builtinCode, code.deprecatedBuiltinCode)] for code in model.operatorCodes
    }


def _literal(text: str) -> str:
    """A C string of any text: UTF-8, all but letters, digits and spaces as octal escapes."""
    plain = set(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 _-.")
    return '"' + "".join(chr(b) if b in plain else f"\\{b:03o}" for b in text.encode()) + '"'
