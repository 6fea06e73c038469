"""What may be meant by an argument that a command does not have."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click


@contextmanager
def added(context: click.Context) -> Iterator[None]:
    """Add to an error of the arguments how to give a config, or a key of it.

    Raises:
        click.UsageError: the error, with what may be meant.
    """
    try:
        yield
    except click.UsageError as error:
        said = _hint(error, context)
        if not said:
            raise
        raise click.UsageError(f"{error.message.rstrip('.')}. {said}", context) from error


def _hint(error: click.UsageError, context: click.Context) -> str:
    """Return what may be meant by an argument that a command does not have; empty: unknown."""
    options = {name for one in context.command.params for name in one.opts}
    if not options >= {"--config", "-o"}:
        return ""
    if isinstance(error, click.NoSuchOption):
        return _key(error.option_name.lstrip("-").replace("-", "_"))
    extra = re.search(r"unexpected extra arguments? \(([^\s)]+)", error.message)
    if extra is None:
        return ""
    if "=" in extra[1]:
        return f"Did you mean -o {extra[1]}?"
    if any(context.params.get(name) for name in ("config_file", "resume")):
        return ""
    option = "--resume" if "--resume" in options and Path(extra[1]).is_dir() else "--config"
    return f"Did you mean {option} {extra[1]}?"


def _key(name: str) -> str:
    """Say how to give a key of the config, by its last part or the initials of that."""
    from cifarnet import config

    keys = [key for key, _ in config.leaves(config.data_only())]
    lasts = {key: key.rpartition(".")[2] for key in keys}
    found = [key for key in keys if lasts[key] == name] or [
        key for key in keys if "".join(part[0] for part in lasts[key].split("_")) == name
    ]
    return f"Did you mean {' or '.join(f'-o {key}=VALUE' for key in found)}?" if found else ""
