"""`cifarnet data`: fetch, verify and inspect datasets."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cifarnet.cli import options
from cifarnet.cli.command import Group, Integer
from cifarnet.cli.render import console, display, load_tensorflow

if TYPE_CHECKING:
    from cifarnet.config import Config


@click.group(cls=Group)
def data() -> None:
    """Fetch, verify and inspect datasets.

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
    """Store CIFAR-10 in the cache, unless it is there.

    \b
    Example:
      cifarnet data fetch
      cifarnet data fetch --path cifar-10-binary.tar.gz
    """
    from cifarnet import data

    with display() as shown:
        folder = data.fetch(path, shown.on_fetch)
    console().print(f"CIFAR-10 is in {folder}", markup=False)
    return {"folder": str(folder)}


@data.command()
def verify() -> Any:
    """Recompute the digests of the cached CIFAR-10.

    \b
    Example:
      cifarnet data verify
    """
    from cifarnet import data
    from cifarnet.errors import DataError

    checks = data.verify()
    for one in checks:
        console().print(f"{'ok ' if one.ok else 'BAD'} {one.file}: {one.what}", markup=False)
    if not all(one.ok for one in checks):
        raise DataError(
            f"the cached CIFAR-10 in {data.cache_folder()} is damaged; "
            "`cifarnet data fetch` replaces it"
        )
    return [{"file": str(one.file), "what": one.what, "ok": one.ok} for one in checks]


@data.command()
@options.config_file
@options.overrides
def info(config_file: Path | None, overrides: tuple[str, ...]) -> Any:
    """Show images per class and digest of each split, and mean and std.

    \b
    Example:
      cifarnet data info
      cifarnet data info --config smoke
    """
    from cifarnet import data as datasets
    from cifarnet.cli import dataset_table

    settings = _settings(config_file, overrides)
    with display() as shown:
        found = datasets.inspect(settings, callbacks=[shown])
    dataset_table.show(found)
    return dataclasses.asdict(found)


@data.command()
@options.config_file
@options.overrides
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("preview.png"),
    show_default=True,
    metavar="PNG",
    help="File to write.",
)
@click.option("--epoch", type=Integer(0), default=0, help="Epoch of the views, from 0.")
def preview(config_file: Path | None, overrides: tuple[str, ...], output: Path, epoch: int) -> Any:
    """Draw training images before and after augmentation and mixing.

    \b
    Example:
      cifarnet data preview --config baseline
    """
    from cifarnet import data as datasets

    settings = _settings(config_file, overrides)
    load_tensorflow()
    with display() as shown:
        kinds = datasets.draw_preview(settings, output, epoch, callbacks=[shown])
    console().print(f"drew {output}", markup=False)
    return {"picture": str(output), "augmentation": kinds}


@data.command()
@click.option("--clear", is_flag=True, help="Remove them, but those that a process is filling.")
def cache(clear: bool) -> Any:
    """List the decoded images of folders that are stored in the cache.

    \b
    Example:
      cifarnet data cache
      cifarnet data cache --clear
    """
    from cifarnet import data as datasets
    from cifarnet.cli import dataset_table

    removed = datasets.clear_image_caches() if clear else []
    found = datasets.image_caches()
    dataset_table.show_caches(found, removed)
    return {
        "caches": [{**dataclasses.asdict(one), "path": str(one.path)} for one in found],
        "removed": [str(one.path) for one in removed],
    }


def _settings(config_file: Path | None, overrides: tuple[str, ...]) -> Config:
    """Load the config whose `data` and `seed` are used; without a file, CIFAR-10."""
    from cifarnet import config

    return config.load(config_file, overrides) if config_file else config.data_only(overrides)
