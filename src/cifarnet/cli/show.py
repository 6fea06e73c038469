"""`cifarnet runs show`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cifarnet.cli.command import Command
from cifarnet.cli.render import calibration_rows, console, cost_row, parity_table
from cifarnet.formatting import align, count, duration, percent

if TYPE_CHECKING:
    from cifarnet.runs import Run
    from cifarnet.runs.records import MachineRecord


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
    reason = f" ({record.stop_reason})" if record.stop_reason else ""
    rows = [
        ("run", str(found.path)),
        ("status", f"{one.status}{reason}"),
        ("command", record.command or "-"),
        ("config", str(found.config_file)),
        ("seed", str(record.seed)),
        ("data", record.data.source),
        ("network", f"{record.model.parameters:,} parameters, {record.model.macs:,} MACs"),
        *_methods(found),
        ("precision", record.precision.chosen or "-"),
        ("epochs", f"{record.epochs_done or 0:g} of {record.epochs:g}"),
        ("time", "-" if record.seconds is None else duration(record.seconds)),
        *cost_row(record),
        ("validation", percent(one.validation_accuracy)),
        ("test", percent(one.test_accuracy)),
        *calibration_rows(record),
        ("machine", _machine(record.machine)),
        ("versions", ", ".join(f"{name} {value}" for name, value in record.versions.items())),
        ("commit", record.git_commit or "-"),
        ("files", " ".join(_files(found.path))),
    ]
    screen = console()
    screen.print(align(rows), markup=False)
    exports = store.exports(found)
    failed = store.exports(found, failed=True)
    if exports or failed:
        screen.print("")
        screen.print(parity_table(found, [*exports, *failed]))
    return {
        "run": str(found.path),
        **record.to_json(),
        "summary": dataclasses.asdict(one),
        "exports": [export.to_json() for export in exports],
        "failed_exports": [export.to_json() for export in failed],
    }


def _methods(run: Run) -> list[tuple[str, str]]:
    from cifarnet import config as cfg
    from cifarnet.errors import ConfigError

    try:
        return cfg.methods(cfg.load(run.config_file))
    except ConfigError:  # damaged, which `cifarnet runs verify` says
        return []


def _machine(machine: MachineRecord) -> str:
    if machine.processor is None or machine.cores is None:
        return machine.processor or "-"
    return f"{machine.processor}, {count(machine.cores, 'core')}"


def _files(path: Path) -> list[str]:
    files = (file for file in path.rglob("*") if file.is_file() and file.name != ".lock")
    return sorted(str(file.relative_to(path)) for file in files)
