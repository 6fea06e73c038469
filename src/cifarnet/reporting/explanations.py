"""The picture sheet of explanations: images and heat maps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from cifarnet import runs
from cifarnet.formatting import percent
from cifarnet.reporting.canvas import drawing, figure, save
from cifarnet.runs.explanations import ExplainedImage, Explanation

_COLORS = "RdBu_r"  # red supports the class, blue speaks against it
_OPACITY = 0.6
_GAP = 1 / 8  # between the panels of an image, of its side
_PER_ROW = {2: 4, 3: 3}  # images, by the number of their panels
_NAME = 14  # characters of a class or file name


@drawing()
def draw(found: Explanation, arrays: Path, png: Path) -> None:
    """Draw each image beside the maps of its predicted and, where known, its true class.

    Args:
        found: the explanations.
        arrays: their file of arrays.
        png: the file to write.
    """
    content = runs.read_arrays(arrays)
    panels = [name for name in ("predicted", "true") if name in content]
    columns = _PER_ROW[1 + len(panels)]
    rows = -(-len(found.images) // columns)
    sheet = figure(4.6 * columns * (1 + len(panels)) / 4, 0.9 + 1.65 * rows)
    sheet.suptitle(
        f"{found.method_name}: red supports the class, blue speaks against it\n{found.verdict}",
        fontsize=9,
    )
    for i in range(rows * columns):
        axes = sheet.add_subplot(rows, columns, i + 1)
        axes.axis("off")
        if i < len(found.images):
            maps = [content[name][i] for name in panels]
            axes.imshow(_strip(content["pixels"][i], maps), interpolation="nearest")
            axes.set_title(found.images[i].image[-40:], fontsize=6, loc="left", pad=2)
            _caption(axes, found.images[i], content["pixels"].shape[1])
    save(sheet, png)


def _strip(pixels: np.ndarray, maps: list[np.ndarray]) -> np.ndarray:
    """Return an image and its maps side by side, floats [S, width, 3], 0 to 1."""
    from matplotlib import colormaps

    colors = colormaps[_COLORS]
    gap = np.ones((len(pixels), max(1, round(_GAP * len(pixels))), 3))
    gray = pixels.mean(axis=2, keepdims=True) / 255
    parts = [pixels / 255]
    for one in maps:
        limit = np.abs(one).max() or 1.0
        heat = colors((one / limit + 1) / 2)[..., :3]
        parts += [gap, _OPACITY * heat + (1 - _OPACITY) * gray]
    return np.concatenate([*parts, gap], axis=1)  # and before the next image


def _caption(axes: Any, image: ExplainedImage, size: int) -> None:
    texts = ["", f"said {_short(image.predicted)}\n{percent(image.confidence)}"]
    if image.true is not None:
        texts.append(f"true {_short(image.true)}\n{percent(image.true_probability)}")
    step = size + max(1, round(_GAP * size))
    for place, text in enumerate(texts):
        axes.text(place * step + size / 2, size * 1.04, text, ha="center", va="top", fontsize=7)


def _short(name: str) -> str:
    return name if len(name) <= _NAME else f"{name[: _NAME - 3]}..."
