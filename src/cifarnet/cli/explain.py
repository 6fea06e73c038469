"""`cifarnet explain`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from cifarnet.choices import MAX_MISTAKES, ExplanationMethod
from cifarnet.cli import gate, options
from cifarnet.cli.command import Command, Integer
from cifarnet.cli.render import WhenMeasured, console, display, name_page
from cifarnet.formatting import align, percent

if TYPE_CHECKING:
    from cifarnet.runs.explanations import ExplainedImage, Explanation

_SHOWN = 10  # images


@click.command(cls=Command)
@click.argument("target", metavar="RUN|ARTIFACT")
@click.argument("images", nargs=-1, type=click.Path(path_type=Path), metavar="[IMAGE...]")
@click.option(
    "--mistakes",
    type=Integer(1, MAX_MISTAKES),
    metavar="N",
    help="Explain the N most confident mistakes on the test set; without IMAGE: 10.",
)
@click.option(
    "--method",
    type=click.Choice(get_args(ExplanationMethod)),
    default="occlusion",
    show_default=True,
    help="How; all but occlusion need a Keras file.",
)
@gate.require('"METRIC>=VALUE"')
@options.measuring
def explain(
    target: str,
    images: tuple[Path, ...],
    mistakes: int | None,
    method: str,
    required: tuple[str, ...],
    common: options.Common,
) -> Any:
    """Show which pixels decisions depend on, and check the method that says so.

    Explains image files, or the most confident mistakes on the test set: the predicted class, and
    the true one where it is known. Each call also compares the method with random maps, a blob in
    the middle and edges, and shuffles the weights. RUN|ARTIFACT and the last options are as for
    `evaluate`.

    \b
    Example:
      cifarnet explain latest
      cifarnet explain latest --mistakes 40 --method layercam
      cifarnet explain latest cat.jpg --require "least_gain>0"
    """
    from cifarnet import explanations
    from cifarnet.runs.explanations import Explanation

    gate.parse(required, Explanation)
    with display() as shown:
        found = explanations.explain(
            target,
            images,
            mistakes,
            method,
            callbacks=[shown, WhenMeasured(_print)],
            **common,
        )
    folder = found.path.parent
    console().print(f"in {folder}: {', '.join(explanations.FILES)}\n", markup=False)
    picture = str(folder / explanations.PICTURE)
    page = name_page(folder)
    document = {"folder": str(folder), "picture": picture, **page, **found.to_json()}
    gate.check(required, document, found)
    after = "--mistakes 10" if images else "IMAGE ..."
    console().print(f"Next: cifarnet explain {target} {after}\n", markup=False)
    return document


def _print(found: Explanation) -> None:
    from rich.table import Table

    screen, checks = console(), found.checks
    more = len(found.images) - _SHOWN
    rows = [
        *((one.image, _decided(one)) for one in found.images[:_SHOWN]),
        *([("", f"and {more} more")] if more > 0 else []),
        ("verdict", f"{found.method_name} is {found.verdict}"),
        ("checked on", f"{checks.images} {found.about.split} images of {found.about.data}"),
        *([("assumed", "; ".join(found.about.assumed))] if found.about.assumed else []),
        *([("left out", found.about.changed_data)] if found.about.changed_data else []),
        *(("not read", reason) for reason in found.unreadable),
    ]
    screen.print(align(rows) + "\n", markup=False)
    table = Table("gain over", "deletion", "95 % interval", "insertion", "95 % interval")
    for one in checks.gains:
        pairs = ((one.deletion, one.deletion_interval), (one.insertion, one.insertion_interval))
        cells = [text for value, interval in pairs for text in (f"{value:+.3f}", _range(interval))]
        table.add_row(one.over, *cells)
    screen.print(table)
    if checks.randomized:
        last = checks.randomized[-1]
        low, high = last.interval
        screen.print(
            f"\nrank correlation with all weights shuffled: {last.correlation:.2f} "
            f"({low:.2f} to {high:.2f}, {checks.randomized_images} images)",
            markup=False,
        )
    else:
        screen.print("\nno check with shuffled weights: the file's weights cannot be changed")
    screen.print(
        "Covered images are unlike those of the training (Hooker et al. 2019), so that gains\n"
        "compare methods and are no measure of an explanation's truth.\n",
        markup=False,
    )


def _range(interval: list[float]) -> str:
    return f"{interval[0]:+.3f} to {interval[1]:+.3f}"


def _decided(one: ExplainedImage) -> str:
    decided = f"{one.predicted} {percent(one.confidence)}"
    return decided if one.true in (None, one.predicted) else f"{decided}, true {one.true}"
