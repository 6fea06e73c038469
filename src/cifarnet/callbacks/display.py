"""A live line on a terminal or in a notebook; a line per epoch elsewhere."""

from __future__ import annotations

import importlib.util
import sys
from contextlib import suppress
from typing import IO, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TransferSpeedColumn,
)
from rich.text import Text

from cifarnet.callbacks.base import Callback, EpochResult, StepProgress, optional
from cifarnet.callbacks.text import EPOCH_HEADER, describe_epoch, describe_run
from cifarnet.formatting import duration, printable_lines
from cifarnet.runs import Run, RunRecord
from cifarnet.runs.documents import Record


def is_terminal(stream: IO[str] | None) -> bool:
    """Return whether a stream is an open terminal."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # closed
        return False


class TextConsole(Console):
    """A console on which text is text: no markup, no emoji codes, no control characters."""

    def __init__(self, stderr: bool = False, width: int | None = None) -> None:
        """Make a console on standard output or error; `width` is in characters."""
        super().__init__(
            stderr=stderr,
            width=width,
            # Where FORCE_COLOR is set, rich would also take a file for a terminal.
            force_terminal=is_terminal(sys.stderr if stderr else sys.stdout),
            markup=False,
            emoji=False,
            highlight=False,
            soft_wrap=True,
        )

    def render_str(self, text: str, **options: Any) -> Text:
        """Return `text` for rich to print; every string and table cell comes through here."""
        return super().render_str(printable_lines(text), **options)


class ProgressDisplay(Callback):
    """Show the progress of a job with rich: on standard output, or on `console`.

    A display that cannot be written is given up, and the job continues without it.

    Example:
        cifarnet.train("article", callbacks=[cifarnet.ProgressDisplay()])
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or TextConsole()
        self._progress: Progress | None = None
        self._task = TaskID(0)
        self._fetched = ""

    @property
    def is_interactive(self) -> bool:
        """Whether the output is a terminal or a notebook."""
        return self._console.is_terminal or self._console.is_jupyter

    @property
    def is_live(self) -> bool:
        """Whether a line can be overwritten; in a notebook, ipywidgets does that."""
        if self._console.is_jupyter:
            return importlib.util.find_spec("ipywidgets") is not None
        return self._console.is_terminal and not self._console.is_dumb_terminal

    @optional
    def on_fetch(self, what: str, done: int, total: int | None) -> None:
        """Show a download bar, or one line where there is no terminal."""
        if what != self._fetched:
            self._fetched = what
            if self.is_live:
                self._start(what, DownloadColumn(), TransferSpeedColumn())
            else:
                self._print(what)
        if self._progress is not None:
            self._progress.update(
                self._task, completed=done, total=total, refresh=self._console.is_jupyter
            )

    @optional
    def on_stage(self, what: str) -> None:
        """Show the stage beside a moving bar; nothing where there is no terminal."""
        if self.is_live:
            self._start(what)

    @optional
    def on_train_begin(self, run: Run, record: RunRecord) -> None:
        """Describe the run and begin the table of epochs."""
        self.close()
        self._print(f"{describe_run(run, record)}\n\n{EPOCH_HEADER}")

    @optional
    def on_steps(self, progress: StepProgress) -> None:
        """Move the live line."""
        if self._progress is not None:
            text = (
                f"epoch {progress.epoch}/{progress.epochs}  step {progress.step}/{progress.steps}  "
                f"loss {progress.loss:.3f}  accuracy {progress.accuracy:.3f}  "
                f"rate {progress.learning_rate:.2g}  {progress.images_per_second:,.0f} images/s  "
                f"{duration(progress.seconds_left)} left"
            )
            self._progress.update(
                self._task,
                description=text,
                completed=progress.step,
                total=progress.steps,
                refresh=self._console.is_jupyter,
            )

    @optional
    def on_epoch_end(self, result: EpochResult, best: bool) -> None:
        """Add a line to the table of epochs."""
        self._print(describe_epoch(result, best))

    @optional
    def on_train_end(self, run: Run, record: RunRecord) -> None:
        """Remove the live line."""
        self.close()

    @optional
    def on_warning(self, text: str) -> None:
        """Print the warning above the live line."""
        self._print(f"warning: {text}")

    @optional
    def on_stop(self) -> None:
        """Print above the live line that the training stops, and when."""
        self._print(
            "stopping after the current steps; then the checkpoint and the network are written. "
            "Ctrl-C again ends at once, without them"
        )

    @optional
    def on_result(self, record: Record) -> None:
        """Remove the live line."""
        self.close()

    @optional
    def on_end(self) -> None:
        """Remove the live line."""
        self.close()

    @optional
    def on_error(self, error: BaseException) -> None:
        """Remove the live line."""
        self.close()

    def close(self) -> None:
        """Remove the live line, if there is one."""
        progress, self._progress = self._progress, None
        if progress is not None:
            with suppress(Exception, SystemExit):  # as in `optional`
                progress.stop()

    def _start(self, text: str, *columns: Any) -> None:
        self.close()
        self._progress = Progress(
            BarColumn(20),
            *columns,
            TextColumn("{task.description}", markup=False),
            console=self._console,
            transient=True,
            # In a notebook, what is printed while rich's thread refreshes would go into the widget.
            auto_refresh=not self._console.is_jupyter,
        )
        self._task = self._progress.add_task(printable_lines(text), total=None)
        self._progress.start()

    def _print(self, text: str) -> None:
        """Print above the live line."""
        self._console.print(text, markup=False)
