"""Former names of config keys, which files, overrides and checkpoints may still use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cifarnet.config.yaml_file import KeyPath
from cifarnet.errors import ConfigError

RENAMED: dict[KeyPath, str] = {("model", "normalise"): "normalize"}


def current_path(path: KeyPath) -> KeyPath:
    """Return a key path with former names replaced."""
    for old, new in RENAMED.items():
        if path[: len(old)] == old:
            return (*old[:-1], new, *path[len(old) :])
    return path


def upgrade(
    value: Any, where: str, at: KeyPath = (), places: Mapping[KeyPath, str] | None = None
) -> Any:
    """Return a document, or the part of it at the key path `at`, with former names replaced.

    Args:
        value: plain values; not modified.
        where: the file or override in error messages.
        at: the path of `value` in the document.
        places: where each key was written, if known.

    Raises:
        ConfigError: a mapping has both the former and the current name of a key.
    """
    for old, new in RENAMED.items():
        if old[: len(at)] == at:
            place = (places or {}).get(old, where)
            value = _rename(value, old[len(at) :], new, f"{place}: {'.'.join(map(str, old))}")
    return value


def _rename(value: Any, path: KeyPath, new: str, place: str) -> Any:
    if not path or not isinstance(value, Mapping) or path[0] not in value:
        return value
    key, *rest = path
    if rest:
        return {**value, key: _rename(value[key], tuple(rest), new, place)}
    if new in value:
        raise ConfigError(f"{place} is the former name of {new}, which is given too. Remove one.")
    return {new if name == key else name: inner for name, inner in value.items()}
