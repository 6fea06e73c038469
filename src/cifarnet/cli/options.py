"""Options shared by several commands."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import click

from cifarnet.cli.foreign import foreign as foreign
from cifarnet.cli.power import power as power

if TYPE_CHECKING:
    from cifarnet.cost import Power
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


class Common(TypedDict):
    """Arguments of every library function that measures a run or a model file."""

    preprocessing: Preprocessing
    overrides: tuple[str, ...]
    allow_changed_data: bool
    output: Path | None
    power: Power | None


def measuring(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options for `Common`; the command receives them as `common`."""

    @functools.wraps(command)
    def with_common(*args: Any, **values: Any) -> Any:
        common = {name: values.pop(name) for name in Common.__annotations__}
        return command(*args, common=common, **values)

    made: Callable[..., Any] = with_common
    for add in (power, foreign, output, allow_changed_data, data_path):
        made = add(made)
    return made
