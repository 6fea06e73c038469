"""`cifarnet compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from cifarnet.choices import Split, Tta
from cifarnet.cli import comparison_table, gate, options
from cifarnet.cli.command import Command
from cifarnet.cli.render import WhenMeasured, console, display

if TYPE_CHECKING:
    from cifarnet.cost import Power


@click.command(cls=Command)
@click.argument("targets", metavar="RUN... [vs RUN...]", nargs=-1, required=True)
@click.option(
    "--split",
    type=click.Choice(get_args(Split)),
    default="test",
    show_default=True,
    help="Images whose predictions are compared.",
)
@click.option(
    "--tta",
    type=click.Choice(get_args(Tta)),
    help="Test-time augmentation; default: as the configs say, if they agree.",
)
@gate.require('"METRIC>VALUE"', "this holds of the whole interval")
@options.output
@options.power
def compare(
    targets: tuple[str, ...],
    split: str,
    tta: str | None,
    required: tuple[str, ...],
    output: Path | None,
    power: Power | None,
) -> Any:
    """Compare runs statistically, from the predictions that `evaluate` stored.

    Runs of one config that differ in their seeds are a group; `vs` makes two groups of your choice.
    Groups with several seeds each are compared as configs, single runs as weight files. The
    difference is that of the first group less the second.

    \b
    Example:
      cifarnet compare latest 20260101-120000-article
      cifarnet compare new-0 new-1 new-2 vs old-0 old-1 old-2 --require "difference>0"
    """
    from cifarnet import comparison as comparing
    from cifarnet.runs.comparisons import Comparison

    gate.parse(required, Comparison)
    if targets.count("vs") > 1 or "vs" in (targets[0], targets[-1]):
        raise click.UsageError("expected RUN... [vs RUN...], with runs on both sides of one vs")
    at = targets.index("vs") if "vs" in targets else len(targets)
    with display() as shown:
        found = comparing.compare(
            *targets[:at],
            versus=targets[at + 1 :],
            split=split,
            tta=tta,
            callbacks=[shown, gate.Measured(required), WhenMeasured(comparison_table.show)],
            output=output,
            power=power,
        )
    picture = found.path.with_suffix(".png")
    console().print(f"in {found.path} and {picture.name}\n", markup=False)
    document = {"file": str(found.path), "picture": str(picture), **found.to_json()}
    gate.check(required, document, found)
    fewest = min(found.groups, key=lambda group: len(group.runs))
    seed = comparing.unused_seed(fewest)
    again = f"cifarnet train --config {fewest.runs[0].path}/config.yaml -o seed={seed}"
    console().print(f"Next: {again}\n", markup=False)
    return document
