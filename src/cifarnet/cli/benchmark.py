"""`cifarnet benchmark`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cifarnet.cli import options
from cifarnet.cli.render import Command, console, display
from cifarnet.formatting import percent

if TYPE_CHECKING:
    from cifarnet.runs import Benchmark

_LARGEST_BATCH = 5_000


def _sizes(_: click.Context, __: click.Parameter, value: str) -> tuple[int, ...]:
    try:
        sizes = tuple(dict.fromkeys(int(part) for part in value.split(",")))
    except ValueError:
        sizes = ()
    if not sizes or not all(1 <= size <= _LARGEST_BATCH for size in sizes):
        raise click.BadParameter(
            f"expected numbers from 1 to {_LARGEST_BATCH} such as 1,64, received {value}"
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
@options.foreign
def benchmark(targets: tuple[str, ...], batch_sizes: tuple[int, ...], **stated: Any) -> Any:
    """Compare artifacts: accuracy, size, latency, images/s, memory.

    A RUN stands for its model and all its exports. Each artifact is measured in a process of its
    own; accuracy and agreement (with the first) are on validation images, never on the test set.

    \b
    Example:
      cifarnet benchmark latest
      cifarnet benchmark latest foreign.onnx --batch-size 1,32,256 --input-range 0-1
    """
    from cifarnet import benchmarking

    foreign = options.preprocessing(stated)
    with display() as shown:
        found = benchmarking.benchmark(
            *targets, batch_sizes=batch_sizes, preprocessing=foreign, callbacks=[shown]
        )
    _print(found)
    picture = benchmarking.picture(found)
    console().print(f"\nin {found.path} and {picture}\n", markup=False)
    return {"file": str(found.path), "picture": str(picture), **found.to_json()}


def _print(found: Benchmark) -> None:
    from rich.table import Table

    table = Table()
    table.add_column("artifact", overflow="fold")
    costs = ("size, kB", "memory, MB", "batch", "ms per call", "90 %", "images/s")
    for heading in ("accuracy", "agrees", *costs):
        table.add_column(heading, justify="right")
    for one in found.artifacts:
        for i, speed in enumerate(one.speed):
            fixed = (
                one.name,
                percent(one.accuracy),
                percent(one.agreement),
                f"{one.bytes / 1000:,.0f}",
                f"{one.peak_memory_bytes / 1e6:,.0f}",
            )
            table.add_row(
                *(fixed if i == 0 else [""] * len(fixed)),
                str(speed.batch_size),
                f"{speed.median_milliseconds:.2f}",
                f"{speed.p90_milliseconds:.2f}",
                f"{speed.images_per_second:,.0f}",
            )
    screen = console()
    screen.print(table)
    threads = max(one.threads for one in found.artifacts)
    screen.print(
        f"{found.images:,} {found.split} images of {found.data}; each artifact "
        f"may use {threads} threads; memory is the peak of its process",
        markup=False,
    )
    for one in found.artifacts:
        if one.assumed:
            screen.print(f"{one.name}: assumed {'; '.join(one.assumed)}", markup=False)
