"""Check the form of a layer list. `models` checks the names and arguments of the layers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from cifarnet.config.text import KeyProblem, brief, describe, is_text, shown

Layer = dict[str, dict[str, Any]]

_INTEGER_LIMIT = 2**63  # exclusive; integers must fit an int64


class LayerError(KeyProblem):
    """A layer that is not well formed; `at` is the key path from the list."""

    def __str__(self) -> str:
        """Return the path and the problem, as in `[1] (Dense).units: expected ...`."""
        parts = [f"[{p}]" if isinstance(p, int) else f".{shown(p)}" for p in self.at]
        if len(parts) > 1:
            parts[1] = f" ({parts[1][1:]})"
        return ": ".join(filter(None, ["".join(parts), self.problem]))


def normalize_layers(value: object) -> list[Layer]:
    """Rewrite `- Flatten` and `- Flatten:` as `- Flatten: {}`, and check the form of the list.

    Raises:
        LayerError: an item is neither a name nor one name with plain keyword arguments.
    """
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise LayerError((), f"expected a list of layers, received {describe(value)}")
    return [_one_layer(item, i) for i, item in enumerate(value)]


def _one_layer(item: object, index: int) -> Layer:
    if isinstance(item, str):
        item = {item: {}}
    if isinstance(item, Mapping) and len(item) == 1:
        ((name, kwargs),) = item.items()
        if isinstance(name, str) and name and (kwargs is None or isinstance(kwargs, Mapping)):
            _plain(name, (index,))
            return {name: _plain(kwargs or {}, (index, name))}
    raise LayerError(
        (index,),
        "expected a layer name or one name with its keyword arguments, such as "
        f"`- Conv2D: {{filters: 32, kernel_size: 3}}`, received {describe(item)}",
    )


def _plain(value: Any, at: tuple[str | int, ...]) -> Any:
    """Return a copy in the types of YAML, which can be written and read back equal."""
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise LayerError(at, f"expected names as keys, received {brief(key)}")
            _plain(key, at)
        return {key: _plain(inner, (*at, key)) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner, (*at, i)) for i, inner in enumerate(value)]
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str) and is_text(value):
        return str(value)
    if isinstance(value, int) and abs(value) < _INTEGER_LIMIT:
        return int(value)
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    kind = "a finite number" if isinstance(value, int | float) else "a plain value"
    raise LayerError(at, f"expected {kind}, received {brief(value)}")
