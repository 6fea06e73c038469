"""`cifarnet report`."""

from __future__ import annotations

import webbrowser
from typing import Any

import click

from cifarnet.cli.command import Command
from cifarnet.cli.render import console


@click.command(cls=Command, runs_alone=True)
@click.argument("run", metavar="[RUN]", required=False)
@click.option("--open", "open_", is_flag=True, help="Open the page in the browser.")
def report(run: str | None, open_: bool) -> Any:
    """Write the page of a run, or without RUN that of all runs.

    A page is one HTML file with everything inside: it can be sent, and opens without a network.
    RUN's is RUN/report.html; that of all runs is index.html in their folder.

    \b
    Example:
      cifarnet report latest --open
      cifarnet report
    """
    from cifarnet.reporting import page, runs_page

    path = runs_page.report_runs() if run is None else page.report(run)
    size = path.stat().st_size
    console().print(f"{path}, {size / 1000:,.0f} kB\n", markup=False)
    if open_ and not webbrowser.open(path.resolve().as_uri()):
        console().print("no browser was found here: open the file yourself\n")
    return {"page": str(path), "bytes": size}
