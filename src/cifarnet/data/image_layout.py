"""A folder of images: its layout, its classes and its files."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from cifarnet.data.image_file import HEAD, SUFFIXES, kind_of
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
_MAX_CLASSES = 256  # labels are uint8
# What operating systems and network drives leave in folders, besides hidden files.
_JUNK = {
    "thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
    "icon\r",
    "__macosx",
    "@eadir",
    "@recycle",
    "@tmp",
    "#recycle",
    "#snapshot",
    "$recycle.bin",
    "system volume information",
    "lost+found",
}


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
        DataError: no such folder, a layout that is not understood, not 2 to 256 classes, or a
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


def image_files(paths: Iterable[Path]) -> list[Path]:
    """Return the given files, and the image files in the given folders and theirs, sorted.

    Raises:
        DataError: a path does not exist, or a folder has no images.
    """
    files: list[Path] = []
    for path in paths:
        shown = printable(str(path))
        if path.is_dir():
            inside = _walk(path)
            if not inside:
                raise DataError(f"{shown} has no images ({', '.join(SUFFIXES)})")
            files += inside
        elif path.exists():
            files.append(path)
        else:
            raise DataError(f"there is no image file or folder {shown}")
    return files


def _walk(folder: Path) -> list[Path]:
    """List the images in a folder and its folders; links to folders are not followed."""
    inside = [path for path in _folders(folder) if not path.is_symlink()]
    return _scan(folder, Counter()) + [image for path in inside for image in _walk(path)]


def describe(left_out: Counter[str]) -> str:
    """Return what is not used, such as `80 dangling links, 3 subfolders`."""
    return ", ".join(f"{count:,} {what}" for what, count in sorted(left_out.items()) if count)


def _find_splits(root: Path, left_out: Counter[str]) -> dict[str, Path]:
    """Return the folder of each split, by the split's name; `train` alone: class folders."""
    if not root.is_dir():
        raise DataError(f"data.path: expected a folder with a folder per class, found no {root}")
    folders = _folders(root)
    found: dict[str, list[Path]] = {}
    for folder in folders:
        if split := _SPLITS.get(folder.name.casefold()):
            found.setdefault(split, []).append(folder)
    if len(found) > 1 and "train" in found:
        for same in found.values():
            if len(same) > 1:
                raise _not_understood(root, f"both {same[0].name}/ and {same[1].name}/")
        left_out["images outside of the splits"] += len(_scan(root, left_out))
        left_out["other folders"] += len(folders) - len(found)
        return {split: found[split][0] for split in SPLITS if split in found}
    if found and "train" not in found and sum(map(len, found.values())) == len(folders):
        raise _not_understood(root, f"no train/ beside {folders[0].name}/")
    return {"train": root}


def _class_folders(folder: Path, left_out: Counter[str]) -> dict[str, list[Path]]:
    """Return the folders of each class by its name: its NFC name's, then its NFD name's."""
    if images := _scan(folder, left_out):
        raise _not_understood(folder, f"the image {images[0].name} outside of a class folder")
    found: dict[str, list[Path]] = {}
    for path in _folders(folder):
        if printable(path.name) != path.name:
            raise DataError(
                f"{printable(str(path))}: expected the name of a class in printable UTF-8; "
                "rename the folder"
            )
        found.setdefault(_nfc(path.name), []).append(path)
    return {
        name: sorted(same, key=lambda path: path.name != _nfc(path.name))
        for name, same in found.items()
    }


def _counted(folder: Path, found: Iterable[str]) -> tuple[str, ...]:
    names = tuple(sorted(found))
    if not 2 <= len(names) <= _MAX_CLASSES:
        listed = f": {', '.join(names[:5])}" if names else ""
        raise DataError(
            f"{folder}: expected 2 to {_MAX_CLASSES} class folders, found {len(names)}{listed}. "
            f"{_LAYOUTS}"
        )
    return names


def _images_of_class(folder: Path, left_out: Counter[str], by_content: bool) -> list[Path]:
    images = _scan(folder, left_out)
    inside = _folders(folder)
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


def _folders(folder: Path) -> list[Path]:
    return [p for p in _entries(folder) if p.is_dir()]


def _scan(folder: Path, left_out: Counter[str]) -> list[Path]:
    """Return the image files directly in a folder, sorted; count what else there is, but folders.

    A file of an image's suffix is one, whatever its content is; others are told by content.
    """
    images = []
    for path in _entries(folder):
        if path.is_dir():
            continue
        what = _what(path)
        if what == "image":
            images.append(path)
        else:
            left_out[what] += 1
    return images


def _what(path: Path) -> str:
    if not path.exists():
        return "dangling links"
    if not path.is_file():  # opening a pipe would wait for its other end
        return "special files"
    if path.suffix.lower() in SUFFIXES:
        return "image"
    try:
        with path.open("rb") as file:
            kind = kind_of(file.read(HEAD))
    except OSError:
        return "files that may not be read"
    return kind or f"{printable(path.suffix[:12]) or 'unnamed'} files"


def _entries(folder: Path) -> list[Path]:
    """Return what is in a folder, sorted, without what operating systems leave in folders."""
    try:
        found = sorted(folder.iterdir())
    except OSError as error:
        raise DataError(f"{printable(str(folder))} cannot be listed: {error.strerror}") from error
    return [p for p in found if not p.name.startswith(".") and p.name.casefold() not in _JUNK]


def _not_understood(folder: Path, found: str) -> DataError:
    return DataError(f"{printable(str(folder))}: found {printable(found)}. {_LAYOUTS}")


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)
