"""YAML files, their bases and overrides -> one checked `Config`, or a clear error."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pydantic

from cifarnet.config import messages, yaml_file
from cifarnet.config.overrides import Places, merge, override
from cifarnet.config.schema import Config
from cifarnet.config.yaml_file import describe
from cifarnet.errors import ConfigError

_MOST_BASES = 20


def load(path: Path | str, overrides: Iterable[str] = ()) -> Config:
    """Read a YAML config, its bases and the overrides.

    Args:
        path: the YAML file. `base: other.yaml` and `data.path` in it are relative to its folder.
        overrides: `dotted.key=value` texts, each value YAML; list items by number, as in
            `model.layers.0.Conv2D.filters=16`. A mapping adds to the one that is there. Applied
            in order. A `data.path` in one is relative to the current directory.

    Raises:
        ConfigError: naming the file, line and dotted key, what was expected and received.
    """
    places: Places = {}
    document = _read(Path(path), places, ())
    for text in overrides:
        override(document, text, places)
    return _validate(document, str(path), places)


def parse(document: Mapping[str, Any], where: str = "config") -> Config:
    """Check a plain mapping, as `load` does for a file; `where` names it in errors.

    Raises:
        ConfigError: naming the dotted key, what was expected and received.
    """
    return _validate(dict(document), where, {})


def of_data(overrides: Iterable[str] = ()) -> Config:
    """The defaults, CIFAR-10, for work that needs no network: looking at data, a lone file.

    Raises:
        ConfigError: an override that is wrong.
    """
    document: dict[str, Any] = {
        "model": {"layers": ["Flatten"]},
        "train": {"epochs": 1, "learning_rate": 1},
    }
    places: Places = {}
    for text in overrides:
        override(document, text, places)
    return _validate(document, "config", places)


def dump(config: Config) -> str:
    """The whole config as YAML that `load` reads back to an equal `Config`."""
    return yaml_file.text(config.model_dump(mode="json"))


def changes(old: Config, new: Config) -> dict[str, tuple[Any, Any]]:
    """The old and new value of every key that differs, by its dotted name.

    Lists count as one value.
    """
    before, after = (dict(_leaves(one.model_dump(mode="json"), ())) for one in (old, new))
    return {
        key: (before.get(key), after.get(key))
        for key in {**before, **after}
        if before.get(key) != after.get(key)
    }


def _leaves(value: Any, at: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(inner, (*at, key))
    else:
        yield ".".join(at), value


def _read(path: Path, places: Places, chain: tuple[Path, ...]) -> dict[str, Any]:
    """One file merged over its base; `places` receives where each key was written.

    `chain` holds the files that, each from the one before, asked for this one as their base.
    """
    try:
        document, own_places = yaml_file.read(path)
    except FileNotFoundError as error:
        raise ConfigError(_missing(path, chain[-1] if chain else None)) from error
    if path.resolve() in [asked.resolve() for asked in chain]:
        loop = " -> ".join(str(asked) for asked in (*chain, path))
        raise ConfigError(f"base files form a circle: {loop}. Remove one `base:` line.")
    if len(chain) > _MOST_BASES:
        raise ConfigError(f"{path}: more than {_MOST_BASES} bases on end. Join some of the files.")
    base = document.pop("base", None)
    merged: dict[str, Any] = {}
    if base is not None:
        if not isinstance(base, str) or not base.strip():
            place = own_places["base",]
            raise ConfigError(f"{place}: base: expected a file name, received {describe(base)}")
        merged = _read(path.parent / base, places, (*chain, path))
    _from_folder(document, path.parent)
    merged = merge(merged, document, places)
    places.update(own_places)
    return merged


def _from_folder(document: dict[str, Any], folder: Path) -> None:
    """Make a relative `data.path` start at the folder of the file that states it."""
    data = document.get("data")
    stated = data.get("path") if isinstance(data, dict) else None
    if isinstance(stated, str) and stated.strip() and not stated.startswith("~"):
        document["data"] = {**data, "path": str(folder / stated)}  # type: ignore[dict-item]


def _missing(path: Path, asked_by: Path | None) -> str:
    message = f"there is no config file {path}"
    if asked_by is not None:
        message += f", which {asked_by} names as its base"
    folder = path.parent
    known = sorted(p.name for p in folder.glob("*.yaml")) if folder.is_dir() else []
    near = difflib.get_close_matches(path.name, known, n=1) or known[:10]
    if near:
        return f"{message}. In {folder} there is: {', '.join(near)}"
    return f"{message}. Give the path of a YAML file, such as configs/article.yaml"


def _validate(document: dict[str, Any], where: str, places: Places) -> Config:
    try:
        try:
            return Config.model_validate(document)
        except pydantic.ValidationError as error:
            found = [f"  {line}" for line in messages.lines(error, document, places)]
            raise ConfigError("\n".join([f"{where} is not a valid config:", *found])) from error
    except RecursionError as error:
        raise ConfigError(f"{where} is nested too deeply to be a config") from error
