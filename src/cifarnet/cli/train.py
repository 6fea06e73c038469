"""`cifarnet train`."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cifarnet.callbacks import interrupt
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
    from cifarnet.training import Workers


@click.command(cls=Command)
@options.config_file
@options.overrides
@click.option("--resume", metavar="RUN", help="Resume this run (path, name or `latest`).")
@click.option(
    "--workers",
    metavar="WORKERS",
    help="Train with several processes: their addresses host:port, comma-separated, the chief "
    "first; a number of local ones; slurm; or env (TF_CONFIG).",
)
@click.option("--worker", type=int, metavar="N", help="Which of the addresses this is, from 0.")
@click.option(
    "--patience",
    type=click.FloatRange(min=1.0),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for the other workers.",
)
@options.power
def train(
    config_file: Path | None,
    overrides: tuple[str, ...],
    resume: str | None,
    workers: str | None,
    worker: int | None,
    patience: float,
    power: Power | None,
) -> Any:
    """Train a network into a new run directory, or resume a run that stopped.

    Ctrl-C stops after the current steps (of half a second, or one) and keeps the run resumable.

    \b
    Example:
      cifarnet train --config article
      cifarnet train --config my.yaml -o train.epochs=3 -o seed=1
      cifarnet train --resume latest
      cifarnet train --resume latest -o train.epochs=20
      cifarnet train --config baseline --workers a:2222,b:2222 --worker 0
    """
    click.get_current_context().with_resource(interrupt.all_as_interrupt())
    if workers is None and worker is not None:
        raise click.UsageError("--worker is for --workers with addresses")
    team = None
    if workers is not None:
        # TensorFlow logs each step of giving up a lost worker as an error of its own.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        load_tensorflow(initialize=False)
        from cifarnet.training import Workers

        team = Workers.of(workers, worker, patience)
        if not team.is_chief:
            return _follow(team, config_file, overrides, resume)
    if (config_file is None) == (resume is None):
        raise click.UsageError("give either --config CONFIG or --resume RUN")
    from cifarnet import config, runs

    settings = None if resume else config.load(config_file or "", overrides)
    found = runs.open_run(resume) if resume else None
    load_tensorflow(initialize=team is None)
    from cifarnet import training

    command = shlex.join(["cifarnet", *sys.argv[1:]])
    with display() as shown:
        if settings is None:
            run = training.resume(found or "", overrides, [shown], power, team)
        else:
            run = training.train(settings, None, str(config_file), command, [shown], power, team)
    return _print(run)


def _follow(
    team: Workers, config_file: Path | None, overrides: tuple[str, ...], resume: str | None
) -> dict[str, Any]:
    from cifarnet import config, training

    settings = path = None
    if config_file is not None:
        settings = config.load(config_file, overrides)
    else:
        paths = [one.partition("=")[2] for one in overrides if one.startswith("data.path=")]
        path = Path(paths[-1]) if paths else None
        # In a SLURM job all workers have the chief's command line.
        if resume is None and len(paths) < len(overrides):
            raise click.UsageError("without --config, a worker takes only -o data.path=FOLDER")
    with display() as shown:
        training.join_training(team, settings, path, [shown])
    console().print(f"done; the run is with {team.names[0]}", markup=False)
    return {"worker": team.index, "workers": list(team.addresses)}


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
