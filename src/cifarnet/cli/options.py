"""Options shared by several commands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from cifarnet.choices import InputRange, Layout, OutputKind
from cifarnet.cli.power import power as power

if TYPE_CHECKING:
    from cifarnet.predictors import Preprocessing

overrides = click.option(
    "-o",
    "--override",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Set one key of the config, such as train.epochs=3. Repeatable.",
)
config_file = click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    metavar="CONFIG",
    help="A YAML file or the name of a shipped config (see `cifarnet config list`).",
)
data_path = click.option(
    "-o",
    "--override",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="data.path=FOLDER: where the images are now.",
)
allow_changed_data = click.option(
    "--allow-changed-data",
    is_flag=True,
    help="Use the run's images that are still there and unchanged, if others are not.",
)
output = click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Write the results here instead.",
)


def names(known: tuple[str, ...]) -> Callable[..., tuple[str, ...] | None]:
    """Make a callback that parses a comma-separated list of `known` names."""

    def parse(_: click.Context, __: click.Parameter, value: str | None) -> tuple[str, ...] | None:
        if value is None:
            return None
        found = tuple(dict.fromkeys(part.strip() for part in value.split(",")))
        for name in found:
            if name not in known:
                raise click.BadParameter(f"expected some of {', '.join(known)}, received {name!r}")
        return found

    return parse


def foreign(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that state what a foreign model file takes; see `preprocessing`."""
    options = [
        click.option(
            "--input-range",
            type=click.Choice(get_args(InputRange)),
            help="What pixels 0 to 255 become for a foreign file.",
        ),
        click.option(
            "--mean",
            callback=_channels,
            metavar="R,G,B",
            help="Then subtracted, in the input range.",
        ),
        click.option(
            "--std",
            callback=_channels,
            metavar="R,G,B",
            help="Then divided by, in the input range.",
        ),
        click.option(
            "--layout",
            type=click.Choice(get_args(Layout)),
            help="Order of a foreign file's input.",
        ),
        click.option(
            "--output-kind",
            type=click.Choice(get_args(OutputKind)),
            help="What it gives; probabilities also of independent sigmoids.",
        ),
        click.option("--output-name", metavar="NAME", help="Which of its outputs, if several."),
        click.option(
            "--image-size",
            type=click.IntRange(1),
            metavar="N",
            help="Side of its images, pixels, if it leaves it open.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def preprocessing(**stated: Any) -> Preprocessing:
    """Make a `Preprocessing` of the values of the options of `foreign`."""
    from cifarnet.predictors import Preprocessing

    return Preprocessing(**stated)


def _channels(
    context: click.Context, option: click.Parameter, value: str | None
) -> tuple[float, ...] | None:
    if value is None:
        return None
    try:
        numbers = tuple(float(part) for part in value.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) != 3 or (option.name == "std" and 0.0 in numbers):
        raise click.BadParameter(f"expected three numbers such as 0.49,0.48,0.45, received {value}")
    return numbers
