"""`cifarnet runs`: what was trained, and how it came out."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import click

from cifarnet.cli.render import Group, console, parity_table
from cifarnet.formatting import align, duration, percent

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
    """A table of all runs under runs/, oldest first.

    \b
    Example:
      cifarnet runs list
    """
    from rich.table import Table

    from cifarnet import runs as store

    summaries = [store.summary(run) for run in store.all_runs()]
    screen = console()
    if not summaries:
        screen.print("no runs yet. Next: cifarnet train --config article")
        return []
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
    screen.print(table)
    return [dataclasses.asdict(one) for one in summaries]


@runs.command()
@_run
def show(run: str) -> Any:
    """All that is known of one run (path, name or `latest`).

    \b
    Example:
      cifarnet runs show latest
    """
    from cifarnet import runs as store

    found = store.open_run(run)
    record = found.read_record()
    one = store.summary(found)
    machine = record.machine
    reason = f" ({record.stop_reason})" if record.stop_reason else ""
    rows = [
        ("run", str(found.path)),
        ("status", f"{one.status}{reason}"),
        ("command", str(record.command)),
        ("config", str(found.config_file)),
        ("seed", str(record.seed)),
        ("data", record.data.source),
        ("network", f"{record.model.parameters:,} parameters, {record.model.macs:,} MACs"),
        ("precision", str(record.precision.chosen)),
        ("epochs", f"{record.epochs_done or 0:g} of {record.epochs:g}"),
        ("time", duration(record.seconds or 0.0)),
        ("validation", percent(one.validation_accuracy)),
        ("test", percent(one.test_accuracy)),
        ("machine", f"{machine.processor}, {machine.cores} cores"),
        ("versions", ", ".join(f"{name} {value}" for name, value in record.versions.items())),
        ("commit", str(record.git_commit)),
        ("files", " ".join(_files(found.path))),
    ]
    screen = console()
    screen.print(align(rows), markup=False)
    exports = store.exports(found)
    if exports:
        screen.print("")
        screen.print(parity_table(exports))
    return {
        "run": str(found.path),
        **record.to_json(),
        "summary": dataclasses.asdict(one),
        "exports": [export.to_json() for export in exports],
    }


@runs.command()
@_run
def verify(run: str) -> Any:
    """Recompute the checksums of a run's files; nothing is trained or changed.

    Exit code 1 if a file is missing, damaged or replaced.

    \b
    Example:
      cifarnet runs verify latest
    """
    from cifarnet import runs as store
    from cifarnet.errors import RunError

    found = store.open_run(run)
    verdicts = store.verify(found)
    determinism = found.read_record().determinism
    screen = console()
    for one in verdicts:
        word = {True: "right", False: "WRONG", None: "unknown"}[one.right]
        screen.print(f"{word:<8} {one.name}: {one.found}", markup=False)
    can = "can" if determinism.bit_deterministic else "cannot be promised to"
    if determinism.needs:
        screen.print(
            f"\nTraining it again {can} give the same bits; it takes {determinism.needs}",
            markup=False,
        )
    wrong = [one.name for one in verdicts if one.right is False]
    if wrong:
        raise RunError(
            f"{found.path} is not what its record says: {', '.join(wrong)}. Restore the files, "
            "or write them again with the command that wrote them."
        )
    known = sum(one.right is True for one in verdicts)
    screen.print(f"all {known} files with a checksum are what the record says", markup=False)
    return {
        "run": str(found.path),
        "files": [one._asdict() for one in verdicts],
        "determinism": determinism.to_json(),
    }


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


def _files(path: Any) -> list[str]:
    files = (file for file in path.rglob("*") if file.is_file() and file.name != ".lock")
    return sorted(str(file.relative_to(path)) for file in files)
