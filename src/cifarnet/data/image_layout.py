"""A folder of images: its layout, its classes and its files."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from cifarnet.data.image_file import SUFFIXES
from cifarnet.data.image_scan import scan, subfolders
from cifarnet.errors import DataError
from cifarnet.formatting import printable

SPLITS = ("train", "validation", "test")
_LAYOUTS = (
    "Expected a folder per class (CLASS/IMAGE), or train/CLASS/IMAGE with test/, val/ (or valid/, "
    "validation/) or both beside train/, of the same classes"
)
_SPLITS = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
_PLURAL = re.compile(r"\b((?:sub)?folder|file|image|link)s\b")
_SINGULAR = r"\1"
_MAX_CLASSES = 1_000


class ListedImage(NamedTuple):
    """An image file that is not read yet.

    Attributes:
        name: path inside the dataset's folder, with `/`, NFC, printable; unique.
        path: where the file is.
        label: index of its class.
    """

    name: str
    path: Path
    label: int


@dataclass(frozen=True)
class Layout:
    """What is in the folder of a dataset.

    Attributes:
        root: the folder.
        classes: class names, NFC, sorted.
        folders: the folder of each split there is; only `train`, the folder itself, in a folder of
            class folders.
        images: image files of each of these splits, sorted by class and file name.
        left_out: how many files and folders are not used, by what they are.
    """

    root: Path
    classes: tuple[str, ...]
    folders: dict[str, Path]
    images: dict[str, list[ListedImage]]
    left_out: Counter[str]


def class_names(root: Path) -> tuple[str, ...]:
    """Return the names of the class folders, NFC, sorted.

    Raises:
        DataError: no such folder, a layout that is not understood, not 2 to 1,000 classes, or a
            class name that is not printable UTF-8.
    """
    folder = _find_splits(root, Counter())["train"]
    return _counted(folder, _class_folders(folder, Counter()))


def read_layout(root: Path, by_content: bool = True) -> Layout:
    """List the images of a dataset's folder without decoding them.

    Args:
        root: the folder.
        by_content: take images whatever their suffix is, not only those of `SUFFIXES`.

    Raises:
        DataError: as for `class_names`; classes of other splits that `train` does not have; a
            class folder with folders but no images in it.
    """
    left_out: Counter[str] = Counter()
    folders = _find_splits(root, left_out)
    found = {split: _class_folders(folder, left_out) for split, folder in folders.items()}
    classes = _counted(folders["train"], found["train"])
    names: set[str] = set()
    images: dict[str, list[ListedImage]] = {}
    for split, class_folders in found.items():
        if unknown := sorted(set(class_folders) - set(classes)):
            raise DataError(
                f"{folders[split]}: expected the classes of {folders['train']}, found also "
                f"{', '.join(unknown)}; add them to train or remove them"
            )
        images[split] = [
            _listed(root, path, label, names)
            for label, name in enumerate(classes)
            for folder in class_folders.get(name, [])
            for path in _images_of_class(folder, left_out, by_content)
        ]
        if empty := sorted(set(range(len(classes))) - {image.label for image in images[split]}):
            raise DataError(
                f"the class folder {folders[split] / classes[empty[0]]} has no image; add some or "
                f"remove it. Not used: {describe(left_out) or 'nothing'}"
            )
    return Layout(root, classes, folders, images, left_out)


def list_like(root: Path, recorded: Collection[str]) -> list[ListedImage]:
    """List the images in class folders like those of recorded names, new ones included.

    Args:
        root: the folder.
        recorded: names as in `ListedImage`, all of class folders or all of splits.

    Raises:
        DataError: no such folder.
    """
    if not root.is_dir():
        raise _no_folder(root)
    folders = [root]
    if any(name.count("/") > 1 for name in recorded):
        splits = {name.split("/")[0] for name in recorded}
        folders = [path for path in subfolders(root) if printable(_nfc(path.name)) in splits]
    names: set[str] = set()
    return [
        _listed(root, path, 0, names)
        for folder in folders
        for class_folder in sorted(subfolders(folder), key=_nfc_first)
        for path in scan(class_folder, Counter())
    ]


def describe(left_out: Counter[str]) -> str:
    """Return what is not used, such as `80 dangling links, 1 subfolder`."""
    found = ((number, what) for what, number in sorted(left_out.items()) if number)
    return ", ".join(
        f"{n:,} {what}" if n > 1 else f"1 {_PLURAL.sub(_SINGULAR, what, count=1)}"
        for n, what in found
    )


def _find_splits(root: Path, left_out: Counter[str]) -> dict[str, Path]:
    """Return the folder of each split, by the split's name; `train` alone: class folders."""
    if not root.is_dir():
        raise _no_folder(root)
    folders = subfolders(root)
    found: dict[str, list[Path]] = {}
    for folder in folders:
        if split := _SPLITS.get(folder.name.casefold()):
            found.setdefault(split, []).append(folder)
    if len(found) > 1 and "train" in found:
        for same in found.values():
            if len(same) > 1:
                raise _not_understood(root, f"both {same[0].name}/ and {same[1].name}/")
        left_out["images outside of the splits"] += len(scan(root, left_out))
        left_out["other folders"] += len(folders) - len(found)
        return {split: found[split][0] for split in SPLITS if split in found}
    if found and "train" not in found and sum(map(len, found.values())) == len(folders):
        raise _not_understood(root, f"no train/ beside {folders[0].name}/")
    return {"train": root}


def _class_folders(folder: Path, left_out: Counter[str]) -> dict[str, list[Path]]:
    """Return the folders of each class by its name: its NFC name's, then its NFD name's."""
    if images := scan(folder, left_out):
        raise _not_understood(folder, f"the image {images[0].name} outside of a class folder")
    found: dict[str, list[Path]] = {}
    for path in subfolders(folder):
        if printable(path.name) != path.name:
            raise DataError(
                f"{printable(str(path))}: expected the name of a class in printable UTF-8; "
                "rename the folder"
            )
        found.setdefault(_nfc(path.name), []).append(path)
    return {name: sorted(same, key=_nfc_first) for name, same in found.items()}


def _counted(folder: Path, found: Iterable[str]) -> tuple[str, ...]:
    names = tuple(sorted(found))
    if not 2 <= len(names) <= _MAX_CLASSES:
        listed = f": {', '.join(names[:5])}" if names else ""
        raise DataError(
            f"{folder}: expected 2 to {_MAX_CLASSES:,} class folders, found {len(names)}{listed}. "
            f"{_LAYOUTS}"
        )
    return names


def _images_of_class(folder: Path, left_out: Counter[str], by_content: bool) -> list[Path]:
    images = scan(folder, left_out)
    inside = subfolders(folder)
    if inside and not images:
        raise _not_understood(folder, f"no image in this class folder, but {inside[0].name}/")
    left_out["subfolders"] += len(inside)
    return [path for path in images if by_content or path.suffix.lower() in SUFFIXES]


def _listed(root: Path, path: Path, label: int, names: set[str]) -> ListedImage:
    relative = path.relative_to(root).as_posix().replace("\\", "\\\\")  # escapes stay unambiguous
    name = printable(_nfc(relative))
    if name in names:  # both an NFC and an NFD name, which are two files
        name = printable(unicodedata.normalize("NFD", relative))
    names.add(name)
    return ListedImage(name, path, label)


def _nfc_first(path: Path) -> tuple[str, bool]:
    """Sort by NFC name; of two equal ones, the one whose name is NFC comes first."""
    return _nfc(path.name), path.name != _nfc(path.name)


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _no_folder(root: Path) -> DataError:
    return DataError(f"data.path: expected a folder with a folder per class, found no {root}")


def _not_understood(folder: Path, found: str) -> DataError:
    return DataError(f"{printable(str(folder))}: found {printable(found)}. {_LAYOUTS}")
