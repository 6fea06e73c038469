"""`cifarnet sweep`: check, run, show and promote."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import click

from cifarnet.cli import sweep_table
from cifarnet.cli.command import Group
from cifarnet.cli.render import WhenMeasured, console, display, load_tensorflow

_path = click.Path(path_type=Path)
_folder = click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
_storage = click.option(
    "--storage",
    "url",
    metavar="URL",
    help="Database that counts the trials, such as postgresql://USER@HOST/NAME; default: as "
    "recorded, or a journal file in the sweep's folder.",
)


@click.group(cls=Group)
def sweep() -> None:
    """Train one config with many values: check, run, show and promote.

    \b
    Example:
      cifarnet sweep run rates.sweep.yaml
    """


@sweep.command()
@click.argument("file", metavar="FILE", type=_path)
def check(file: Path) -> Any:
    """Check every key and bound of a sweep file; count its runs and estimate their time.

    Nothing is written. The base is trained for some seconds to measure its speed.

    \b
    Example:
      cifarnet sweep check rates.sweep.yaml
    """
    load_tensorflow()
    from cifarnet import sweeps

    with display() as shown:
        found = sweeps.check_sweep(file, callbacks=[shown])
    sweep_table.show_check(found)
    console().print(f"Next: cifarnet sweep run {file}\n", markup=False)
    return dataclasses.asdict(found)


@sweep.command()
@click.argument("target", metavar="FILE|DIR", type=_path)
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Trainings at once; threads are divided among them.",
)
@_storage
def run(target: Path, jobs: int, url: str | None) -> Any:
    """Train the trials of a sweep: begin it, join it, or go on with it.

    The same command on every machine and in every task of a job array. A trial whose process died
    is continued by exact resume. Ctrl-C stops after the current step.

    \b
    Example:
      cifarnet sweep run rates.sweep.yaml
      cifarnet sweep run rates.sweep.yaml --jobs 2
      cifarnet sweep run runs/sweeps/rates
    """
    from cifarnet import sweeps

    with display() as shown:
        ended = WhenMeasured(lambda record: sweep_table.show_trial(record.trial))
        found = sweeps.run_sweep(target, jobs, url, callbacks=[shown, ended])
    sweep_table.show(found)
    console().print(f"Next: cifarnet sweep show {found.folder}\n", markup=False)
    return {"folder": found.folder, **found.to_json()}


@sweep.command()
@_folder
@_storage
def show(folder: Path, url: str | None) -> Any:
    """Show the trials of a sweep, and draw its plots.

    From 20 complete trials on it shows the importance of each key.

    \b
    Example:
      cifarnet sweep show runs/sweeps/rates
    """
    from cifarnet import sweeps

    found = sweeps.read_sweep(folder, url)
    sweep_table.show(found)
    names = ", ".join(Path(name).name for name in found.plots)
    console().print(f"in {found.path}" + (f"; plots/: {names}" if names else ""), markup=False)
    if found.fresh_command:
        console().print(f"\nNext: {found.fresh_command}\n", markup=False)
    return {"file": str(found.path), **found.to_json()}


@sweep.command()
@_folder
@click.argument("number", metavar="NUMBER", type=click.IntRange(min=0))
@_storage
def promote(folder: Path, number: int, url: str | None) -> Any:
    """Train a pruned trial to its end, by exact resume.

    \b
    Example:
      cifarnet sweep promote runs/sweeps/rates 7
    """
    from cifarnet import sweeps

    with display() as shown:
        found = sweeps.promote_trial(folder, number, url, callbacks=[shown])
    sweep_table.show_trial(found)
    console().print(f"\nNext: cifarnet sweep show {folder}\n", markup=False)
    return {"folder": str(folder), **found.to_json()}
