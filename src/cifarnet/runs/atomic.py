"""Files and folders that are whole or absent, whenever a process dies."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from cifarnet.errors import RunError

_SURROGATE = re.compile("[\ud800-\udfff]")
# `.<process>.tmp.<name>` is being written; `.<process>.old.<name>` was <name> until a moment ago.
_LEFTOVER = re.compile(r"\.\d+\.(tmp|old)\.(.+)", re.DOTALL)


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """A path next to `path`, of its suffix, for a file that then is made durable and renamed.

    Raises:
        RunError: the file cannot be written (full disk, no permission); the old one stays.
    """
    temporary = path.with_name(f".{os.getpid()}.tmp.{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _make_durable(temporary)
        temporary.replace(path)
        _make_durable(path.parent)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_atomic(path: Path, write: Callable[[BinaryIO], None]) -> None:
    """Let `write` fill a new file, then give it its name; raises as `beside`."""
    with beside(path) as temporary, temporary.open("wb") as file:
        write(file)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically; raises as `beside`."""
    content = text.encode("utf-8")

    def write(file: BinaryIO) -> None:
        file.write(content)

    write_atomic(path, write)


def write_json(path: Path, value: Any) -> None:
    r"""Write indented JSON atomically; raises as `beside`.

    Bytes of a path that are not UTF-8 are written as the text `\udce9`: readers refuse the
    character.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False)
    text = _SURROGATE.sub(lambda found: f"\\\\u{ord(found[0]):04x}", text)
    write_text(path, text + "\n")


@contextmanager
def replace_folder(path: Path) -> Iterator[Path]:
    """A new empty folder that becomes durable and takes the place of `path`, if nothing is raised.

    A process that dies meanwhile leaves the old folder: `remove_leftovers` puts it back.

    Raises:
        RunError: it cannot be written; the old one stays.
    """
    new = path.with_name(f".{os.getpid()}.tmp.{path.name}")
    old = path.with_name(f".{os.getpid()}.old.{path.name}")
    try:
        new.mkdir(parents=True)
        yield new
        for inside in [*new.rglob("*"), new]:
            _make_durable(inside)
        if path.exists():  # no rename replaces a folder that is not empty
            path.rename(old)
        new.rename(path)
        _make_durable(path.parent)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        _tidy(old, path)
        shutil.rmtree(new, ignore_errors=True)


def remove_leftovers(folder: Path, deep: bool = True) -> None:
    """Clear away what dead processes left half-written in `folder`, and below if `deep`.

    Only for who holds the lock under which it is written.
    """
    for path in sorted(folder.rglob(".*") if deep else folder.glob(".*")):
        found = _LEFTOVER.fullmatch(path.name)
        if found and found[1] == "old":
            _tidy(path, path.with_name(found[2]))
        elif found:
            _delete(path)


def unwritable(path: Path, error: OSError) -> RunError:
    """What to say of a file or folder that cannot be written."""
    return RunError(
        f"cannot write {path}: {error.strerror or error}. "
        "Make room or check the permissions, then run the command again."
    )


def _tidy(old: Path, path: Path) -> None:
    """Put a folder that was moved away back, unless its successor is there."""
    with suppress(OSError):
        if path.exists():
            _delete(old)
        elif old.exists():
            old.rename(path)


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def _make_durable(path: Path) -> None:
    """Wait until the disk has a file's content, or a folder's names."""
    if os.name == "nt" and path.is_dir():  # Windows opens no folders
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
