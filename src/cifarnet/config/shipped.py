"""The configs that come with the package: find, describe and copy them."""

from __future__ import annotations

import difflib
import importlib.resources
import itertools
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from cifarnet.config.text import shown
from cifarnet.errors import ConfigError

_LABELS = ("accuracy", "time", "measured")


@dataclass(frozen=True)
class ShippedConfig:
    """A config of the package, as its opening comment describes it.

    Attributes:
        name: what `--config`, `base:` and `load` take.
        purpose: what the config is for.
        commands: how to train and evaluate it.
        accuracy: on which images, with which seeds.
        time: of training.
        measured: the processor, precision and versions of both.
        path: the file.
    """

    name: str
    purpose: str
    commands: tuple[str, ...]
    accuracy: str
    time: str
    measured: str
    path: Path


def shipped() -> tuple[ShippedConfig, ...]:
    """Return the configs of the package by name.

    Example:
        >>> [one.name for one in config.shipped()][:2]
        ['airbench94', 'article']
    """
    return tuple(_read(_folder() / f"{name}.yaml") for name in shipped_names())


def shipped_names() -> list[str]:
    """Return the names of the configs of the package, sorted."""
    return sorted(path.stem for path in _folder().glob("*.yaml"))


def shipped_path(name: str) -> Path | None:
    """Return the file of a shipped config, or None if there is none of that name."""
    return _folder() / f"{name}.yaml" if name in shipped_names() else None


def copy_shipped(name: str, target: Path | str | None = None) -> Path:
    """Write a shipped config to a file, to be edited.

    Args:
        name: of the shipped config.
        target: the file; by default `<name>.yaml` in the current directory.

    Returns:
        The file written.

    Raises:
        ConfigError: there is no such config, the file exists, or it cannot be written.

    Example:
        >>> config.copy_shipped("article", "my.yaml")
        PosixPath('my.yaml')
    """
    source = shipped_path(name)
    if source is None:
        raise ConfigError(f"there is no shipped config {shown(name)}. {advice(name)}")
    path = Path(f"{name}.yaml") if target is None else Path(target)
    text = _standalone(source.read_text(encoding="utf-8"), name, str(path))
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise ConfigError(
            f"{path} exists already and is not overwritten. Give another file: "
            f"cifarnet config copy {name} FILE"
        ) from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot write {str(path)!r}: {error}. Give another file.") from error
    return path


def advice(name: str) -> str:
    """Return the advice of an error message: the shipped config nearest to `name`, and all."""
    names = shipped_names()
    near = difflib.get_close_matches(name, names, n=1)
    suggestion = f"Did you mean {near[0]!r}? " if near else ""
    return f"{suggestion}Shipped configs: {', '.join(names)}"


def _folder() -> Path:
    """Return the folder of the shipped configs.

    The build maps the checkout's `configs/` into the package; an editable installation and a
    checkout on Python's path read it where it is.
    """
    package = Path(str(importlib.resources.files("cifarnet")))
    installed = package / "configs"
    return installed if installed.is_dir() else package.parents[1] / "configs"


def _standalone(text: str, name: str, path: str) -> str:
    """Return a shipped config for another folder: no relative schema, its own file in commands."""
    text = text.removeprefix("# yaml-language-server: $schema=schema.json\n")
    own = shlex.quote(path) if path.isprintable() else name
    return re.sub(rf"--config {name}$", lambda _: f"--config {own}", text, flags=re.MULTILINE)


def _read(path: Path) -> ShippedConfig:
    lines = itertools.takewhile(
        lambda line: line.startswith("#"), path.read_text(encoding="utf-8").splitlines()
    )
    comment = "\n".join(line[1:].removeprefix(" ") for line in lines if "$schema=" not in line)
    purpose, commands, results, *_ = comment.split("\n\n")
    values = re.split(r"^(\w+): ", results, flags=re.MULTILINE)
    found = {
        key.lower(): _joined(value) for key, value in zip(values[1::2], values[2::2], strict=True)
    }
    return ShippedConfig(
        name=path.stem,
        purpose=_joined(purpose),
        commands=tuple(line.strip() for line in commands.splitlines()),
        path=path,
        **{key: found[key] for key in _LABELS},
    )


def _joined(text: str) -> str:
    return " ".join(text.split())
