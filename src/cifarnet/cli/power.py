"""The options `--watts` and `--grid`: what the user knows of the machine's electricity."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from cifarnet.errors import ConfigError

if TYPE_CHECKING:
    from cifarnet.cost import Power


def power(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--watts` and `--grid`; the command receives them as `power`, a `Power` or None."""

    @functools.wraps(command)
    def with_power(*args: Any, watts: Any, grid: Any, **kwargs: Any) -> Any:
        stated = None if watts is None and grid is None else _power(watts=watts, grams_per_kwh=grid)
        return command(*args, power=stated, **kwargs)

    grid = click.option(
        "--grid",
        type=float,
        callback=_grid,
        metavar="G_PER_KWH",
        help="Grams of CO2-equivalent per kWh of your electricity, for the record's cost.",
    )
    watts = click.option(
        "--watts",
        callback=_watts,
        metavar="LOW:HIGH",
        help="Power of this machine while it works, for the record's cost.",
    )
    return watts(grid(with_power))


def _watts(_: click.Context, __: click.Parameter, value: str | None) -> tuple[float, float] | None:
    if value is None:
        return None
    try:
        low, high = map(float, value.split(":"))
    except ValueError as error:
        raise click.BadParameter(
            f"expected the lowest and the highest power such as 60:90, received {value!r}"
        ) from error
    return _power(watts=(low, high)).watts


def _grid(_: click.Context, __: click.Parameter, value: float | None) -> float | None:
    return None if value is None else _power(grams_per_kwh=value).grams_per_kwh


def _power(**stated: Any) -> Power:
    from cifarnet.cost import Power

    try:
        return Power(**stated)
    except ConfigError as error:
        raise click.BadParameter(str(error)) from error
