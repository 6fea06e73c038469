"""What `cifarnet evaluate --robustness` takes."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any, NamedTuple

import click

_DEFAULT_SECONDS = 120.0
_UNITS = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600}


class Wanted(NamedTuple):
    """Arguments of `cifarnet.evaluate_robustness`."""

    budget: float | None
    cifar10c: Path | None
    ood: Path | None


def _seconds(_: click.Context, __: click.Parameter, value: str | None) -> float | None:
    if value is None:
        return None
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(|s|m|min|h)\s*", value)
    seconds = float(match[1]) * _UNITS[match[2]] if match else 0.0
    if not 0 < seconds < math.inf:
        raise click.BadParameter(f"expected a time such as 90, 90s or 2min, received {value}")
    return seconds


def options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a robustness evaluation; see `wanted`."""
    folder = click.Path(path_type=Path)
    made = [
        click.option(
            "--robustness",
            is_flag=True,
            help="Also measure accuracy on corrupted and attacked test images.",
        ),
        click.option(
            "--budget",
            callback=_seconds,
            metavar="TIME",
            help=f"Time for --robustness, such as 90s or 2min; default: {_DEFAULT_SECONDS:g}s.",
        ),
        click.option("--full", is_flag=True, help="--robustness on all images, whatever it takes."),
        click.option(
            "--cifar10c",
            type=folder,
            metavar="FOLDER",
            help="The published CIFAR-10-C, for --robustness.",
        ),
        click.option(
            "--ood",
            type=folder,
            metavar="FOLDER",
            help="Out-of-distribution images, whose confidence --robustness compares.",
        ),
    ]
    for option in reversed(made):
        command = option(command)
    return command


def wanted(stated: MutableMapping[str, Any], split: str) -> Wanted | None:
    """Take the values of `options` out of a command's.

    Returns:
        None without `--robustness`.

    Raises:
        UsageError: they contradict each other.
    """
    values = {name: stated.pop(name) for name in ("budget", "cifar10c", "ood", "full")}
    if not stated.pop("robustness"):
        for name, value in values.items():
            if value:
                raise click.UsageError(f"--{name} is an option of --robustness; give both")
        return None
    if split != "test":
        raise click.UsageError("--robustness is measured on test images; leave out --split")
    if values.pop("full"):
        if values["budget"] is not None:
            raise click.UsageError("--full has no --budget; give one of them")
    elif values["budget"] is None:
        values["budget"] = _DEFAULT_SECONDS
    return Wanted(**values)
