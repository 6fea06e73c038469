"""`history.csv` of a run: what each epoch gave."""

from __future__ import annotations

import csv

from cifarnet.runs.directory import Run


def read_history(run: Run) -> list[dict[str, float]]:
    """Read the rows of `history.csv`: numbers by column, without those that are absent.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not a table of numbers.
    """
    try:
        with run.history_file.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        return [{key: float(text) for key, text in row.items() if text} for row in rows]
    except (TypeError, csv.Error) as error:  # a row of more values than the header
        raise ValueError(f"{run.history_file} is not a table of numbers: {error}") from error
