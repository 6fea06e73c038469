"""Short messages of converters' long errors."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable

# An error of MLIR, on one line: where in the graph, and what is wrong there.
_MLIR = re.compile(r"error: loc\((?P<where>.*)\): (?P<what>.+)$", re.MULTILINE)
_COLORS = re.compile(r"\x1b?\[[0-9;]*m")
# From here on, Keras only repeats the arguments of a call.
_ARGUMENTS = re.compile(r"^\s*Arguments received by .*", re.MULTILINE | re.DOTALL)


def last_telling_line(error: Exception, layers: Iterable[str]) -> str:
    """Return what a converter's error comes down to.

    Of MLIR errors it is the last one that has a place in the graph, with the layer there; of other
    errors their last line.

    Args:
        error: as a converter raised it.
        layers: names of the network's layers.
    """
    text = _COLORS.sub("", str(error))
    found = list(_MLIR.finditer(text))
    if found:
        layer = layer_in(found[-1]["where"], layers)
        line = found[-1]["what"] + (f" (layer {layer})" if layer else "")
    else:
        lines = [line for line in _ARGUMENTS.sub("", text).splitlines() if line.strip()]
        line = lines[-1] if lines else type(error).__name__
    return textwrap.shorten(line, 300, placeholder=" ...")


def layer_in(path: str, layers: Iterable[str]) -> str | None:
    """Return the layer that a name in a graph, such as `functional_1/conv2d_1/Relu`, is of.

    TensorFlow may append a number to the layer's name.
    """
    known = set(layers)
    for part in re.split(r"[/@\"; ]+", path):
        for name in (part, re.sub(r"_\d+$", "", part)):
            if name in known:
                return name
    return None
