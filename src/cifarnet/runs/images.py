"""`images.csv` of a run on a folder: the file, digest and split of every image it was given."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import NamedTuple

from cifarnet.errors import RunError
from cifarnet.runs.checksums import check
from cifarnet.runs.directory import Run

UNUSED = "unused"  # instead of a split: left out by `data.limit`


class ImageRow(NamedTuple):
    """One image: its split, its class, and path and SHA-256 (empty if unread) of its file."""

    split: str
    class_name: str
    sha256: str
    name: str


_HEADER = ("split", "class", "sha256", "name")


def images_csv(rows: Iterable[ImageRow]) -> str:
    """Return the text of `images.csv`."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([_HEADER, *rows])
    return text.getvalue()


def has_images(run: Run) -> bool:
    """Return whether the split of a run's images is recorded; runs of old versions lack it."""
    return run.images_file.name in run.read_record().files


def read_images(run: Run) -> list[ImageRow]:
    """Read `images.csv`.

    Raises:
        ArtifactError: it is damaged or missing.
        RunError: the record cannot be read, or the file is none of cifarnet's.
    """
    check(run, run.images_file)
    with run.images_file.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    if tuple(header) != _HEADER or not all(len(row) == len(_HEADER) for row in rows):
        raise RunError(f"cannot read {run.images_file}: expected the columns {', '.join(_HEADER)}")
    return [ImageRow(*row) for row in rows]
