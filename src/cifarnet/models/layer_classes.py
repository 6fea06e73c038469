"""Find the Keras layer class of a name in a layer list; say what is wrong with its arguments."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Mapping

from cifarnet.backend import keras
from cifarnet.config.text import shown
from cifarnet.errors import ModelError

_RUNS_CODE = {"Lambda", "TFSMLayer", "TorchModuleWrapper", "FlaxLayer", "JaxLayer", "Wrapper"}
_NOT_IN_LISTS = {"Input", "InputLayer", "Layer"}
# Keras takes them from its former versions.
_ACCEPTED = {"input_shape", "input_dim"}
# Colors, TensorFlow's names of operations, and what Keras adds to an error of a layer's `call`.
_FRAMING = re.compile(
    r"\x1b\[\d*m|\{\{.*?\}\} ?| \[Op:.*|Exception encountered when calling [\w.]+\(\)\. ?"
    r"| ?Arguments received by .*"
)
_NAMED = inspect.Parameter.POSITIONAL_OR_KEYWORD


def find_class(name: str, place: str) -> type[keras.Layer]:
    """Return the Keras layer class of a name in a layer list.

    Raises:
        ModelError: there is none, or it does not belong into a list; names `place`.
    """
    if name in _RUNS_CODE or name in _NOT_IN_LISTS:
        raise ModelError(f"{place}: this layer is not allowed in a config; use a plain Keras layer")
    if name.startswith("Random") or name in {"AutoContrast", "AugMix", "CutMix", "MixUp"}:
        raise ModelError(f"{place}: augmentation belongs into `data.augment`, not into the model")
    found = getattr(keras.layers, name, None)
    if not (inspect.isclass(found) and issubclass(found, keras.Layer)):
        near = difflib.get_close_matches(name, ["Residual", *dir(keras.layers)], n=3, cutoff=0.5)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise ModelError(f"{place}: expected the name of a Keras layer class{hint}")
    return found


def wrong_arguments(layer_class: type[keras.Layer], kwargs: Mapping[str, object]) -> str:
    """Describe keyword arguments that a layer class does not have or that it misses; or empty."""
    own = [*inspect.signature(layer_class.__init__).parameters.values()][1:]
    missing = [one.name for one in own if _is_required(one) and one.name not in kwargs]
    known = [*(one.name for one in own if _is_required(one)), *_optional(layer_class)]
    problems = []
    for key in kwargs:
        if key in known or key in _ACCEPTED:
            continue
        near = difflib.get_close_matches(key, known, n=1)
        hint = f"did you mean `{near[0]}`?" if near else f"known here: {', '.join(known)}"
        problems.append(f"unknown argument `{shown(key)}`; {hint}")
        missing = [name for name in missing if name not in near]
    if missing:
        problems.append(f"it needs {' and '.join(f'`{name}:`' for name in missing)}")
    return "; ".join(problems)


def _is_required(parameter: inspect.Parameter) -> bool:
    return parameter.default is parameter.empty and parameter.kind is _NAMED


def _optional(layer_class: type[keras.Layer]) -> list[str]:
    """Return the optional arguments of a class, those it passes to its bases included."""
    found: dict[str, None] = {}
    for one in layer_class.__mro__[: layer_class.__mro__.index(keras.Layer) + 1]:
        if "__init__" not in vars(one):
            continue
        parameters = inspect.signature(vars(one)["__init__"]).parameters
        found.update((name, None) for name, x in parameters.items() if x.default is not x.empty)
        if all(x.kind is not x.VAR_KEYWORD for x in parameters.values()):
            break
    return [*found]


def shortened(error: Exception) -> str:
    """Return an error's message on one line, at most 300 characters, without Keras' framing."""
    text = _FRAMING.sub("", " ".join(str(error).split()))
    return text if len(text) <= 300 else text[:297] + "..."
