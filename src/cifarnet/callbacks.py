"""Who is told how a training goes."""

from __future__ import annotations

from typing import Any

from cifarnet.runs import RunDir


class Observer:
    """Told how a training goes; the command line shows it. Does nothing by itself."""

    def fetching(self, what: str, done: int, total: int | None) -> None:
        """The data set is being fetched: bytes done, bytes in all if known."""

    def started(self, run: RunDir, about: dict[str, Any]) -> None:
        """Training begins; `about` is the manifest."""

    def progressed(self, now: dict[str, Any]) -> None:
        """Some steps are done: `epoch`, `epochs`, `step`, `steps` (in the epoch), `loss`,
        `accuracy`, `learning_rate`, `images_per_second`, `seconds_left`."""

    def epoch_ended(self, row: dict[str, Any], best: bool) -> None:
        """An epoch is done; `row` is its line of the history."""

    def ended(self, about: dict[str, Any]) -> None:
        """Training ended as the manifest `about` says."""
