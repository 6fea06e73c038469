"""Names that config keys, command-line options and library functions have in common.

The command line lists them in `--help`, which is to start without pydantic or TensorFlow.
"""

from __future__ import annotations

from typing import Literal

ExportFormat = Literal["keras", "savedmodel", "onnx", "litert", "c", "web", "triton"]
Quantization = Literal["none", "float16", "dynamic", "int8"]
# The quantizations that each format can hold; the first is its default.
QUANTIZATIONS: dict[ExportFormat, tuple[Quantization, ...]] = {
    "keras": ("none",),
    "savedmodel": ("none",),
    "onnx": ("none", "int8"),
    "litert": ("none", "float16", "dynamic", "int8"),
    "c": ("int8",),
    "web": ("none",),
    "triton": ("none", "int8"),
}
# What pixel values 0 and 255 become before a network takes them.
InputRange = Literal["0-255", "0-1", "-1-1"]
# Views of an image whose predictions are averaged.
Tta = Literal["none", "mirror", "mirror_translate"]
# Images that an evaluation is on.
Split = Literal["test", "validation"]
# Images per call in a benchmark.
MAX_BATCH = 5_000
# Images of one request to a server.
MAX_REQUEST = 1024
# Order of an image batch's dimensions: [N, S, S, 3] or [N, 3, S, S].
Layout = Literal["nhwc", "nchw"]
# What a network gives: `probabilities` are of a softmax or of independent sigmoids.
OutputKind = Literal["logits", "probabilities"]
# Ways to find the pixels that a decision depends on.
ExplanationMethod = Literal["occlusion", "layercam", "gradcam", "integrated"]
# Images of one picture sheet.
MAX_MISTAKES = 200
