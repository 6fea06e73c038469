"""Merge a file over its base and overrides over a file, and track where each key was written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from cifarnet.config import yaml_file
from cifarnet.config.renamed_keys import current_path, upgrade
from cifarnet.config.schema import Config
from cifarnet.config.text import brief, shown
from cifarnet.config.yaml_file import MAX_LEVELS, Document, KeyPath
from cifarnet.errors import ConfigError

_NULL = ("", "null", "Null", "NULL")  # `~` is the home of a path

Places = dict[KeyPath, str]


def merge(
    base: Mapping[str, Any], over: Mapping[str, Any], places: Places, at: KeyPath = ()
) -> Document:
    """Merge mappings key by key; replace any other value, lists included.

    A mapping with another `kind` replaces the one of the base, whose keys belong to the old kind.

    Args:
        base, over: the mappings; `over` wins.
        places: of the keys of the base; those of replaced values are removed.
        at: the path of both mappings in the document.
    """
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping) and not _other_kind(old, value):
            merged[key] = merge(old, value, places, (*at, key))
        else:
            _forget(old, places, (*at, key))
            merged[key] = value
    return merged


def apply_override(document: Document, text: str, places: Places) -> None:
    """Set one `dotted.key=value` in the document, in place; a mapping is merged as in `merge`.

    Raises:
        ConfigError: the string has another form, or the key leads to an item that does not exist.
    """
    where = f"override {shown(text)}"
    key, equals, value_text = text.partition("=")
    parts = [str(part) for part in current_path(tuple(key.strip().split(".")))]
    if not equals or not all(parts) or len(parts) > MAX_LEVELS:
        raise ConfigError(f"{where}: expected key=value, such as train.epochs=3")
    if parts == ["base"]:
        raise ConfigError(f"{where}: a base is read from files only. Write `base:` into the file.")
    value, inner = _value(value_text, parts, where)
    value = upgrade(value, where, tuple(parts))
    target: Any = document
    path: KeyPath = ()
    for part in parts[:-1]:
        path = (*path, _step(target, part, path, where))
        if isinstance(target, dict) and target.get(part) is None:
            target[part] = {}
        target = target[path[-1]]
    last = _step(target, parts[-1], path, where)
    path = (*path, last)
    old = target.get(last) if isinstance(target, dict) else target[last]
    if isinstance(old, Mapping) and isinstance(value, Mapping) and not _other_kind(old, value):
        value = merge(old, value, places, path)
    else:
        _forget(old, places, path)
    target[last] = value
    places.update({current_path((*path, *rest)): f"-o {shown(text)}" for rest in ((), *inner)})


def _value(text: str, parts: list[str], where: str) -> tuple[Any, list[KeyPath]]:
    """Parse the value of an override; that of a text key is taken as written, unless quoted."""
    text = text.strip()
    takes_text, optional = _takes_text(parts)
    if takes_text and text[:1] not in ("'", '"') and not (optional and text in _NULL):
        return text, []
    return yaml_file.parse_value(text, where)


def _takes_text(parts: list[str]) -> tuple[bool, bool]:
    """Return whether the key at a path takes any text, and whether it may be null."""
    if parts[:2] == ["model", "layers"]:  # of a layer's arguments only its name is any text
        return parts[-1] == "name" and len(parts) > 4, False
    kinds: tuple[Any, ...] = (Config,)
    for part in parts:
        section = next((one for one in kinds if hasattr(one, "model_fields")), None)
        if section is None or part not in section.model_fields:
            return False, False
        annotation = section.model_fields[part].annotation
        kinds = get_args(annotation) or (annotation,)
    return str in kinds or Path in kinds, type(None) in kinds


def _step(target: Any, part: str, path: KeyPath, where: str) -> str | int:
    """Return the key or number of the item `part` of `target`, which is at `path`."""
    at = ".".join(str(name) for name in path) or "the config"
    if isinstance(target, list):
        if part.isdecimal() and len(part) < 10 and int(part) < len(target):
            return int(part)
        has = f"has the items 0 to {len(target) - 1}" if target else "is an empty list"
        raise ConfigError(f"{where}: {at} {has}, so there is no item {brief(part)}")
    if not isinstance(target, dict):
        raise ConfigError(
            f"{where}: {at} is {brief(target)}, so it has no {brief(part)}. Give {at} as a whole."
        )
    if part.isdecimal():
        raise ConfigError(
            f"{where}: {at} is not given as a list, so there is no item {brief(part)}. "
            f"Give {at} as a whole."
        )
    return part


def _other_kind(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    return "kind" in old and "kind" in new and old["kind"] != new["kind"]


def _forget(old: object, places: Places, at: KeyPath) -> None:
    """Remove the keys inside a replaced value from `places`."""
    items = old.items() if isinstance(old, Mapping) else ()
    for key, inner in enumerate(old) if isinstance(old, list) else items:
        places.pop((*at, key), None)
        _forget(inner, places, (*at, key))
