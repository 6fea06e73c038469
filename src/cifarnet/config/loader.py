"""Read YAML files, their bases and overrides into one validated `Config`."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pydantic

from cifarnet.config import messages, yaml_file
from cifarnet.config.overrides import Places, apply_override, merge
from cifarnet.config.renamed_keys import current_path, upgrade
from cifarnet.config.schema import Config
from cifarnet.config.shipped import advice, shipped_path
from cifarnet.config.text import describe
from cifarnet.config.yaml_file import Document
from cifarnet.errors import ConfigError

_MAX_BASES = 20


def load(name_or_path: Path | str, overrides: Iterable[str] = ()) -> Config:
    """Read a config with its bases and overrides.

    Args:
        name_or_path: a YAML file, or the name of a shipped config such as `article`. A file of
            that name comes first. `base:` in a file takes the same; its paths and `data.path` are
            relative to the folder of the file.
        overrides: strings `dotted.key=value`, each value YAML, applied in order. List items are
            addressed by number, as in `model.layers.0.Conv2D.filters=16`; a mapping is merged
            into the existing one. `data.path` is relative to the current directory.

    Returns:
        The config, with every default filled in.

    Raises:
        ConfigError: with the file, line and dotted key, and what was expected and received.

    Example:
        >>> config = cifarnet.load_config("article", ["train.epochs=3", "seed=1"])
        >>> config.train.epochs
        3.0
    """
    if not isinstance(name_or_path, str | Path):
        raise ConfigError(
            "expected the name of a shipped config or a path, received "
            f"{type(name_or_path).__name__}"
        )
    if isinstance(overrides, str):
        raise ConfigError(f"overrides: expected a list of texts, received the text {overrides!r}")
    places: Places = {}
    document = _read(Path(name_or_path), places, ())
    for text in overrides:
        apply_override(document, text, places)
    document.setdefault("name", _run_name(Path(name_or_path)))
    return _validate(document, str(name_or_path), places)


def parse(document: Mapping[str, Any], where: str = "config") -> Config:
    """Validate a plain mapping as `load` does a file; `where` names it in errors.

    Raises:
        ConfigError: with the dotted key, and what was expected and received.
    """
    return _validate(dict(upgrade(document, where)), where, {})


def override(config: Config, overrides: Iterable[str]) -> Config:
    """Return a config with overrides, applied as `load` applies them.

    Raises:
        ConfigError: an override is wrong, or the config with them is.
    """
    document = config.model_dump(mode="json")
    places: Places = {}
    for text in overrides:
        apply_override(document, text, places)
    return _validate(document, config.name, places)


def data_only(overrides: Iterable[str] = ()) -> Config:
    """Return the default config, CIFAR-10, for work that trains no network.

    Raises:
        ConfigError: an override is wrong.
    """
    document: Document = {
        "model": {"layers": ["Flatten"]},
        "train": {"epochs": 1, "learning_rate": 1},
    }
    places: Places = {}
    for text in overrides:
        apply_override(document, text, places)
    return _validate(document, "config", places)


def dump(config: Config) -> str:
    """Return the whole config as YAML that `load` reads back equal."""
    return yaml_file.dump(config.model_dump(mode="json"))


def changes(old: Config, new: Config) -> dict[str, tuple[Any, Any]]:
    """Return the old and new value of every key that differs, by its dotted name.

    A list counts as one value.
    """
    before, after = dict(leaves(old)), dict(leaves(new))
    return {
        key: (before.get(key), after.get(key))
        for key in {**before, **after}
        if before.get(key) != after.get(key)
    }


def leaves(config: Config) -> Iterator[tuple[str, object]]:
    """Yield every key by its dotted name, with its JSON-able value; a list counts as one value."""
    return _leaves(config.model_dump(mode="json"), ())


def _leaves(value: Any, at: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(inner, (*at, key))
    else:
        yield ".".join(at), value


def _run_name(path: Path) -> str:
    """Return a file's name without its suffix as a `name` can be: `my net.yaml` gives `my-net`."""
    text = unicodedata.normalize("NFKD", path.stem).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).lstrip("._-")[:64].rstrip("-") or "run"


def _read(path: Path, places: Places, chain: tuple[Path, ...]) -> Document:
    """Read one file and merge it over its base.

    Args:
        path: the file, or the bare name of a shipped config in any folder.
        places: receives where each key was written.
        chain: the files whose `base:` lines led to this one, in order.
    """
    path, document, own_places = _read_file(path, chain[-1] if chain else None)
    if path.resolve() in [earlier.resolve() for earlier in chain]:
        loop = " -> ".join(str(file) for file in (*chain, path))
        raise ConfigError(f"base files form a circle: {loop}. Remove one `base:` line.")
    if len(chain) > _MAX_BASES:
        raise ConfigError(
            f"{path}: more than {_MAX_BASES} bases in a row. Merge some of the files."
        )
    base = document.pop("base", None)
    merged: Document = {}
    if base is not None:
        if not isinstance(base, str) or not base.strip():
            place = own_places["base",]
            raise ConfigError(
                f"{place}: base: expected a file or the name of a shipped config, "
                f"received {describe(base)}"
            )
        merged = _read(path.parent / base, places, (*chain, path))
    _resolve_data_path(document, path.parent)
    merged = merge(merged, document, places)
    places.update(own_places)
    return merged


def _read_file(
    path: Path, requested_by: Path | None
) -> tuple[Path, dict[Any, Any], dict[yaml_file.KeyPath, str]]:
    """Return the file that a path or name stands for, its document and the place of each key."""
    try:
        document, places = yaml_file.read(path)
    except FileNotFoundError as error:
        found = shipped_path(path.name)
        if found is None or not _is_name(path, requested_by):
            raise ConfigError(_missing(path, requested_by)) from error
        path = found
        document, places = yaml_file.read(path)
    document = upgrade(document, str(path), places=places)
    return path, document, {current_path(key): place for key, place in places.items()}


def _is_name(path: Path, requested_by: Path | None) -> bool:
    """Return whether a path may be the name of a shipped config: no folder, no suffix."""
    folder = requested_by.parent if requested_by else Path()
    return path.parent == folder and not path.suffix


def _resolve_data_path(document: Document, folder: Path) -> None:
    """Make a relative `data.path` relative to the folder of the file that states it."""
    data = document.get("data")
    stated = data.get("path") if isinstance(data, dict) else None
    if isinstance(stated, str) and stated.strip() and not stated.startswith("~"):
        document["data"] = {**data, "path": str(folder / stated)}  # type: ignore[dict-item]


def _missing(path: Path, requested_by: Path | None) -> str:
    message = f"there is no config file {path}"
    if requested_by is not None:
        message += f", which {requested_by} names as its base"
    files = sorted(
        file.name for file in path.parent.glob("*.yaml") if not file.name.endswith(".sweep.yaml")
    )
    if _is_name(path, requested_by):
        near = [name for name in files if name == f"{path.name}.yaml"]
    else:
        near = difflib.get_close_matches(path.name, files, n=1)
    if near:
        return f"{message}. In {path.parent} there is: {near[0]}"
    here = f". In {path.parent} there is: {', '.join(files[:10])}" if files else ""
    known = f"Give a YAML file or the name of a shipped config. {advice(path.stem)}"
    return f"{message}. {known}{here}"


def _validate(document: Document, where: str, places: Places) -> Config:
    try:
        try:
            return Config.model_validate(document)
        except pydantic.ValidationError as error:
            found = [f"  {line}" for line in messages.lines(error, document, places)]
            raise ConfigError("\n".join([f"{where} is not a valid config:", *found])) from error
    except RecursionError as error:
        raise ConfigError(f"{where} is nested too deeply to be a config") from error
