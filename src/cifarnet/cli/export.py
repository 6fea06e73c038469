"""`cifarnet export`."""

from __future__ import annotations

from typing import Any

import click

from cifarnet.artifacts import trained_run
from cifarnet.cli.render import Command, console, load_tensorflow, proofs

FORMATS = ("keras", "savedmodel", "onnx", "litert", "c")
QUANTIZATIONS = ("none", "float16", "dynamic", "int8")


def _list(
    known: tuple[str, ...],
) -> Any:
    def parse(_: click.Context, __: click.Parameter, value: str | None) -> tuple[str, ...] | None:
        if value is None:
            return None
        names = tuple(dict.fromkeys(part.strip() for part in value.split(",")))
        for name in names:
            if name not in known:
                raise click.BadParameter(f"expected some of {', '.join(known)}, received {name!r}")
        return names

    return parse


@click.command(cls=Command)
@click.argument("run", metavar="RUN")
@click.option(
    "--format",
    "formats_",
    callback=_list(FORMATS),
    metavar="LIST",
    help=f"Some of {', '.join(FORMATS)}; without it, what the config says.",
)
@click.option(
    "--quantize",
    callback=_list(QUANTIZATIONS),
    metavar="LIST",
    help=f"Some of {', '.join(QUANTIZATIONS)}; without it, what the config says.",
)
@click.option(
    "--prune",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    metavar="SHARE",
    help="First set this share of the weights to zero and train on; names end in -pruned.",
)
@click.option("--all", "all_", is_flag=True, help="Every format with every quantisation.")
def export(
    run: str,
    formats_: tuple[str, ...] | None,
    quantize: tuple[str, ...] | None,
    prune: float | None,
    all_: bool,
) -> Any:
    """Write a run's network for other runtimes, and prove each file in its runtime.

    A file that predicts something else than the trained network does not get its name, and
    the exit code is 3. `c` is the int8 LiteRT file as C source, for a microcontroller.

    \b
    Example:
      cifarnet export latest --format onnx,litert
      cifarnet export latest --format litert,c --quantize int8
      cifarnet export latest --format litert --quantize int8 --prune 0.5
      cifarnet export latest --all
    """
    from cifarnet import config, runs

    screen = console()
    source = trained_run(run)
    overrides = [] if prune is None else [f"export.prune.sparsity={prune}"]
    options = config.load(source.config, overrides).export
    names = FORMATS if all_ else formats_ or options.formats
    if not names:
        raise click.UsageError(
            "nothing to export: give --format, such as --format onnx,litert, or --all, or set "
            "export.formats in the config"
        )
    load_tensorflow(screen)
    from cifarnet import exporters as exports

    wanted = QUANTIZATIONS if all_ else quantize or options.quantize
    targets = exports.targets(names, wanted, options.prune is not None)
    with screen.status("reading the run") as status:
        found = exports.run(source, targets, options, status.update)
    names_written = {target.name for target in targets}
    written = [one for one in runs.exports(source) if one["name"] in names_written]
    screen.print(proofs(written))
    screen.print(f"\nin {source.exports}, each proven in its own runtime\n", markup=False)
    screen.print(f"Next: cifarnet benchmark {source.path}\n", markup=False)
    return found
