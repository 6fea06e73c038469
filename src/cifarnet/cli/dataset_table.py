"""What `cifarnet data info` and `cifarnet data cache` print."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cifarnet.cli.render import console
from cifarnet.formatting import align, count

if TYPE_CHECKING:
    from cifarnet.data import CachedFolder, DatasetInfo

_ALL, _SOME = 50, 30  # classes: so many are all shown, and of more so many


def show(found: DatasetInfo) -> None:
    """Print the statistics of a dataset, with a table of its classes."""
    from rich.table import Table

    screen = console()
    rows = [("data", found.description)]
    for key, moments in (("mean", found.mean), ("std", found.std)):
        values = zip(("red", "green", "blue"), moments, strict=True)
        text = ", ".join(f"{name} {value:.4f}" for name, value in values)
        rows.append((key, f"{text} (training split, of 0-255)"))
    screen.print(align(rows), markup=False)
    table = Table("class", show_footer=True)
    table.columns[0].footer = "all"
    for name, split in found.splits.items():
        total = sum(split.per_class.values())
        table.add_column(name, justify="right", footer=f"{total:,}")
    train = found.splits["train"].per_class
    names = list(train) if len(train) <= _ALL else sorted(train, key=train.__getitem__)[:_SOME]
    if len(names) < len(train):
        table.caption = (
            f"the {_SOME} of {len(train):,} with the fewest training images; --json has all"
        )
    for name in names:
        table.add_row(name, *(f"{split.per_class[name]:,}" for split in found.splits.values()))
    screen.print(table)
    for name, split in found.splits.items():
        screen.print(f"SHA-256 {name:<10} {split.digest}", markup=False)
    for note in found.notes:
        screen.print(f"note: {note}", markup=False)


def show_caches(found: Sequence[CachedFolder], removed: Sequence[CachedFolder]) -> None:
    """Print a line for each cache, and how many bytes they take and took."""
    screen = console()
    for one in found:
        size = f"{one.image_size} x {one.image_size}" if one.image_size else "unknown size"
        line = f"{one.bytes / 1e6:,.1f} MB  {one.images:,} images of {size}: {one.folder}"
        screen.print(line, markup=False)
    if removed:
        freed = sum(one.bytes for one in removed)
        screen.print(f"removed {count(len(removed), 'cache')}, {freed / 1e6:,.1f} MB", markup=False)
    total = sum(one.bytes for one in found)
    screen.print(f"{count(len(found), 'cache')}, {total / 1e6:,.1f} MB", markup=False)
