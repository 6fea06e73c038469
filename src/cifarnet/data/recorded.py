"""The dataset of a run: the recorded split, whatever came to its folder or left it since."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from cifarnet import runs
from cifarnet.config import Config, DataConfig
from cifarnet.data import image_folder
from cifarnet.data.dataset import SPLITS, Dataset, load, placed
from cifarnet.data.images import ImageFile, Images, OnFetch, Source, label_type
from cifarnet.errors import DataError
from cifarnet.formatting import count
from cifarnet.runs import ImageRow, Run, Verdict


def image_rows(dataset: Dataset) -> list[ImageRow]:
    """List the image files of a new run; empty for other sources than folders."""
    used = [
        ImageRow(split, dataset.classes[label], file.sha256, file.name)
        for split in SPLITS
        for file, label in _files(dataset.images(split))
    ]
    return used + [ImageRow(runs.UNUSED, "", "", name) for name in dataset.source.unused]


def load_recorded(
    run: Run, config: Config, on_fetch: OnFetch | None = None, allow_changed: bool | None = False
) -> Dataset:
    """Load the images of a run in the splits that it recorded.

    Args:
        run: the run.
        config: of the run; its `data.path` may be another place of the same images.
        on_fetch: called during a download, as `Callback.on_fetch`.
        allow_changed: leave out recorded images that are gone or changed, and ignore new ones;
            None: never, so that the error does not offer it.

    Returns:
        The dataset; its `changes` says what `allow_changed` accepted.

    Raises:
        DataError: the images cannot be read, or are not those of the run.
        ArtifactError, RunError: the run's records are damaged.
    """
    folder = config.data.path
    if config.data.source == "directory" and folder is not None and not folder.is_dir():
        raise DataError(
            f"the images of {run.path} are not in {folder}; say where they are with "
            "-o data.path=FOLDER"
        )
    if config.data.source == "directory" and runs.has_images(run):
        return _select(run, config.data, on_fetch, allow_changed)
    # Without recorded images, a run of a folder is of format 1.
    dataset = load(config.data, config.seed, on_fetch, old_split=True)
    recorded = run.read_record().data.digests
    changed = [name for name in SPLITS if recorded.get(name) != dataset.digest(name)]
    if changed:
        raise DataError(
            f"{run.path} was trained on other images than {dataset.description} gives now: "
            f"{', '.join(changed)} differ, and the run does not record which image was in which "
            "split. Restore the images, or train again"
        )
    return dataset


def verify_images(run: Run, config: Config) -> list[Verdict]:
    """Compare the images of a run on a folder with its record.

    Args:
        run: the run.
        config: as for `load_recorded`.

    Returns:
        One verdict, unknown where the folder is not there; none for other sources.

    Raises:
        ArtifactError, RunError: the run's records are damaged.
    """
    folder = config.data.path
    if folder is None or not runs.has_images(run):
        return []
    if not folder.is_dir():
        return [Verdict(str(folder), "the folder of the images is not there", None)]
    changes = load_recorded(run, config, allow_changed=True).changes
    found = changes or "the images are those of images.csv"
    return [Verdict(str(folder), found, not changes)]


def _select(
    run: Run, config: DataConfig, on_fetch: OnFetch | None, allow_changed: bool | None
) -> Dataset:
    """Choose the recorded images of each split from a folder."""
    rows = runs.read_images(run)
    used = {row.name for row in rows if row.split != runs.UNUSED}
    there, listed = image_folder.read_named(config, used, on_fetch)
    place = {file.name: i for i, file in enumerate(there.files)}
    same = {row.name for row in rows if row.name in place and _is_same(row, there, place)}
    changes = _describe_changes(rows, set(place), same, listed)
    if changes and not allow_changed:
        other = (
            f"train a new run: cifarnet train --config {run.config_file}"
            if allow_changed is None
            else "give --allow-changed-data, which uses only the recorded images that are still "
            "there and unchanged"
        )
        raise DataError(
            f"{config.path} is not what {run.path} was trained on: {changes}. Restore the images, "
            f"or {other}"
        )
    classes = tuple(run.read_record().data.classes)
    index = {name: label for label, name in enumerate(classes)}
    splits = {}
    for split in SPLITS:
        chosen = [row for row in rows if row.split == split and row.name in same]
        labels = np.asarray([index[row.class_name] for row in chosen], label_type(len(classes)))
        images = there.take(np.asarray([place[row.name] for row in chosen], np.int64))
        splits[split] = replace(images, labels=labels)
    about = image_folder.describe_folder(config.path or Path(), classes)
    source = Source("directory", about, classes, splits["train"], splits["test"])
    found = Dataset(source, splits["train"], splits["validation"], splits["test"], changes)
    return placed(found, config)


def _is_same(row: ImageRow, images: Images, place: Mapping[str, int]) -> bool:
    return images.files[place[row.name]].sha256 == row.sha256


def _describe_changes(
    rows: Sequence[ImageRow], there: set[str], same: set[str], listed: Sequence[str]
) -> str:
    """Return how many images of which split are gone, changed or new; empty if none is.

    Args:
        rows: the recorded images.
        there, same: names of those that can be read, and of those that are unchanged.
        listed: names of all files that are in the folder now.
    """
    used = [row for row in rows if row.split != runs.UNUSED]
    total = Counter(row.split for row in used)
    gone = Counter(row.split for row in used if row.name not in there)
    differ = Counter(row.split for row in used if row.name in there and row.name not in same)
    known = {row.name for row in rows}
    new = [name for name in listed if name not in known]
    parts = []
    for what, counts in (("missing or unreadable", gone), ("changed", differ)):
        for split in SPLITS:
            if counts[split]:
                parts.append(f"{counts[split]:,} of {total[split]:,} {split} images {what}")
    if new:
        parts.append(f"{count(len(new), 'new image')}, such as {new[0]}")
    return ", ".join(parts)


def _files(images: Images) -> list[tuple[ImageFile, int]]:
    return list(zip(images.files, images.labels.tolist(), strict=True)) if images.files else []
