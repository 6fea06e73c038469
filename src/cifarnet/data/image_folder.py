"""The user's own images, in a folder per class."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from cifarnet.config import DataConfig
from cifarnet.data.image_cache import Entry, ImageCache
from cifarnet.data.image_layout import Layout, ListedImage, describe, list_like, read_layout
from cifarnet.data.image_reader import ReadImages, read_all
from cifarnet.data.images import ImageFile, Images, OnFetch, Source, label_type
from cifarnet.data.memory import budget
from cifarnet.data.sampling import balanced, by_hash, stratified
from cifarnet.data.stored_pixels import StoredPixels
from cifarnet.errors import DataError
from cifarnet.formatting import count, printable, some

Listed = dict[str, list[ListedImage]]  # image files by split

_OLD_SEED = 20_260_101


def load(
    config: DataConfig,
    on_fetch: OnFetch | None = None,
    old_split: bool = False,
    seed: int | None = None,
) -> Source:
    """Load a folder of class folders, or of `train`, `val` and `test` folders of class folders.

    Without a test folder, `test_fraction` of the training images is held out by a hash of class
    and file name (see `sampling.by_hash`). Of the images of a folder named `val`, `valid` or
    `validation`, the source's `validation` is made. For how an image is read, see
    `image_file.decode`.

    Args:
        config: `path`, `image_size`, `test_fraction`, `max_unreadable`, and `limit`.
        on_fetch: called while images are read.
        old_split: hold out the images that runs of format 1 did, read as they did.
        seed: given, `limit` training images are chosen by it, before any is read.

    Raises:
        DataError: see `image_layout.read_layout`; a class without a readable image; too many
            unreadable images.
    """
    layout = read_layout(root := Path(config.path or ""), by_content=not old_split)
    splits = layout.images if old_split else _hold_out(layout, config.test_fraction)
    unused: tuple[str, ...] = ()
    if config.limit is not None and seed is not None and not old_split:
        splits, unused = _limit(splits, layout.classes, config.limit, seed)
    everything = [file for files in splits.values() for file in files]
    cache = ImageCache(root, config.image_size, whole=old_split)
    read = read_all(everything, cache, unused, on_fetch, budget(config))
    notes = _check_readable(root, read.found, config.max_unreadable)
    images = {split: _images(files, read, layout, split) for split, files in splits.items()}
    if old_split:
        images, unused = _split_as_format_1(images, layout.classes, config, seed)
    bad = tuple(name for name, result in read.found.items() if isinstance(result, str))
    return Source(
        "directory",
        describe_folder(root, layout.classes),
        layout.classes,
        images["train"],
        images["test"],
        (*notes, *_explain(layout, config), *_describe_duplicates(images), *_no_cache(read)),
        images.get("validation"),
        (*unused, *bad),
        bad,
    )


def load_given(
    config: DataConfig, test_fraction: float | None = None, on_fetch: OnFetch | None = None
) -> Source:
    """Load a folder to measure a model file on, as the test split alone.

    Args:
        config: `path`, `image_size` and `max_unreadable`.
        test_fraction: of the run on a folder that trained the file: without a test folder, only
            images that its rule holds out are loaded. None: images of the folder of test images,
            or else of validation images, or else all.
        on_fetch: as for `load`.

    Raises:
        DataError: as for `load`.
    """
    root = Path(config.path or "")
    layout = read_layout(root)
    if test_fraction is not None:
        given = _hold_out(layout, test_fraction)["test"]
    else:
        split = next(name for name in ("test", "validation", "train") if name in layout.images)
        given = layout.images[split]
    everything = [file for files in layout.images.values() for file in files]
    read = _read_some(given, everything, config, on_fetch)
    images = _choose(given, read, len(layout.classes))
    none = images.take(np.arange(0))
    notes = _check_readable(root, read.found, config.max_unreadable)
    about = describe_folder(root, layout.classes)
    return Source(
        "directory", about, layout.classes, none, images, (*notes, *_no_cache(read)), none
    )


def read_named(
    config: DataConfig, names: Collection[str], on_fetch: OnFetch | None = None
) -> tuple[Images, list[str]]:
    """Read the images of these names, whether or not the folder's layout is still understood.

    Returns:
        Those that can be read; and the names of all image files in folders like theirs.

    Raises:
        DataError: there is no such folder.
    """
    files = list_like(Path(config.path or ""), names)
    wanted = [file for file in files if file.name in names]
    read = _read_some(wanted, files, config, on_fetch)
    return _choose(wanted, read, 1), [file.name for file in files]


def describe_folder(root: Path, classes: Sequence[str]) -> str:
    """Return one line for people on a dataset of this folder."""
    return f"{len(classes)} classes of images in {root}"


def _read_some(
    wanted: Sequence[ListedImage],
    everything: Sequence[ListedImage],
    config: DataConfig,
    on_fetch: OnFetch | None,
) -> ReadImages:
    """Read some images of a folder; the cache may also have those that are not wanted now."""
    names = {file.name for file in wanted}
    others = [file.name for file in everything if file.name not in names]
    cache = ImageCache(Path(config.path or ""), config.image_size, whole=False)
    return read_all(wanted, cache, others, on_fetch, budget(config))


def _hold_out(layout: Layout, fraction: float) -> Listed:
    """Hold out the test split, unless there is a folder of it."""
    if "test" in layout.images:
        return layout.images
    files = layout.images["train"]
    keys = ["/".join(file.name.split("/")[-2:]) for file in files]
    rows = by_hash(
        keys, _labels(files, len(layout.classes)), fraction, layout.classes, "data.test_fraction"
    )
    train, test = ([files[row] for row in side] for side in rows)
    return {**layout.images, "train": train, "test": test}


def _limit(
    splits: Listed, classes: tuple[str, ...], limit: int, seed: int
) -> tuple[Listed, tuple[str, ...]]:
    """Choose `limit` training images; return also the names of the others."""
    files = splits["train"]
    rows = balanced(_labels(files, len(classes)), limit, seed, classes)
    chosen = [files[row] for row in rows]
    names = {file.name for file in chosen}
    unused = tuple(file.name for file in files if file.name not in names)
    return {**splits, "train": chosen}, unused


def _split_as_format_1(
    images: dict[str, Images], classes: tuple[str, ...], config: DataConfig, seed: int | None
) -> tuple[dict[str, Images], tuple[str, ...]]:
    """Choose among the readable images, as runs of format 1 did."""
    everything = images["train"]
    if "test" not in images:
        key = "data.test_fraction"
        sides = stratified(everything.labels, config.test_fraction, _OLD_SEED, classes, key)
        train, test = (everything.take(rows) for rows in sides)
        images = {"train": train, "test": test}
    train = images["train"]
    if config.limit is None or seed is None:
        return images, ()
    chosen = train.take(balanced(train.labels, config.limit, seed, classes))
    names = {file.name for file in chosen.files}
    unused = tuple(name for name, _ in train.files if name not in names)
    return {**images, "train": chosen}, unused


def _labels(files: Sequence[ListedImage], classes: int) -> np.ndarray:
    return np.array([file.label for file in files], label_type(classes))


def _images(files: Sequence[ListedImage], read: ReadImages, layout: Layout, split: str) -> Images:
    images = _choose(files, read, len(layout.classes))
    counts = np.bincount(images.labels, minlength=len(layout.classes))
    for name, number in zip(layout.classes, counts, strict=True):
        if number == 0:
            folder = layout.folders.get(split, layout.folders["train"]) / name
            raise DataError(
                f"the class folder {folder} has no readable image for the {split} split; add some, "
                "and remove those that cannot be read"
            )
    return images


def _choose(files: Sequence[ListedImage], read: ReadImages, classes: int) -> Images:
    """Return those of the files that could be read."""
    found = [(file, e) for file in files if isinstance(e := read.found[file.name], Entry)]
    rows = np.array([entry.row for _, entry in found], np.int64)
    labels = _labels([file for file, _ in found], classes)
    names = tuple(ImageFile(file.name, entry.digest.hex()) for file, entry in found)
    return Images(StoredPixels(read.pixels, rows), labels, names)


def _check_readable(
    root: Path, found: Mapping[str, Entry | str], max_unreadable: float
) -> tuple[str, ...]:
    """Return a note of the images that cannot be read; raise if they are too many."""
    inside = printable(str(root / "_"))[:-1]
    messages = (result for result in found.values() if isinstance(result, str))
    errors = sorted(message.removeprefix(inside) for message in messages)
    if not errors:
        return ()
    if len(errors) > max_unreadable * len(found):
        raise DataError(
            f"{root}: {len(errors):,} of {len(found):,} images cannot be read, more than "
            f"data.max_unreadable {max_unreadable:g} allows: {some(errors)}. Repair or remove "
            "them, or give a larger data.max_unreadable"
        )
    return (f"skipped {count(len(errors), 'unreadable image')}: {some(errors)}",)


def _no_cache(read: ReadImages) -> Iterator[str]:
    """Say that the next start decodes the images again, and why."""
    if read.problem:
        yield (
            "the cache of decoded images cannot be written, so that each start decodes them again: "
            f"{printable(read.problem)}"
        )


def _explain(layout: Layout, config: DataConfig) -> Iterator[str]:
    """Say what is not used, and how the splits are made."""
    if left_out := describe(layout.left_out):
        yield f"not used in {printable(layout.root.name)}: {left_out}"
    folders = layout.folders
    if "validation" in folders:
        yield (
            f"the validation split is the folder {folders['validation'].name}; "
            "data.validation_fraction does not apply"
        )
        if "test" not in folders:
            yield (
                f"there is no test folder: data.test_fraction {config.test_fraction:g} of "
                f"{folders['train'].name} is the test split"
            )


def _describe_duplicates(images: Mapping[str, Images]) -> Iterator[str]:
    """Say which images of other splits are training images too, byte by byte."""
    train = {file.sha256: file.name for file in images["train"].files}
    for split in ("validation", "test"):
        files = images[split].files if split in images else ()
        twins = [f"{file.name} = {train[file.sha256]}" for file in files if file.sha256 in train]
        if twins:
            yield (
                f"{len(twins):,} of {len(files):,} {split} images are byte-identical to training "
                f"images, so the {split} accuracy is too high: {some(twins)}"
            )
