"""`cifarnet runs`: list, verify and remove runs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cifarnet.cli import options
from cifarnet.cli.command import Group
from cifarnet.cli.render import console, print_whole
from cifarnet.cli.show import show
from cifarnet.formatting import duration, percent

if TYPE_CHECKING:
    from cifarnet.runs import Run, Verdict

_run = click.argument("run", metavar="RUN")


@click.group(cls=Group)
def runs() -> None:
    """List, show, verify and remove runs.

    \b
    Example:
      cifarnet runs list
    """


@runs.command("list")
def list_() -> Any:
    """List all runs, oldest first.

    \b
    Example:
      cifarnet runs list
    """
    from rich.table import Table

    from cifarnet import runs as store

    summaries = [store.summary(run) for run in store.all_runs()]
    screen = console()
    place = store.root_folder().resolve()
    if not summaries:
        screen.print(
            f"no runs in {place}; --runs DIR or CIFARNET_RUNS names another folder\n\n"
            "Next: cifarnet train --config article"
        )
        return []
    screen.print(f"runs in {place}")
    table = Table("run", "status", "config")
    for heading in ("epochs", "validation", "test", "time"):
        table.add_column(heading, justify="right")
    for one in summaries:
        table.add_row(
            one.name,
            one.status,
            Path(one.config or "-").name,
            "-" if one.epochs is None else f"{one.epochs:g}",
            percent(one.validation_accuracy),
            percent(one.test_accuracy),
            "-" if one.seconds is None else duration(one.seconds),
        )
    if screen.is_terminal:
        screen.print(table)
    else:  # whose lines have no end
        print_whole(table)
    return [dataclasses.asdict(one) for one in summaries]


runs.add_command(show)


@runs.command()
@_run
@options.data_path
def verify(run: str, overrides: tuple[str, ...]) -> Any:
    """Recompute the checksums of a run's files; nothing is trained or changed.

    Exit code 1 if a file is missing, damaged or replaced, or the images of its folder changed.

    \b
    Example:
      cifarnet runs verify latest
    """
    from cifarnet import runs as store
    from cifarnet.errors import RunError

    found = store.open_run(run)
    verdicts = [*store.verify(found), *_verify_images(found, overrides)]
    determinism = found.read_record().determinism
    screen = console()
    for one in verdicts:
        word = {True: "right", False: "WRONG", None: "unknown"}[one.right]
        screen.print(f"{word:<8} {one.name}: {one.found}", markup=False)
    wrong = [one.name for one in verdicts if one.right is False]
    if wrong:
        raise RunError(
            f"{found.path} is not what its record says: {', '.join(wrong)}. Restore them, or "
            "write results again with the command that wrote them."
        )
    gives = "gives" if determinism.bit_deterministic else "may not give"
    if determinism.needs:
        text = f"\nTraining again {gives} the same bits. Needed: {determinism.needs}"
        screen.print(text, markup=False)
    known = sum(one.right is True for one in verdicts)
    screen.print(f"all {known} files with a checksum are what the record says", markup=False)
    return {
        "run": str(found.path),
        "files": [one._asdict() for one in verdicts],
        "determinism": determinism.to_json(),
    }


def _verify_images(run: Run, overrides: tuple[str, ...]) -> list[Verdict]:
    from cifarnet import artifacts, data
    from cifarnet import runs as store
    from cifarnet.errors import CifarnetError

    if not store.has_images(run):
        return []
    try:
        return data.verify_images(run, artifacts.run_config(run, overrides))
    except CifarnetError as error:  # such as a damaged config, which has a verdict of its own
        return [store.Verdict("images", str(error), None)]


@runs.command()
@_run
@click.option("--yes", is_flag=True, help="Do not ask.")
def remove(run: str, yes: bool) -> Any:
    """Delete a run's directory and all in it.

    \b
    Example:
      cifarnet runs remove 20260101-120000-article
    """
    from cifarnet import runs as store

    found = store.open_run(run)
    if not yes:
        click.confirm(f"Delete {found.path} for good?", abort=True, err=True)
    store.remove(found)
    console().print(f"removed {found.path}", markup=False)
    return {"removed": str(found.path)}
