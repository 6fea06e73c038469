"""`cifarnet data`: get the images, check them, look at them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from cifarnet.cli.render import Group, console, facts, load_tensorflow, override_option

_config = click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Use the data section of this config; without it, CIFAR-10.",
)


@click.group(cls=Group)
def data() -> None:
    """Fetch, verify and look at the images.

    \b
    Example:
      cifarnet data fetch
    """


@data.command()
@click.option(
    "--path",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Read this archive or folder instead of fetching.",
)
def fetch(path: Path | None) -> Any:
    """Get CIFAR-10 into the cache, unless it is there.

    \b
    Example:
      cifarnet data fetch
      cifarnet data fetch --path cifar-10-binary.tar.gz
    """
    from cifarnet import data

    with _bar() as progress:
        folder = data.fetch(path, progress)
    console().print(f"CIFAR-10 is in {folder}", markup=False)
    return {"folder": str(folder)}


@data.command()
def verify() -> Any:
    """Recompute the checksums of the cached CIFAR-10.

    \b
    Example:
      cifarnet data verify
    """
    from cifarnet import data
    from cifarnet.errors import DataError

    results = data.verify()
    for file, what, good in results:
        console().print(f"{'ok ' if good else 'BAD'} {file}: {what}", markup=False)
    if not all(good for _, _, good in results):
        raise DataError(
            f"the cached CIFAR-10 in {data.cache_folder()} is damaged; "
            "`cifarnet data fetch` replaces it"
        )
    return [{"file": file, "what": what, "ok": good} for file, what, good in results]


@data.command()
@_config
@override_option
def info(config_file: Path | None, overrides: tuple[str, ...]) -> Any:
    """Counts, class balance, checksums, mean and deviation of each split.

    \b
    Example:
      cifarnet data info
      cifarnet data info --config configs/smoke.yaml
    """
    from rich.table import Table

    dataset, _ = _load(config_file, overrides)
    from cifarnet import data as datasets

    facts_ = datasets.info(dataset)
    screen = console()
    channels = ("red", "green", "blue")
    rows = [("data", dataset.description)]
    for key in ("mean", "deviation"):
        values = zip(channels, facts_[key], strict=True)
        text = ", ".join(f"{name} {value:.4f}" for name, value in values)
        rows.append((key, f"{text} (training split, of 0-255)"))
    screen.print(facts(rows), markup=False)
    splits = ("train", "validation", "test")
    table = Table("class", show_footer=True)
    table.columns[0].footer = "all"
    for split in splits:
        total = sum(facts_["splits"][split]["per_class"].values())
        table.add_column(split, justify="right", footer=f"{total:,}")
    for name in dataset.classes:
        table.add_row(name, *(f"{facts_['splits'][s]['per_class'][name]:,}" for s in splits))
    screen.print(table)
    for split in splits:
        screen.print(f"SHA-256 {split:<10} {facts_['splits'][split]['digest']}", markup=False)
    for note in dataset.notes:
        screen.print(f"note: {note}", markup=False)
    return facts_


@data.command()
@_config
@override_option
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("preview.png"),
    show_default=True,
    metavar="PNG",
    help="Where the picture goes.",
)
@click.option("--epoch", default=0, show_default=True, help="Whose augmentation to show.")
def preview(config_file: Path | None, overrides: tuple[str, ...], output: Path, epoch: int) -> Any:
    """Draw training images before and after augmentation.

    \b
    Example:
      cifarnet data preview --config configs/baseline.yaml
    """
    import numpy as np

    dataset, settings = _load(config_file, overrides)
    load_tensorflow(console())
    from cifarnet.data import augment
    from cifarnet.reporting import plots

    rows = [int(np.flatnonzero(dataset.train.labels == c)[0]) for c in range(len(dataset.classes))]
    transforms = augment.build(settings.data.augment, dataset.mean)
    draws = transforms.draw(settings.seed, epoch, len(dataset.train.labels))[rows]
    before = dataset.train.pixels[rows]
    after = np.asarray(transforms.apply(before, draws)).round().astype(np.uint8)
    names = [dataset.classes[int(dataset.train.labels[row])] for row in rows]
    pairs = np.stack([before, after], axis=1).reshape(-1, *before.shape[1:])
    captions = [text for name in names for text in (name, "augmented")]
    kinds = ", ".join(one.kind for one in settings.data.augment) or "no augmentation"
    plots.sheet(pairs, captions, 10, output, f"Training images and epoch {epoch}'s view: {kinds}")
    console().print(f"drew {output}", markup=False)
    return {"picture": str(output), "augmentation": kinds}


def _load(config_file: Path | None, overrides: tuple[str, ...]) -> tuple[Any, Any]:
    """The data set, and a config whose `data` and `seed` it follows."""
    from cifarnet import config
    from cifarnet import data as datasets

    if config_file is None:
        settings = config.of_data(overrides)
    else:
        settings = config.load(config_file, overrides)
    with _bar() as progress:
        return datasets.load(settings.data, settings.seed, progress), settings


@contextmanager
def _bar() -> Iterator[Callable[[str, int, int | None], None]]:
    """A download bar that appears when something is fetched."""
    from cifarnet.cli.display import Display

    with Display(console()) as display:
        yield display.fetching
