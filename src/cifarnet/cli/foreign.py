"""The options that state what a foreign model file takes and gives."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, get_args

import click

from cifarnet.choices import InputRange, Layout, OutputKind
from cifarnet.cli.command import Integer

_NAMES = (
    *("input_range", "mean", "std", "layout"),
    *("output_kind", "output_name", "image_size"),
)


def foreign(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that state what a foreign model file takes.

    The command receives them as `preprocessing`, a `Preprocessing`.
    """

    @functools.wraps(command)
    def with_preprocessing(*args: Any, **values: Any) -> Any:
        from cifarnet.predictors import Preprocessing

        stated = Preprocessing(**{name: values.pop(name) for name in _NAMES})
        return command(*args, preprocessing=stated, **values)

    made: Callable[..., Any] = with_preprocessing
    for option in reversed(_options()):
        made = option(made)
    return made


def _options() -> list[Callable[..., Any]]:
    return [
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
            type=Integer(1),
            metavar="N",
            help="Side of its images, pixels, if it leaves it open.",
        ),
    ]


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
