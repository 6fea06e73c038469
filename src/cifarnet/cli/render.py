"""What every command shares: `--json`, `--debug`, errors, exit codes, and where text goes."""

from __future__ import annotations

import errno
import io
import json
import sys
import traceback
from typing import TYPE_CHECKING, Any, NoReturn

import click

from cifarnet import system
from cifarnet.errors import CifarnetError, Interrupted

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

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
        """The names, in the order of use."""
        return list(self.commands)


def _fail(context: click.Context, message: str, kind: str, code: int) -> NoReturn:
    if context.meta.get(_DEBUG):
        traceback.print_exc()
    label, colour = ("Stopped: ", "yellow") if code == Interrupted.exit_code else ("Error: ", "red")
    click.secho(label, fg=colour, bold=True, err=True, nl=False)
    click.echo(message, err=True)
    if context.meta.get(_JSON):
        click.echo(json.dumps({"error": message, "kind": kind, "exit_code": code}, indent=2))
    context.exit(code)


def console() -> Console:
    """Where text for people goes: standard output, or standard error under `--json`."""
    from rich.console import Console

    context = click.get_current_context()
    stderr = bool(context.meta.get(_JSON))
    stream = sys.stderr if stderr else sys.stdout
    # A pipe or a file has no width; 100 keeps paths and tables whole.
    width = None if stream.isatty() else 100
    return Console(stderr=stderr, highlight=False, soft_wrap=True, width=width)


def load_tensorflow(screen: Console) -> None:
    """Import TensorFlow and find its devices, without its start-up notices.

    They come from C++ before any logging is set up, so no setting turns them off. Python's
    own errors still come through as exceptions. Keras imports what it finds of three packages
    for parts of it that are not used here, which took 1.5 s of 5; they are hidden meanwhile.
    """
    hidden = [name for name in ("matplotlib", "pandas", "sklearn") if name not in sys.modules]
    with screen.status("loading TensorFlow"), system.quiet():
        sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
        try:
            import tensorflow as tf

            tf.config.list_logical_devices()
        finally:
            for name in hidden:
                del sys.modules[name]


def facts(rows: list[tuple[str, str]]) -> str:
    """Lines of `label  value`, aligned."""
    width = max(len(label) for label, _ in rows)
    return "\n".join(f"{label.ljust(width)}  {value}" for label, value in rows)


def proofs(exports: list[dict[str, Any]]) -> Table:
    """A table of artifacts and what was proven of each, from `rundir.exports`."""
    from rich.table import Table

    table = Table("artifact", "runtime")
    for heading in ("kB", "zipped", "difference", "agrees", "accuracy", "Keras'"):
        table.add_column(heading, justify="right")
    for one in exports:
        proof = one["proof"]
        table.add_row(
            one["name"],
            proof["runtime"],
            f"{one['bytes'] / 1000:,.0f}",
            f"{one['compressed_bytes'] / 1000:,.0f}",
            f"{proof['largest_difference']:.1e}",
            percent(proof["agreement"]),
            percent(proof["accuracy"]),
            percent(proof["reference_accuracy"]),
        )
    images = {(one["proof"]["images"], one["proof"]["split"]) for one in exports}
    table.caption = "on " + ", ".join(f"{count:,} {split} images" for count, split in images)
    return table


def duration(seconds: float) -> str:
    """Seconds as a person says them: `8.4 s`, `3 min 20 s`, `1 h 05 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60} h {minutes % 60:02} min"


def percent(value: float | None) -> str:
    """A share as a percentage with two decimals; `-` for None."""
    return "-" if value is None else f"{100 * value:.2f} %"


override_option = click.option(
    "-o",
    "--override",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Set one key of the config, such as train.epochs=3; may be given often.",
)
