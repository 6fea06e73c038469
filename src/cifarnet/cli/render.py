"""What every command shares: `--json`, `--debug`, errors, exit codes, and where text goes."""

from __future__ import annotations

import errno
import io
import json
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import click

from cifarnet.callbacks import Callback
from cifarnet.errors import CifarnetError, Interrupted
from cifarnet.formatting import percent

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from cifarnet.callbacks.display import ProgressDisplay
    from cifarnet.runs import Export
    from cifarnet.runs.documents import Record

_JSON = "cifarnet.json"
_DEBUG = "cifarnet.debug"


def _flag(names: list[str], key: str, text: str) -> click.Option:
    def remember(context: click.Context, _: click.Parameter, value: bool) -> None:
        context.meta[key] = value or context.meta.get(key, False)

    return click.Option(names, is_flag=True, expose_value=False, callback=remember, help=text)


class Command(click.Command):
    """A command whose function returns its result as a JSON-able document."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Add the options every command has."""
        super().__init__(*args, **kwargs)
        self.params += [
            _flag(["--json"], _JSON, "Print the result as one JSON document."),
            _flag(["--debug"], _DEBUG, "Show the traceback of an error."),
        ]

    def invoke(self, context: click.Context) -> None:
        """Run; print the document under `--json`; turn errors into exit codes."""
        if isinstance(sys.stdout, io.TextIOWrapper):  # a file's name may be no text at all
            sys.stdout.reconfigure(errors="backslashreplace")
        try:
            document = super().invoke(context)
        except CifarnetError as error:
            _fail(context, str(error), type(error).__name__, error.exit_code)
        except KeyboardInterrupt:
            _fail(context, "by Ctrl-C", "Interrupted", Interrupted.exit_code)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise  # click ends quietly when the reader of a pipe has gone
            text = f"the system refused: {error}. Make room or check the permissions."
            _fail(context, text, type(error).__name__, 1)
        except Exception as error:
            text = f"unexpected {type(error).__name__}: {error}. --debug shows where."
            _fail(context, text, type(error).__name__, 1)
        if context.meta.get(_JSON):
            click.echo(json.dumps(document, indent=2))


class Group(click.Group):
    """A group that lists its commands in the order they were added."""

    command_class = Command

    def list_commands(self, context: click.Context) -> list[str]:
        """Return the names, in the order of use."""
        return list(self.commands)


def _fail(context: click.Context, message: str, kind: str, code: int) -> NoReturn:
    if context.meta.get(_DEBUG):
        traceback.print_exc()
    label, color = ("Stopped: ", "yellow") if code == Interrupted.exit_code else ("Error: ", "red")
    click.secho(label, fg=color, bold=True, err=True, nl=False)
    click.echo(message, err=True)
    if context.meta.get(_JSON):
        click.echo(json.dumps({"error": message, "kind": kind, "exit_code": code}, indent=2))
    context.exit(code)


def console() -> Console:
    """Return the console for people: standard output, or standard error under `--json`."""
    from rich.console import Console

    context = click.get_current_context()
    stderr = bool(context.meta.get(_JSON))
    stream = sys.stderr if stderr else sys.stdout
    # A pipe or a file has no width; 100 keeps paths and tables whole.
    width = None if stream.isatty() else 100
    return Console(stderr=stderr, highlight=False, soft_wrap=True, width=width)


@contextmanager
def display() -> Iterator[ProgressDisplay]:
    """Show the progress of a job on the console; a context, so that the live line ends with it."""
    from cifarnet.callbacks.display import ProgressDisplay

    shown = ProgressDisplay(console())
    try:
        yield shown
    finally:
        shown.close()


class WhenMeasured(Callback):
    """Show a result as soon as it is measured: it may be impossible to write it."""

    def __init__(self, show: Callable[[Any], None]) -> None:
        self._show = show

    def on_result(self, record: Record) -> None:
        """Show the result."""
        self._show(record)


def load_tensorflow() -> None:
    """Import TensorFlow while a status line says so."""
    with console().status("loading TensorFlow"):
        from cifarnet import backend

        backend.initialize_devices()


def parity_table(exports: list[Export]) -> Table:
    """Make a table of artifacts and their parity with the Keras model."""
    from rich.table import Table

    table = Table("artifact", "runtime")
    for heading in ("kB", "zipped", "difference", "agrees", "accuracy", "Keras'"):
        table.add_column(heading, justify="right")
    for one in exports:
        parity = one.parity
        difference = parity.max_difference
        table.add_row(
            one.name,
            parity.runtime,
            f"{one.bytes / 1000:,.0f}",
            f"{one.compressed_bytes / 1000:,.0f}",
            "-" if difference is None else f"{difference:.1e}",
            percent(parity.agreement),
            percent(parity.accuracy),
            percent(parity.reference_accuracy),
        )
    images = {(one.parity.images, one.parity.split) for one in exports}
    table.caption = "on " + ", ".join(f"{count:,} {split} images" for count, split in images)
    return table
