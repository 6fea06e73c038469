"""`cifarnet runs show`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import click

from cifarnet.cli.render import Command, console, parity_table
from cifarnet.formatting import align, duration, percent


@click.command(cls=Command)
@click.argument("run", metavar="RUN")
def show(run: str) -> Any:
    """Show all that is recorded of one run (path, name or `latest`).

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


def _files(path: Path) -> list[str]:
    files = (file for file in path.rglob("*") if file.is_file() and file.name != ".lock")
    return sorted(str(file.relative_to(path)) for file in files)
