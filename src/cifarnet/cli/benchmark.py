"""`cifarnet benchmark`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cifarnet.choices import MAX_BATCH
from cifarnet.cli import options
from cifarnet.cli.command import Command
from cifarnet.cli.render import (
    WhenMeasured,
    console,
    cost_row,
    display,
    name_page,
    print_whole,
)

if TYPE_CHECKING:
    from rich.table import Table

    from cifarnet.runs import Benchmark

_UNKNOWN = (
    "may have been trained on these images, or has other classes; "
    "`cifarnet evaluate` measures it on test images"
)


def _sizes(_: click.Context, __: click.Parameter, value: str) -> tuple[int, ...]:
    try:
        sizes = tuple(dict.fromkeys(int(part) for part in value.split(",")))
    except ValueError:
        sizes = ()
    if not sizes or not all(1 <= size <= MAX_BATCH for size in sizes):
        raise click.BadParameter(
            f"expected numbers from 1 to {MAX_BATCH} such as 1,64, received {value}"
        )
    return sizes


@click.command(cls=Command)
@click.argument("targets", metavar="RUN|ARTIFACT...", nargs=-1, required=True)
@click.option(
    "--batch-size",
    "batch_sizes",
    default="1,64",
    show_default=True,
    callback=_sizes,
    metavar="LIST",
    help="Images per call.",
)
@options.measuring
def benchmark(
    targets: tuple[str, ...],
    batch_sizes: tuple[int, ...],
    common: options.Common,
) -> Any:
    """Compare artifacts: accuracy, size, latency, images/s, memory.

    A RUN stands for its model and all its exports. Each artifact is measured in its own process;
    accuracy and agreement (with the first) are on validation images of the first run, or without
    any on its training images; without any run, on test images. A file that may have been trained
    on these images gets no accuracy.

    \b
    Example:
      cifarnet benchmark latest
      cifarnet benchmark latest foreign.onnx --batch-size 1,32,256 --input-range 0-1
    """
    from cifarnet import benchmarking

    with display() as shown:
        found = benchmarking.benchmark(
            *targets,
            batch_sizes=batch_sizes,
            callbacks=[shown, WhenMeasured(_print)],
            **common,
        )
    picture = benchmarking.picture(found)
    console().print(f"in {found.path} and {picture}\n", markup=False)
    page = name_page(found.path)
    return {"file": str(found.path), "picture": str(picture), **page, **found.to_json()}


def _print(found: Benchmark) -> None:
    screen = console()
    print_whole(_table(found))
    threads = max(one.threads for one in found.artifacts)
    screen.print(
        f"{found.images:,} {found.split} images of {found.data}; each artifact "
        f"may use {threads} threads; memory is the peak of its process",
        markup=False,
    )
    for one in found.artifacts:
        if one.assumed:
            screen.print(f"{one.name}: assumed {'; '.join(one.assumed)}", markup=False)
        if one.accuracy is None:
            screen.print(f"{one.name}: no accuracy, since it {_UNKNOWN}", markup=False)
    if found.changed_data:
        screen.print(f"left out: {found.changed_data}", markup=False)
    for _, text in cost_row(found):
        screen.print(f"cost: {text}", markup=False)
    screen.print("")


def _table(found: Benchmark) -> Table:
    """Make a table with a row per artifact and batch size; names are never broken."""
    from rich import box
    from rich.table import Table

    table = Table("artifact", box=box.SIMPLE_HEAD, padding=0)
    costs = ("size\nkB", "memory\nMB", "batch", "ms per\ncall", "90 %\nms", "images\nper s")
    for heading in ("accuracy\n%", "agrees\n%", *costs):
        table.add_column(heading, justify="right")
    for one in found.artifacts:
        fixed = [
            one.name,
            "-" if one.accuracy is None else f"{100 * one.accuracy:.2f}",
            f"{100 * one.agreement:.2f}",
            f"{one.bytes / 1000:,.0f}",
            f"{one.peak_memory_bytes / 1e6:,.0f}",
        ]
        for speed in one.speed:
            table.add_row(
                *fixed,
                str(speed.batch_size),
                f"{speed.median_milliseconds:.2f}",
                f"{speed.p90_milliseconds:.2f}",
                f"{speed.images_per_second:,.0f}",
            )
            fixed = [""] * len(fixed)
    return table
