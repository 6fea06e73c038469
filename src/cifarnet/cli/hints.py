"""What may be meant by an argument that a command does not have."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

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
        hint = _hint(error, {name for one in context.command.params for name in one.opts})
        if not hint:
            raise
        raise click.UsageError(error.format_message() + hint, context) from error


def _hint(error: click.UsageError, options: set[str]) -> str:
    """Return what may be meant by an argument that a command does not have; empty: unknown."""
    if not options >= {"--config", "-o"}:
        return ""
    if isinstance(error, click.NoSuchOption):
        from cifarnet import config

        name = error.option_name.lstrip("-").replace("-", "_")
        known = [key for key, _ in config.leaves(config.data_only())]
        keys = [key for key in known if key.rpartition(".")[2] == name]
        return f" Did you mean {' or '.join(f'-o {key}=VALUE' for key in keys)}?" if keys else ""
    extra = re.search(r"unexpected extra arguments? \((\S+)", error.message)
    return f". Did you mean --config {extra[1].rstrip(')')}?" if extra else ""
