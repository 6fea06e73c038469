"""`cifarnet sweep`: check, run, show and promote."""

from __future__ import annotations

import dataclasses
import os
import shlex
from pathlib import Path
from typing import Any

import click

from cifarnet.cli import sweep_table
from cifarnet.cli.command import Group, Integer
from cifarnet.cli.render import WhenMeasured, console, display

_path = click.Path(path_type=Path)
_folder = click.argument(
    "folder", metavar="SWEEP", type=click.Path(path_type=Path, file_okay=False)
)
_storage = click.option(
    "--storage",
    "url",
    metavar="URL",
    help="Database that counts the trials, such as postgresql://USER@HOST/NAME, or where it moved "
    "to; default: as recorded, or a journal file in the sweep's folder.",
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
    from cifarnet import sweeps

    with display() as shown:
        found = sweeps.check_sweep(file, callbacks=[shown])
    sweep_table.show_check(found)
    console().print(f"Next: cifarnet sweep run {shlex.quote(str(file))}{_runs()}\n", markup=False)
    return dataclasses.asdict(found)


@sweep.command()
@click.argument("target", metavar="FILE|SWEEP", type=_path)
@click.option(
    "--jobs",
    type=Integer(min=1),
    default=1,
    show_default=True,
    help="Trainings at once; threads are divided among them.",
)
@_storage
def run(target: Path, jobs: int, url: str | None) -> Any:
    """Train the trials of a sweep: begin it, join it, or go on with it.

    FILE begins or joins it; SWEEP, its folder or name, goes on with one that has begun. The same
    command on every machine and in every task of a job array. A trial whose process died is
    continued by exact resume. Ctrl-C stops after the current step.

    \b
    Example:
      cifarnet sweep run rates.sweep.yaml
      cifarnet sweep run rates.sweep.yaml --jobs 2
      cifarnet sweep run runs/sweeps/rates
    """
    from cifarnet import sweeps

    with display() as shown:
        told = WhenMeasured(sweep_table.show_event)
        found = sweeps.run_sweep(target, jobs, url, callbacks=[shown, told])
    sweep_table.show(found)
    console().print(f"Next: cifarnet sweep show {shlex.quote(found.folder)}\n", markup=False)
    return {"folder": found.folder, **found.to_json()}


@sweep.command()
@_folder
@_storage
def show(folder: Path, url: str | None) -> Any:
    """Show the trials of a sweep, and draw its plots.

    SWEEP is its folder or name. From 20 complete trials on, the importance of each key is shown.

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
@click.argument("number", metavar="NUMBER", type=Integer(min=0))
@_storage
def promote(folder: Path, number: int, url: str | None) -> Any:
    """Train a pruned trial to its end, by exact resume.

    SWEEP is its folder or name.

    \b
    Example:
      cifarnet sweep promote runs/sweeps/rates 7
    """
    from cifarnet import sweeps

    with display() as shown:
        found = sweeps.promote_trial(folder, number, url, callbacks=[shown])
    sweep_table.show_trial(found)
    next_command = f"cifarnet sweep show {shlex.quote(str(folder))}{_runs()}"
    console().print(f"\nNext: {next_command}\n", markup=False)
    return {"folder": str(folder), **found.to_json()}


def _runs() -> str:
    """Return `--runs DIR` as it was given: the next command needs it, too."""
    source = click.get_current_context().get_parameter_source("runs")
    given = source == click.core.ParameterSource.COMMANDLINE
    return f" --runs {shlex.quote(os.environ['CIFARNET_RUNS'])}" if given else ""
