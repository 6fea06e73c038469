"""How a training shows: a live line on a terminal, a line an epoch elsewhere, all of it logged."""

from __future__ import annotations

from contextlib import suppress
from types import TracebackType
from typing import Any, TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TransferSpeedColumn,
)

from cifarnet.cli.render import duration, facts
from cifarnet.runs import RunDir

_HEAD = (
    f"{'epoch':>7} {'loss':>7} {'accuracy':>9} {'val loss':>9} {'val acc':>8} {'images/s':>9} "
    f"{'time':>8}"
)


class Display:
    """Shows what a training tells it; use as a context manager.

    It has the methods of `train.Observer` but does not inherit them: that would load TensorFlow
    for the commands that only fetch data.
    """

    def __init__(self, screen: Console) -> None:
        """Show on `screen`."""
        self._screen = screen
        self._live: Progress | None = None
        self._task: TaskID | None = None
        self._log: TextIO | None = None
        self._what = ""

    def __enter__(self) -> Display:
        """Begin."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take the live line away; note an error in the log; close it."""
        self._end_live()
        if error is not None:
            self._note(f"{type(error).__name__}: {error}")
        if self._log is not None:
            with suppress(OSError):
                self._log.close()

    def fetching(self, what: str, done: int, total: int | None) -> None:
        """A download bar, or one line where there is no terminal."""
        if what != self._what:
            self._end_live()
            self._what = what
            if self._screen.is_terminal:
                self._begin_live(what, DownloadColumn(), TransferSpeedColumn())
            else:
                self._say(what)
        if self._live is not None and self._task is not None:
            self._live.update(self._task, completed=done, total=total)

    def started(self, run: RunDir, about: dict[str, Any]) -> None:
        """Say what is trained, on what, how and where."""
        self._end_live()
        with suppress(OSError):  # what matters more cannot be written either, and says so
            self._log = run.log.open("a", encoding="utf-8", buffering=1)
        counts, model = about["data"]["counts"], about["model"]
        split = f"{counts['train']:,} to train, {counts['validation']:,} to validate"
        verb = "Going on with" if about.get("resumed") else "Training"
        rows = [
            (verb, f"{about['name']}, seed {about['seed']}"),
            ("data", f"{about['data']['source']}; {split}"),
            ("network", f"{model['parameters']:,} parameters, {model['macs']:,} MACs an image"),
            ("schedule", f"{about['epochs']:g} epochs, {about['steps']:,} steps"),
            ("precision", _precision(about["precision"])),
            ("run", str(run.path)),
        ]
        self._say(facts(rows))
        resumed = about.get("resumed") or [{"notes": []}]
        for note in (*about["data"]["notes"], *resumed[-1]["notes"]):
            self._say(f"note: {note}")
        self._say("\n" + _HEAD)
        if self._screen.is_terminal:
            self._begin_live("first step")

    def progressed(self, now: dict[str, Any]) -> None:
        """Move the live line."""
        if self._live is not None and self._task is not None:
            text = (
                f"epoch {now['epoch']}/{now['epochs']}  step {now['step']}/{now['steps']}  "
                f"loss {now['loss']:.3f}  "
                f"accuracy {now['accuracy']:.3f}  rate {now['learning_rate']:.2g}  "
                f"{now['images_per_second']:,.0f} images/s  "
                f"{duration(now['seconds_left'])} left"
            )
            self._live.update(
                self._task, description=text, completed=now["step"], total=now["steps"]
            )

    def epoch_ended(self, row: dict[str, Any], best: bool) -> None:
        """A line an epoch."""
        loss, accuracy = row["validation_loss"], row["validation_accuracy"]
        self._say(
            f"{row['epoch']:>7} {row['loss']:>7.4f} {row['accuracy']:>9.4f} "
            f"{'-' if loss is None else f'{loss:.4f}':>9} "
            f"{'-' if accuracy is None else f'{accuracy:.4f}':>8} "
            f"{row['images_per_second']:>9,.0f} {duration(row['seconds']):>8}"
            f"{'  best' if best else ''}"
        )

    def ended(self, about: dict[str, Any]) -> None:
        """Note the end in the log."""
        self._end_live()
        self._note(f"{about['status']}: {about['why']}")

    def _begin_live(self, text: str, *columns: Any) -> None:
        self._live = Progress(
            BarColumn(20),
            *columns,
            TextColumn("{task.description}", markup=False),
            console=self._screen,
            transient=True,
        )
        self._task = self._live.add_task(text, total=None)
        self._live.start()

    def _end_live(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _say(self, text: str) -> None:
        """To the screen, above the live line, and to the log."""
        self._screen.print(text, markup=False)
        self._note(text)

    def _note(self, text: str) -> None:
        """To the log; a full disk must not stop a training here."""
        if self._log is not None:
            with suppress(OSError):
                self._log.write(text + "\n")


def _precision(about: dict[str, Any]) -> str:
    measured = about.get("milliseconds")
    if not measured:
        return str(about["chosen"])
    times = ", ".join(f"{name} {ms:.3g} ms" for name, ms in measured.items())
    return f"{about['chosen']} (a convolution takes: {times})"
