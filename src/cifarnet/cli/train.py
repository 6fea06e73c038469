"""`cifarnet train`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cifarnet.cli import options
from cifarnet.cli.command import Command
from cifarnet.cli.render import (
    calibration_rows,
    console,
    cost_row,
    display,
    load_tensorflow,
    name_page,
)
from cifarnet.formatting import align, count, duration, percent

if TYPE_CHECKING:
    from cifarnet.cost import Power
    from cifarnet.runs import Run


@click.command(cls=Command)
@options.config_file
@options.overrides
@click.option("--resume", metavar="RUN", help="Resume this run (path, name or `latest`).")
@options.power
def train(
    config_file: Path | None, overrides: tuple[str, ...], resume: str | None, power: Power | None
) -> Any:
    """Train a network into a new run directory, or resume a run that stopped.

    Ctrl-C stops after the current step and keeps the run resumable.

    \b
    Example:
      cifarnet train --config article
      cifarnet train --config my.yaml -o train.epochs=3 -o seed=1
      cifarnet train --resume latest
      cifarnet train --resume latest -o train.epochs=20
    """
    if (config_file is None) == (resume is None):
        raise click.UsageError("give either --config CONFIG or --resume RUN")
    from cifarnet import config, runs

    if resume is not None:
        found = runs.open_run(resume)
        load_tensorflow()
        from cifarnet import training

        with display() as shown:
            return _print(training.resume(found, overrides, [shown], power))
    settings = config.load(config_file or "", overrides)
    load_tensorflow()
    from cifarnet import training

    command = shlex.join(["cifarnet", *sys.argv[1:]])
    with display() as shown:
        run = training.train(
            settings,
            config_file=str(config_file),
            command=command,
            callbacks=[shown],
            power=power,
        )
    return _print(run)


def _print(run: Run) -> dict[str, Any]:
    record = run.read_record()
    validation = percent(record.validation_accuracy)
    speed = f"{record.images_per_second or 0:,.0f} images/s"
    rows = [
        ("ended", f"{record.stop_reason}, after {count(record.epochs_done or 0.0, 'epoch')}"),
        ("time", f"{duration(record.seconds or 0.0)}, {speed}"),
        *cost_row(record),
        ("selected", f"epoch {record.selected_epoch}, validation accuracy {validation}"),
        *calibration_rows(record),
        ("run", str(run.path)),
        ("curves", str(run.plots_folder / "curves.png")),
    ]
    console().print(f"\n{align(rows)}\n", markup=False)
    page = name_page(run.record_file)
    console().print(f"Next: cifarnet evaluate {run.path}\n", markup=False)
    return {"run": str(run.path), **page, **record.to_json()}
