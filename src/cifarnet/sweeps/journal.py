"""Optuna's journal file, with a lock that the system frees and no new file where one is missing."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import BinaryIO

import filelock
from optuna.storages.journal import JournalFileBackend

from cifarnet.errors import JsonObject


class Journal(JournalFileBackend):
    """A journal file that must be there, and whose last line may be half-written.

    Optuna's own locks stay for 30 s after a process that held one was killed.
    """

    def __init__(self, path: Path) -> None:
        """Open it.

        Raises:
            OSError: the file is missing.
        """
        path.stat()
        super().__init__(str(path))
        self._path = path
        self._own_lock = filelock.FileLock(path.with_name(f".{path.name}.lock"))

    def append_logs(self, logs: list[JsonObject]) -> None:
        """Append records, and wait until the disk has them.

        Raises:
            OSError: the file is missing: a new one would lack what was written before.
        """
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        with self._own_lock, self._path.open("rb+") as file:
            _remove_partial_line(file)
            file.seek(0, os.SEEK_END)
            file.write(lines.encode())
            file.flush()
            os.fsync(file.fileno())


def _remove_partial_line(file: BinaryIO) -> None:
    """Remove what a process or machine that ended wrote of a line; nobody was told it is there."""
    if file.seek(0, os.SEEK_END) == 0:
        return
    file.seek(-1, os.SEEK_END)
    if file.read(1) != b"\n":
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
