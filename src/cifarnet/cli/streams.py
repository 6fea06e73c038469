"""Standard streams that never end a command: one that cannot be written is given up."""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from typing import Any


class _Output(io.FileIO):
    """A file descriptor whose first error of writing turns it into the null device.

    The descriptor itself is replaced, so that what libraries and child processes write later is
    discarded too.

    Attributes:
        error: the first error, or None.
    """

    error: OSError | None = None

    def write(self, data: Any, /) -> int:
        try:
            while (written := super().write(data)) is None:  # non-blocking, and full
                select.select([], [self], [])
            return written
        except OSError as error:
            self.error = error
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.fileno())
            os.close(null)
            return memoryview(data).nbytes


def protect() -> None:
    """Replace the standard streams of this process by ones that raise no error.

    A closed stream becomes the null device: otherwise the next file that is opened would take its
    descriptor, and what libraries write there. A stream that a caller has replaced is left alone.
    """
    closed = [descriptor for descriptor in range(3) if not _is_open(descriptor)]
    for _ in closed:
        os.open(os.devnull, os.O_RDWR)  # takes the lowest free descriptor
    if 0 in closed:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if descriptor in closed:
            stream = open(descriptor, "w", closefd=False)  # noqa: SIM115
        if _descriptor(stream) == descriptor:
            output = _Output(descriptor, "wb", closefd=False)
            output.error = OSError(errno.EBADF, "it is closed") if descriptor in closed else None
            setattr(sys, name, _text(output, stream))


def output_error() -> OSError | None:
    """Return why standard output could not be written, or None."""
    sys.stdout.flush()
    output = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return output.error if isinstance(output, _Output) else None


def _text(output: _Output, stream: io.TextIOWrapper) -> io.TextIOWrapper:
    """Return `output` as a text stream like `stream`."""
    return io.TextIOWrapper(
        io.BufferedWriter(output),
        encoding=stream.encoding,
        errors="backslashreplace",  # a file's name may be no text at all
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def _descriptor(stream: Any) -> int | None:
    """Return the descriptor a text stream writes to; None of any other object."""
    try:
        return stream.fileno() if isinstance(stream, io.TextIOWrapper) else None
    except (OSError, ValueError):  # in memory, or closed
        return None


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True
