"""`cifarnet benchmark`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cifarnet.artifacts import Target, foreign, resolve
from cifarnet.cli.render import Command, console, percent

if TYPE_CHECKING:
    from cifarnet.predictors import Preprocessing

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
    help="Images a call.",
)
@foreign
def benchmark(targets: tuple[str, ...], batch_sizes: tuple[int, ...], **wanted: Any) -> Any:
    """Compare artifacts: accuracy, size, latency, images a second, memory.

    A RUN stands for its model and all its exports. Each artifact is measured in a process of its
    own; accuracy and agreement (with the first) are on validation images, never on the test set.

    \b
    Example:
      cifarnet benchmark latest
      cifarnet benchmark latest foreign.onnx --batch-size 1,32,256 --input-range 0-1
    """
    from cifarnet import data, runs, system
    from cifarnet.cli.display import Display
    from cifarnet.reporting import plots

    screen = console()
    found = [resolve(target) for target in targets]
    artifacts = [one for target in found for one in _artifacts(target, wanted)]
    config = found[0].config
    with Display(screen) as display:
        dataset = data.load(config.data, config.seed, display.fetching)
    split, pixels, labels = dataset.comparison()
    from cifarnet import benchmarking as benchmarks

    with screen.status("measuring") as status:
        measured = benchmarks.run(
            artifacts,
            pixels,
            labels,
            batch_sizes,
            lambda name: status.update(f"measuring {name}"),
        )
    document = {
        "machine": system.describe(),
        "versions": system.versions(),
        "images": len(labels),
        "split": split,
        "data": dataset.description,
        "artifacts": measured,
    }
    file, picture = _files(found[0])
    with found[0].writing(file):
        runs.write_json(file, document)
        plots.benchmark(file, picture)
    _print(screen, document)
    screen.print(f"\nin {file} and {picture}\n", markup=False)
    return {"file": str(file), "picture": str(picture), **document}


def _artifacts(
    target: Target, wanted: dict[str, Any]
) -> list[tuple[str, Path, Preprocessing | None]]:
    """The file itself; of a whole run also its exports.

    Raises:
        ArtifactError: one is not what the run's manifest says.
    """
    from cifarnet import runs

    first = (_name(target), target.artifact, target.preprocessing(**wanted))
    if target.run is not None:
        runs.check(target.run, target.artifact)
    if target.run is None or not target.whole_run:
        return [first]
    runs.check(target.run, target.run.exports)
    exports = runs.exports(target.run)
    return [first, *((one["name"], Path(one["path"]), None) for one in exports)]


def _name(target: Target) -> str:
    if target.whole_run or target.run is None:
        return target.artifact.name
    return str(target.artifact.parent.name)


def _files(target: Target) -> tuple[Path, Path]:
    """Where the figures and their picture go: into the run, else beside the first file."""
    if target.run is not None and target.whole_run:
        return target.run.path / "benchmark.json", target.run.plots / "benchmark.png"
    name = target.artifact.name
    beside = target.artifact.with_name
    return beside(f"{name}.benchmark.json"), beside(f"{name}.benchmark.png")


def _print(screen: Any, document: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table()
    table.add_column("artifact", overflow="fold")
    costs = ("size, kB", "memory, MB", "at once", "ms a call", "90 %", "images/s")
    for heading in ("accuracy", "agrees", *costs):
        table.add_column(heading, justify="right")
    for one in document["artifacts"]:
        for i, speed in enumerate(one["speed"]):
            fixed = (
                one["name"],
                percent(one["accuracy"]),
                percent(one["agreement"]),
                f"{one['bytes'] / 1000:,.0f}",
                f"{one['peak_memory_bytes'] / 1e6:,.0f}",
            )
            table.add_row(
                *(fixed if i == 0 else [""] * len(fixed)),
                str(speed["batch_size"]),
                f"{speed['median_milliseconds']:.2f}",
                f"{speed['p90_milliseconds']:.2f}",
                f"{speed['images_per_second']:,.0f}",
            )
    screen.print(table)
    threads = max(one["threads"] for one in document["artifacts"])
    screen.print(
        f"{document['images']:,} {document['split']} images of {document['data']}; each artifact "
        f"may use {threads} threads; memory is the peak of its process",
        markup=False,
    )
    for one in document["artifacts"]:
        if one["assumed"]:
            screen.print(f"{one['name']}: assumed {'; '.join(one['assumed'])}", markup=False)
