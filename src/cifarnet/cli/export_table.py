"""Show what `cifarnet export` wrote, and what it did not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cifarnet.cli.render import console, failure_table, name_page, parity_table
from cifarnet.errors import ExportError

if TYPE_CHECKING:
    from cifarnet.runs import Export, Run


def show(written: Sequence[Export], source: Run) -> None:
    """Show the artifacts that were written, their cost, and where they are."""
    from cifarnet import cost

    if written:
        screen = console()
        screen.print(parity_table(source, written))
        screen.print(f"\nin {source.exports_folder}, each checked in its own runtime", markup=False)
        costs = [one.cost for one in written if one.cost is not None]
        screen.print(f"cost: {cost.describe(cost.total(costs))}\n", markup=False)
        name_page(source.exports_folder)


def possible_formats() -> tuple[str, ...]:
    """Return the formats that this machine can write; say which are left out, and why."""
    from cifarnet.exporters import formats

    problems = formats.problems()
    for problem in problems.values():
        console().print(f"left out: {problem}", markup=False, soft_wrap=True)
    return tuple(name for name in formats.FORMATS if name not in problems)


@contextmanager
def showing_failures(source: Run) -> Iterator[None]:
    """Show what was written and what was not, if some of several exports failed."""
    try:
        yield
    except ExportError as error:
        show(error.written, source)
        console().print(failure_table(error.failures))
        raise
