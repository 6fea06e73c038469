"""The option `--require`: what must hold of the result of a command."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from cifarnet.callbacks import Callback
from cifarnet.cli.command import RESULT
from cifarnet.errors import JsonObject

if TYPE_CHECKING:
    from cifarnet.runs.documents import Record


def require(metavar: str, what: str = "this holds") -> Callable[..., Any]:
    """Make the option; the command receives its texts as `required`."""
    return click.option(
        "--require",
        "required",
        multiple=True,
        metavar=metavar,
        help=f"Exit with 3 unless {what}; repeatable.",
    )


def parse(required: Sequence[str], *kinds: type[Record]) -> None:
    """Check the form of requirements on these records, before the work that makes them.

    Raises:
        ConfigError: as for `requirements.parse`.
    """
    from cifarnet import requirements

    for text in required:
        requirements.parse(text, *kinds)


class Measured(Callback):
    """Refuse a result without the numbers that are required, before it is written."""

    def __init__(self, required: Sequence[str]) -> None:
        self._required = required

    def on_result(self, record: Record) -> None:
        """Refuse it.

        Raises:
            ConfigError: as for `requirements.measured_value`.
        """
        from cifarnet import requirements

        for text in self._required:
            requirements.measured_value(text, record)


def check(required: Sequence[str], document: JsonObject, *records: Record) -> None:
    """Check requirements; an error has `document`, the result, under `--json`.

    Raises:
        GateError, ConfigError: as for `requirements.check`.
    """
    from cifarnet import requirements

    click.get_current_context().meta[RESULT] = document
    for text in required:
        requirements.check(text, *records)
