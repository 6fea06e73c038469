"""One run: its paths, its making, its lock, its state."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import filelock

from cifarnet.errors import CifarnetError, RunError
from cifarnet.runs import documents
from cifarnet.runs.atomic import remove_leftovers, replace_folder, unwritable
from cifarnet.runs.records import FileRecord, ProcessRecord, RunRecord

# As long as another process may take to look whether a run is locked.
_PROBE_SECONDS = 0.5


def root_folder(root: str | Path | None = None) -> Path:
    """Return the folder of runs: `root`, or without it `CIFARNET_RUNS`, or `runs`."""
    return Path(root or os.environ.get("CIFARNET_RUNS") or "runs")


@dataclass(frozen=True)
class Run:
    """The paths of one run."""

    path: Path

    def __post_init__(self) -> None:
        """Take a text as a path."""
        object.__setattr__(self, "path", Path(self.path))

    @property
    def config_file(self) -> Path:
        """The whole resolved config, YAML."""
        return self.path / "config.yaml"

    @property
    def record_file(self) -> Path:
        """What was run, on what, how far it got: see `read_record`."""
        return self.path / "run.json"

    @property
    def history_file(self) -> Path:
        """One row per epoch, CSV."""
        return self.path / "history.csv"

    @property
    def images_file(self) -> Path:
        """The image files of each split, CSV; only of runs on a folder of images."""
        return self.path / "images.csv"

    @property
    def log_file(self) -> Path:
        """What the console showed, without the bars."""
        return self.path / "log.txt"

    @property
    def tracker_file(self) -> Path:
        """The run's identity in MLflow: a `TrackerRecord`."""
        return self.path / "mlflow.json"

    def checkpoint(self, step: int) -> Path:
        """All that exact resume needs after so many steps, in one file."""
        return self.path / "checkpoint" / f"step-{step:08}.npz"

    def checkpoints(self) -> list[Path]:
        """The checkpoints there are, oldest first."""
        found = (self.path / "checkpoint").glob("step-*.npz")
        return sorted(found, key=lambda path: (len(path.name), path.name))

    @property
    def model_file(self) -> Path:
        """The selected weights: float32, no optimizer state."""
        return self.path / "model.keras"

    @property
    def evaluation_folder(self) -> Path:
        """Folder of `<split>.json`, `<split>-predictions.npz` and their pictures."""
        return self.path / "evaluation"

    @property
    def exports_folder(self) -> Path:
        """Folder of a folder an artifact, each with its `export.json`."""
        return self.path / "exports"

    @property
    def report_file(self) -> Path:
        """The page of the run, HTML, made of the other files."""
        return self.path / "report.html"

    @property
    def plots_folder(self) -> Path:
        """Folder of pictures of the training."""
        return self.path / "plots"

    def read_record(self) -> RunRecord:
        """Read `run.json`.

        Raises:
            RunError: it is missing, damaged, or of a newer format.
        """
        return documents.read(self.record_file, RunRecord)

    def update_record(self, **values: Any) -> RunRecord:
        """Write `run.json` with `values` replaced. Only for the holder of the lock."""
        old = self.read_record() if self.record_file.exists() else RunRecord()
        return documents.write(self.record_file, old.replace(**values))


# --- creating, locking ----------------------------------------------------------------


def create(
    name: str,
    root: str | Path | None = None,
    files: Mapping[str, str] | None = None,
    record: RunRecord | None = None,
) -> Run:
    """Make a new directory `<root>/<UTC time>-<name>[-n]`; an existing one is never reused.

    It appears whole: with `files` (texts by name) and with `record`, to which their checksums are
    added.

    Raises:
        RunError: the directory cannot be made.
    """
    root = root_folder(root)
    stem = f"{datetime.now(timezone.utc):%Y%m%d-%H%M%S}-{name}"
    try:
        root.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(root / ".lock"):
            remove_leftovers(root, deep=False)
            for number in range(1, 10_000):
                path = root / (stem if number == 1 else f"{stem}-{number}")
                if not path.exists():
                    _fill(path, files or {}, record or RunRecord())
                    return Run(path)
    except OSError as error:
        raise unwritable(root / stem, error) from error
    raise RunError(f"cannot make a new run directory: {root / stem} and 9,999 numbered ones exist")


def _fill(path: Path, files: Mapping[str, str], record: RunRecord) -> None:
    with replace_folder(path) as new:
        sums = {}
        for name, text in files.items():
            content = text.encode("utf-8")
            (new / name).write_bytes(content)
            digest = hashlib.sha256(content).hexdigest()
            sums[name] = FileRecord(bytes=len(content), sha256=digest)
        documents.write(new / "run.json", record.model_copy(update={"files": sums}))


@contextmanager
def lock(run: Run, wait: float = 0.0) -> Iterator[None]:
    """Hold the right to write a run. The operating system frees it when the process ends.

    Remove what a dead process left half-written.

    Args:
        run: of an existing directory.
        wait: seconds to wait for another process to release it.

    Raises:
        RunError: another process holds it; says which.
    """
    held = filelock.FileLock(run.path / ".lock")
    try:
        held.acquire(timeout=max(wait, _PROBE_SECONDS))
    except filelock.Timeout as error:
        raise RunError(
            f"{run.path} is being written by {_holder(run)}. Wait until it ends or stop it, then "
            "try again."
        ) from error
    except OSError as error:
        raise unwritable(run.path / ".lock", error) from error
    try:
        remove_leftovers(run.path)
        run.update_record(process=ProcessRecord(pid=os.getpid(), host=socket.gethostname()))
        yield
    finally:
        held.release()


def _holder(run: Run) -> str:
    process = ProcessRecord()
    with suppress(RunError):
        process = run.read_record().process
    return f"process {process.pid or '?'} on {process.host or '?'}"


def is_locked(run: Run) -> bool | None:
    """Whether a living process is writing the run; None where that cannot be known.

    It cannot in a folder that is read-only, or on a file system without locks.
    """
    probe = filelock.FileLock(run.path / ".lock")
    try:
        probe.acquire(timeout=0)
    except filelock.Timeout:
        return True
    except (OSError, NotImplementedError):
        return None
    probe.release()
    return False


def status(run: Run) -> str:
    """`finished`, `interrupted`, `failed`, `running`, or `killed`: running by no living process.

    A record that cannot be read is `damaged`. A run that may be running or killed is `unknown`.
    """
    try:
        stated = run.read_record().status
    except CifarnetError:
        return "damaged"
    if stated != "running":
        return stated
    return {True: "running", False: "killed", None: "unknown"}[is_locked(run)]


def remove(run: Run) -> None:
    """Delete a run's directory.

    Raises:
        RunError: a process is writing it, or it cannot be deleted.
    """
    held = filelock.FileLock(run.path / ".lock")
    try:
        held.acquire(timeout=_PROBE_SECONDS)
    except filelock.Timeout as error:
        raise RunError(f"{run.path} is in use; stop its process first") from error
    except (OSError, NotImplementedError) as error:
        raise RunError(
            f"cannot remove {run.path}: whether a process is writing it cannot be known, since "
            "its .lock cannot be opened. Check the permissions, or delete the folder yourself."
        ) from error
    try:
        shutil.rmtree(run.path)
    except OSError as error:
        raise RunError(f"cannot remove {run.path}: {error}") from error
    finally:
        held.release()
