"""Image files in requests: the file of a body or a form, decoded to pixels.

A file's name is never read, and nothing is written to disk.
"""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from cifarnet import data, system
from cifarnet.formatting import printable
from cifarnet.serving import refusals
from cifarnet.serving.refusals import Refused

_MAX_PARTS = 16
_IS_FILE = re.compile(rb";\s*filename\*?=", re.IGNORECASE)  # in Content-Disposition
_MAX_THREADS = 2  # each may hold one image of `max_pixels`
_MAX_WAITING = 64  # bodies that wait for a thread

T = TypeVar("T")


def find(content: bytes, content_type: str) -> bytes:
    """Return the image file in a body: the body itself, or the only file of a form.

    Raises:
        Refused: 415 for another type of body; 400 for a form that is damaged, or without one file.
    """
    kind, options = parse_options_header(content_type)
    if kind == b"multipart/form-data":
        content = _of_form(content, options.get(b"boundary", b""))
    elif kind not in (b"", b"application/octet-stream") and not kind.startswith(b"image/"):
        raise Refused(
            415,
            "content-type: expected image/*, application/octet-stream or multipart/form-data, "
            f"received {printable(content_type)[:100]}. With curl: -F image=@FILE",
        )
    if not content:
        raise Refused(400, "expected an image file, received nothing")
    return content


def _of_form(content: bytes, boundary: bytes) -> bytes:
    if not boundary:
        raise Refused(400, "content-type: multipart/form-data without a boundary")
    form = _Form()
    try:
        parser = MultipartParser(boundary, form.callbacks())  # type: ignore[arg-type]
        parser.write(content)
        parser.finalize()
    except FormParserError as error:
        raise Refused(400, f"the form is damaged: {str(error)[:200]}") from error
    if len(form.files) != 1:
        raise Refused(400, f"expected a form with one file, received {len(form.files)}")
    return bytes(form.files[0])


class _Form:
    """Collects the files among the parts of a form."""

    def __init__(self) -> None:
        self.files: list[bytearray] = []
        self._parts = 0
        self._name, self._value = bytearray(), bytearray()
        self._is_file = False

    def callbacks(self) -> dict[str, Callable[..., None]]:
        """Return what the parser calls."""
        names = ("part_begin", "header_field", "header_value", "header_end", "part_data")
        return {f"on_{name}": getattr(self, f"_{name}") for name in names}

    def _part_begin(self) -> None:
        self._parts += 1
        self._is_file = False
        if self._parts > _MAX_PARTS:
            raise FormParserError(f"more than {_MAX_PARTS} parts")

    def _header_field(self, content: bytes, start: int, end: int) -> None:
        self._name += content[start:end]

    def _header_value(self, content: bytes, start: int, end: int) -> None:
        self._value += content[start:end]

    def _header_end(self) -> None:
        if self._name.lower() == b"content-disposition" and _IS_FILE.search(self._value):
            self._is_file = True
            self.files.append(bytearray())
        self._name.clear()
        self._value.clear()

    def _part_data(self, content: bytes, start: int, end: int) -> None:
        if self._is_file:
            self.files[-1] += memoryview(content)[start:end]


class Decoders:
    """Threads that decode images, and other work on single images."""

    def __init__(self, size: int, max_pixels: int) -> None:
        self._size, self._max_pixels = size, max_pixels
        self._threads = ThreadPoolExecutor(min(_MAX_THREADS, system.usable_cores()), "decode")
        self._waiting = 0

    async def run(self, function: Callable[[], T]) -> T:
        """Call a function in one of the threads.

        Raises:
            Refused: 503 if too many calls wait.
        """
        if self._waiting >= _MAX_WAITING:
            raise refusals.busy("too many images wait to be decoded")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, function)
        finally:
            self._waiting -= 1

    def decode(self, content: bytes) -> np.ndarray:
        """Decode an image file as `cifarnet predict` does: uint8 [size, size, 3].

        Raises:
            Refused: 400 if it is no readable image; 413 for too many pixels.
        """
        try:
            return data.decode(content, self._size, max_pixels=self._max_pixels)
        except data.TooManyPixels as error:
            raise Refused(413, str(error)) from error
        except Exception as error:  # Pillow's decoders raise many types on damaged files
            reason = printable(str(error))[:200]
            raise Refused(400, f"this is not a readable image: {reason}") from error

    async def close(self) -> None:
        """End the threads; the event loop goes on, for which some of them may wait."""
        end = functools.partial(self._threads.shutdown, cancel_futures=True)
        await asyncio.get_running_loop().run_in_executor(None, end)
