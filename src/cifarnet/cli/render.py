"""What commands show: where text and progress go, and tables of several commands."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cifarnet.callbacks import Callback, optional
from cifarnet.cli.command import JSON
from cifarnet.errors import ExportFailure, GateError
from cifarnet.formatting import percent

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from cifarnet.callbacks.display import ProgressDisplay
    from cifarnet.runs import Export, Run, RunRecord
    from cifarnet.runs.documents import Record

_MAX_WIDTH = 500  # characters


def console() -> Console:
    """Return the console for people: standard output, or standard error under `--json`."""
    from cifarnet.callbacks.display import TextConsole, is_terminal

    context = click.get_current_context()
    stderr = bool(context.meta.get(JSON))
    stream = sys.stderr if stderr else sys.stdout
    # A pipe or a file has no width; 100 keeps paths and tables whole.
    width = None if is_terminal(stream) else 100
    return TextConsole(stderr=stderr, width=width)


def print_whole(table: Table) -> None:
    """Print a table as wide as its contents: at the console's width, long names would be cut."""
    screen = console()
    unlimited = screen.options.update(max_width=_MAX_WIDTH)
    table.width = screen.measure(table, options=unlimited).maximum
    screen.print(table)


@contextmanager
def display() -> Iterator[ProgressDisplay]:
    """Show the progress of a job on the console; a context, so that the live line ends with it."""
    from cifarnet.callbacks.display import ProgressDisplay

    shown = ProgressDisplay(console())
    try:
        yield shown
    finally:
        shown.close()


class WhenMeasured(Callback):
    """Show a result as soon as it is measured: it may be impossible to write it."""

    def __init__(self, show: Callable[[Any], None]) -> None:
        self._show = show

    @optional
    def on_result(self, record: Record) -> None:
        """Show the result."""
        self._show(record)


def name_page(written: Path) -> dict[str, str]:
    """Say where the page of the run is that has the file `written`; return that for `--json`."""
    from cifarnet import runs

    run = runs.run_of(written)
    if run is None or not run.report_file.is_file():
        return {}
    console().print(f"page: {run.report_file}\n", markup=False)
    return {"page": str(run.report_file)}


def load_tensorflow(initialize: bool = True) -> None:
    """Import TensorFlow while a status line says so; `initialize` its devices, too."""
    with console().status("loading TensorFlow"):
        from cifarnet import backend

        if initialize:
            backend.initialize_devices()


def cost_row(record: Record) -> list[tuple[str, str]]:
    """Make a row for `formatting.align` of a record's cost; none if it was not recorded."""
    from cifarnet.cost import describe

    return [] if record.cost is None else [("cost", describe(record.cost))]


def calibration_rows(record: RunRecord) -> list[tuple[str, str]]:
    """Return a row on the temperature of a calibrated run; none of others."""
    found = record.calibration
    if found is None:
        return []
    bound = " (the bound)" if found.at_bound else ""
    before, after = percent(found.calibration_error_before), percent(found.calibration_error)
    change = f"calibration error {before} -> {after} on {found.images:,} validation images"
    return [("temperature", f"{found.temperature:.3f}{bound}: {change}")]


def parity_table(run: Run, exports: Sequence[Export]) -> Table:
    """Make a table of a run's artifacts and their parity with its Keras model."""
    from rich.table import Table

    from cifarnet import runs as store

    table = Table("artifact", "runtime")
    for heading in ("kB", "zipped", "difference", "agrees", "accuracy", "Keras'"):
        table.add_column(heading, justify="right")
    for one in exports:
        parity = one.parity
        difference = parity.max_difference
        table.add_row(
            store.export_label(run, one),
            parity.runtime if one.micro is None else f"{parity.runtime}, {one.micro.checked_by}",
            f"{one.bytes / 1000:,.0f}",
            f"{one.compressed_bytes / 1000:,.0f}",
            "-" if difference is None else f"{difference:.1e}",
            percent(parity.agreement),
            percent(parity.accuracy),
            percent(parity.reference_accuracy),
        )
    images = {(one.parity.images, one.parity.split) for one in exports}
    table.caption = "on " + ", ".join(f"{count:,} {split} images" for count, split in images)
    return table


def failure_table(failures: Sequence[ExportFailure]) -> Table:
    """Make a table of the artifacts that were not written, and why."""
    from rich.table import Table

    table = Table("artifact", "", "why", show_lines=True)
    for one in failures:
        what = "failed its check" if isinstance(one.error, GateError) else "refused"
        table.add_row(one.name, what, str(one.error))
    return table
