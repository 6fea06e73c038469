"""The image files of a folder, recognized by content; files of operating systems are skipped."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import numpy as np

from cifarnet.data.image_file import HEAD, SUFFIXES, kind_of, read_image
from cifarnet.errors import DataError
from cifarnet.formatting import printable

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


def read_images(
    paths: Iterable[Path], size: int
) -> tuple[dict[Path, np.ndarray], list[tuple[Path, str]]]:
    """Read image files, and the image files in folders, as `read_image` does.

    Returns:
        The pixels of each file, uint8 [size, size, 3]; and what cannot be read, with the reason.
    """
    pixels: dict[Path, np.ndarray] = {}
    unreadable: list[tuple[Path, str]] = []
    for path in paths:
        try:
            files = image_files([path])
        except DataError as error:
            files = []
            unreadable.append((path, str(error)))
        for file in files:
            try:
                pixels[file] = read_image(file, size)
            except DataError as error:
                unreadable.append((file, str(error)))
    return pixels, unreadable


def _walk(folder: Path) -> list[Path]:
    """List the images in a folder and its folders; links to folders are not followed."""
    inside = [path for path in subfolders(folder) if not path.is_symlink()]
    return scan(folder, Counter()) + [image for path in inside for image in _walk(path)]


def subfolders(folder: Path) -> list[Path]:
    """Return the folders directly in a folder, sorted, without those of operating systems."""
    return [folder / entry.name for entry in _entries(folder) if _is(entry, "is_dir")]


def scan(folder: Path, left_out: Counter[str]) -> list[Path]:
    """Return the image files directly in a folder, sorted; count what else there is, but folders.

    A file of an image's suffix is one, whatever its content is; others are recognized by content.
    """
    images = []
    for entry in _entries(folder):
        if _is(entry, "is_dir"):
            continue
        path = folder / entry.name
        what = _what(path, _is(entry, "is_file"))
        if what == "image":
            images.append(path)
        else:
            left_out[what] += 1
    return images


def _what(path: Path, is_file: bool) -> str:
    if not is_file:  # opening a pipe would wait for its other end
        return "special files" if path.exists() else "dangling links"
    if path.suffix.lower() in SUFFIXES:
        return "image"
    try:
        with path.open("rb") as file:
            kind = kind_of(file.read(HEAD))
    except OSError:
        return "files that may not be read"
    return kind or f"{printable(path.suffix[:12]) or 'unnamed'} files"


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """Return what is in a folder, sorted, without what operating systems leave in folders."""
    try:
        with os.scandir(folder) as listed:
            found = sorted(listed, key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"{printable(str(folder))} cannot be listed: {error.strerror}") from error
    return [e for e in found if not e.name.startswith(".") and e.name.casefold() not in _JUNK]


def _is(entry: os.DirEntry[str], kind: Literal["is_dir", "is_file"]) -> bool:
    """Ask for the kind of an entry, which the listing has unless it is a link."""
    # A link to itself is an error for `os.DirEntry` alone.
    return getattr(Path(entry.path) if entry.is_symlink() else entry, kind)()
