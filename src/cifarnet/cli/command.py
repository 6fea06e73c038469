"""What every command has: `--runs`, `--json`, `--debug`, errors and exit codes."""

from __future__ import annotations

import errno
import json
import os
import sys
import traceback
from typing import Any, NoReturn

import click

from cifarnet.cli import hints, streams
from cifarnet.errors import CifarnetError, Interrupted, JsonObject
from cifarnet.formatting import printable_lines

JSON = "cifarnet.json"  # in the meta data of a context
RESULT = "cifarnet.result"  # the document of a result that misses a requirement
_DEBUG = "cifarnet.debug"
_DOCUMENT = "cifarnet.document"  # whether standard output has the result, not a description of it


def _flag(names: list[str], key: str, text: str) -> click.Option:
    def remember(context: click.Context, _: click.Parameter, value: bool) -> None:
        context.meta[key] = value or context.meta.get(key, False)

    return click.Option(names, is_flag=True, expose_value=False, callback=remember, help=text)


def _choose_runs(_: click.Context, __: click.Parameter, folder: str | None) -> None:
    if folder:
        os.environ["CIFARNET_RUNS"] = folder


class Integer(click.IntRange):
    """An integer within bounds; an error calls it that, where click says `integer range`."""

    name = "integer"


class Command(click.Command):
    """A command whose function returns its result as a JSON-able document."""

    def __init__(self, *args: Any, runs_alone: bool = False, **kwargs: Any) -> None:
        """Add the options every command has; with `runs_alone`, `--runs` needs no value."""
        super().__init__(*args, **kwargs)
        without_value: Any = {"is_flag": False, "flag_value": ""} if runs_alone else {}
        self.params += [
            click.Option(
                ["--runs"],
                metavar="DIR",
                expose_value=False,
                callback=_choose_runs,
                help="Folder of runs; default: the variable CIFARNET_RUNS, or runs.",
                **without_value,
            ),
            _flag(["--json"], JSON, "Print the result as one JSON document."),
            _flag(["--debug"], _DEBUG, "Show the traceback of an error."),
        ]

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        """Parse; say how to give a config, or a key of it, that was taken for something else."""
        with hints.added(context):
            return super().parse_args(context, args)

    def invoke(self, context: click.Context) -> None:
        """Run; print the document under `--json`; turn errors into exit codes."""
        from cifarnet import system  # not for `--help`

        try:
            with system.lenient():
                document = super().invoke(context)
        except CifarnetError as error:
            _fail(context, str(error), type(error).__name__, error.exit_code, error.details())
        except KeyboardInterrupt as error:
            _fail(context, str(error) or "by Ctrl-C", "Interrupted", Interrupted.exit_code)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except OSError as error:
            text = f"the system refused: {error}. Make room or check the permissions."
            _fail(context, text, type(error).__name__, 1)
        except Exception as error:
            text = f"unexpected {type(error).__name__}: {error}. --debug shows where."
            _fail(context, text, type(error).__name__, 1)
        if context.meta.get(JSON):
            context.meta[_DOCUMENT] = True
            click.echo(json.dumps(document, indent=2))
        _check_output(context)


class Group(click.Group):
    """A group that lists its commands in the order they were added."""

    command_class = Command

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run a command whose displays cannot end it."""
        streams.protect()
        return super().main(*args, **kwargs)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands with their whole first line, which click cuts at 45 characters."""
        rows = [
            (name, one.get_short_help_str(limit=sys.maxsize)) for name, one in self.commands.items()
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def list_commands(self, context: click.Context) -> list[str]:
        """Return the names, in the order of use."""
        return list(self.commands)


def _fail(
    context: click.Context, message: str, kind: str, code: int, details: JsonObject | None = None
) -> NoReturn:
    if context.meta.get(_DEBUG):
        traceback.print_exc()
    label, color = ("Stopped: ", "yellow") if code == Interrupted.exit_code else ("Error: ", "red")
    click.secho(label, fg=color, bold=True, err=True, nl=False)
    click.echo(printable_lines(message), err=True)
    if context.meta.get(JSON):
        document = {"error": message, "kind": kind, "exit_code": code, **(details or {})}
        if RESULT in context.meta:
            document["result"] = context.meta[RESULT]
        click.echo(json.dumps(document, indent=2))
    context.exit(code)


def _check_output(context: click.Context) -> None:
    """Fail if standard output lost a document; note it if it lost what people read.

    A reader that has seen enough, as `head` has, is no loss.
    """
    error = streams.output_error()
    if error is None or (error.errno == errno.EPIPE and not context.meta.get(JSON)):
        return
    text = f"standard output cannot be written: {error.strerror}"
    if context.meta.get(_DOCUMENT):
        _fail(context, f"{text}. Its document is lost.", type(error).__name__, 1)
    if error.errno != errno.EBADF:  # closed by the user
        click.echo(f"note: {text}", err=True)


def print_document(text: str) -> None:
    """Print a text that is the command's result: an error if it cannot be written."""
    context = click.get_current_context()
    context.meta[_DOCUMENT] = True
    click.echo(text, nl=False, err=bool(context.meta.get(JSON)))
