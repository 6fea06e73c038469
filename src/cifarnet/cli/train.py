"""`cifarnet train` and its display."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cifarnet.cli.render import (
    Command,
    console,
    duration,
    facts,
    load_tensorflow,
    override_option,
    percent,
)

if TYPE_CHECKING:
    from cifarnet.runs import RunDir


@click.command(cls=Command)
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The YAML config to train.",
)
@override_option
@click.option("--resume", metavar="RUN", help="Go on with this run (path, name or `latest`).")
def train(config_file: Path | None, overrides: tuple[str, ...], resume: str | None) -> Any:
    """Train a network into a new run directory, or go on with a stopped run.

    Ctrl-C stops after the current step and keeps the run resumable.

    \b
    Example:
      cifarnet train --config configs/article.yaml
      cifarnet train --config configs/article.yaml -o train.epochs=3 -o seed=1
      cifarnet train --resume latest
      cifarnet train --resume latest -o train.epochs=20
    """
    if (config_file is None) == (resume is None):
        raise click.UsageError("give either --config FILE or --resume RUN")
    from cifarnet import config, runs

    screen = console()
    found = runs.find(resume) if resume is not None else None
    settings = config.load(config_file, overrides) if config_file is not None else None
    load_tensorflow(screen)
    from cifarnet import training as training
    from cifarnet.cli.display import Display

    with Display(screen) as display:
        if settings is not None:
            command = shlex.join(["cifarnet", *sys.argv[1:]])
            run = training.run(
                settings, config_file=str(config_file), command=command, observer=display
            )
        else:
            run = training.resume(found, overrides, observer=display)
    from cifarnet.reporting import plots

    with runs.lock(run):
        plots.curves(run.history, run.plots / "curves.png")
    return _conclude(run, screen)


def _conclude(run: RunDir, screen: Any) -> dict[str, Any]:
    manifest = run.read_manifest()
    validation = manifest["validation_accuracy"]
    rows = [
        ("ended", f"{manifest['why']}, after {manifest['epochs_done']:g} epochs"),
        ("time", f"{duration(manifest['seconds'])}, {manifest['images_per_second']:,.0f} images/s"),
        ("kept", f"epoch {manifest['kept_epoch']}, validation accuracy {percent(validation)}"),
        ("run", str(run.path)),
        ("curves", str(run.plots / "curves.png")),
    ]
    screen.print(f"\n{facts(rows)}\n", markup=False)
    screen.print(f"Next: cifarnet evaluate {run.path}\n", markup=False)
    return {"run": str(run.path), **manifest}
