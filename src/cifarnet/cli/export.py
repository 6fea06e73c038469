"""`cifarnet export`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import click

from cifarnet.choices import QUANTIZATIONS as POSSIBLE
from cifarnet.choices import ExportFormat, Quantization
from cifarnet.cli import export_table, model_card, options
from cifarnet.cli.command import Command
from cifarnet.cli.render import console, display, load_tensorflow

if TYPE_CHECKING:
    from cifarnet.cost import Power
    from cifarnet.runs import Export, Run

FORMATS = get_args(ExportFormat)
QUANTIZATIONS = get_args(Quantization)


@click.command(cls=Command)
@click.argument("run", metavar="RUN")
@click.option(
    "--format",
    "formats",
    callback=options.names(FORMATS),
    metavar="LIST",
    help=f"Some of {', '.join(FORMATS)}; without it, what the config says.",
)
@click.option(
    "--quantize",
    callback=options.names(QUANTIZATIONS),
    metavar="LIST",
    help=f"Some of {', '.join(QUANTIZATIONS)}; without it, what the config says.",
)
@click.option(
    "--prune",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    metavar="SHARE",
    help="First set this share of the weights to zero and fine-tune; names end in -pruned.",
)
@click.option(
    "--all",
    "all_",
    is_flag=True,
    help="Every format that can be written here, with every quantization.",
)
@click.option("--card", is_flag=True, help="Write a model card for Hugging Face's Hub.")
@click.option("--license", metavar="ID", help="License that the card states, such as apache-2.0.")
@options.data_path
@options.allow_changed_data
@options.power
def export(
    run: str,
    formats: tuple[str, ...] | None,
    quantize: tuple[str, ...] | None,
    prune: float | None,
    all_: bool,
    card: bool,
    license: str | None,
    overrides: tuple[str, ...],
    allow_changed_data: bool,
    power: Power | None,
) -> Any:
    """Export a run's network to other runtimes, and check each file in its runtime.

    A file whose predictions differ from the trained network's is written to NAME.failed. All
    files are tried; if some of them failed or a format cannot hold the network, the exit code is
    3. `c` is the int8 LiteRT file as C source, for a microcontroller; `web` one HTML page that
    classifies photos without a server; `triton` a model repository for NVIDIA Triton.

    \b
    Example:
      cifarnet export latest --format onnx,litert
      cifarnet export latest --format litert,c --quantize int8 --prune 0.5
      cifarnet export latest --format web,triton
      cifarnet export latest --all
      cifarnet export latest --card --license apache-2.0
    """
    from cifarnet import artifacts

    _check_usage(formats, quantize, all_)
    model_card.check_usage(card, license)
    source = artifacts.trained_run(run)
    only_card = card and not (formats or quantize or prune or all_)
    _check_any(only_card or all_ or bool(formats), source)
    load_tensorflow()
    from cifarnet import exporters

    if all_:
        formats, quantize = export_table.possible_formats(), QUANTIZATIONS
    written: list[Export] = []
    if not only_card:
        with export_table.showing_failures(source), display() as shown:
            written = exporters.export(
                source, formats, quantize, prune, [shown], overrides, allow_changed_data, power
            )
        export_table.show(written, source)
    if card:
        return [*(one.to_json() for one in written), model_card.write(source, license)]
    console().print(f"Next: cifarnet benchmark {source.path}\n", markup=False)
    return [one.to_json() for one in written]


def _check_any(is_asked: bool, source: Run) -> None:
    from cifarnet import config

    if not is_asked and not config.load(source.config_file).export.formats:
        raise click.UsageError(
            "nothing to export: give --format, such as --format onnx,litert, or --all or --card, "
            "or set export.formats in the config"
        )


def _check_usage(
    formats: tuple[str, ...] | None, quantize: tuple[str, ...] | None, all_: bool
) -> None:
    if all_ and (formats or quantize):
        raise click.UsageError(
            "--all is every format with every quantization: expected it without --format and "
            "--quantize"
        )
    for name, possible in POSSIBLE.items():
        if quantize and name in (formats or ()) and not set(possible) & set(quantize):
            raise click.UsageError(
                f"{name}: expected --quantize {' or '.join(possible)}, received "
                f"{','.join(quantize)}"
            )
