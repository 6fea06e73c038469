"""Which artifacts a list of formats and quantizations stands for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, get_args

from cifarnet.choices import QUANTIZATIONS, ExportFormat, Quantization
from cifarnet.errors import ConfigError


class Target(NamedTuple):
    """An artifact to write: its format, its quantization, whether the network is pruned."""

    format: ExportFormat
    quantization: Quantization
    pruned: bool = False

    @property
    def name(self) -> str:
        """Name of its folder: `litert`, `litert-int8`, `litert-int8-pruned`."""
        default = QUANTIZATIONS[self.format][0]
        quantized = "" if self.quantization == default else f"-{self.quantization}"
        return self.format + quantized + ("-pruned" if self.pruned else "")


def targets(
    formats: Sequence[str],
    quantizations: Sequence[str],
    pruned: bool = False,
    defaults: bool = False,
) -> list[Target]:
    """Combine each format with each of the quantizations that it can hold.

    Args:
        formats, quantizations: names.
        pruned: whether the network is pruned.
        defaults: a format that has a single quantization, such as `c`, gets it in any case.

    Raises:
        ConfigError: an unknown name, a format that can hold none of the quantizations, or whose
            packages are missing.
    """
    known_formats = _known("formats", formats, ExportFormat)
    known_quantizations = _known("quantize", quantizations, Quantization)
    found = []
    for name in known_formats:
        possible = QUANTIZATIONS[name]
        fitting = [q for q in possible if q in known_quantizations]
        if not fitting and defaults and len(possible) == 1:
            fitting = list(possible)
        if not fitting:
            raise ConfigError(
                f"{name}: expected quantization {' or '.join(possible)}, received "
                f"{', '.join(quantizations)}"
            )
        found += [Target(name, quantization, pruned) for quantization in fitting]
    return found


def _known(what: str, names: Sequence[str], choices: Any) -> list[Any]:
    """Return the names without repetitions.

    Raises:
        ConfigError: a name that is not among the choices, a `Literal` type, or a bare string.
    """
    known = get_args(choices)
    for name in [names] if isinstance(names, str) else names:
        if isinstance(names, str) or name not in known:
            raise ConfigError(
                f"{what}: expected a list of some of {', '.join(known)}, received {name!r}"
            )
    return list(dict.fromkeys(names))
