"""The run directory: where a run keeps its files, and how they are written and found.

Every file is written beside its name and renamed, so a reader sees the old file or the new
one, never a part. The manifest `run.json` says how far the run got; its status is written last.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

import filelock

from cifarnet.errors import CifarnetError, RunError

RUNS = Path("runs")


@dataclass(frozen=True)
class RunDir:
    """The paths of one run."""

    path: Path

    @property
    def config(self) -> Path:
        """The whole resolved config, YAML."""
        return self.path / "config.yaml"

    @property
    def manifest(self) -> Path:
        """What was run, on what, how far it got: see `read_manifest`."""
        return self.path / "run.json"

    @property
    def history(self) -> Path:
        """One row an epoch, CSV."""
        return self.path / "history.csv"

    @property
    def log(self) -> Path:
        """What the console showed, without the bars."""
        return self.path / "log.txt"

    @property
    def checkpoint(self) -> Path:
        """All that exact resume needs, in one file."""
        return self.path / "checkpoint" / "state.npz"

    @property
    def model(self) -> Path:
        """The selected weights: float32, no optimizer state."""
        return self.path / "model.keras"

    @property
    def evaluation(self) -> Path:
        """Folder of `<split>.json`, `<split>-predictions.npz` and their pictures."""
        return self.path / "evaluation"

    @property
    def exports(self) -> Path:
        """Folder of a folder an artifact, each with its `export.json`."""
        return self.path / "exports"

    @property
    def plots(self) -> Path:
        """Folder of pictures of the training."""
        return self.path / "plots"

    def read_manifest(self) -> dict[str, Any]:
        """The manifest.

        Raises:
            RunError: it is missing or not JSON.
        """
        try:
            value = json.loads(self.manifest.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunError(f"cannot read the manifest {self.manifest}: {error}") from None
        if not isinstance(value, dict):
            raise RunError(f"{self.manifest}: expected a JSON object")
        return value

    def update_manifest(self, **values: Any) -> None:
        """Replace the manifest by itself with `values` set. Only the lock's holder may."""
        old = self.read_manifest() if self.manifest.exists() else {}
        write_json(self.manifest, {**old, **values})


# --- writing --------------------------------------------------------------------------


def write_atomic(path: Path, write: Callable[[BinaryIO], None]) -> None:
    """Let `write` fill a new file, make it durable, then give it its name.

    Raises:
        RunError: the file cannot be written (full disk, no permission); the old one stays.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise _unwritable(path, error) from None
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically; raises as `write_atomic`."""
    content = text.encode("utf-8")

    def write(file: BinaryIO) -> None:
        file.write(content)

    write_atomic(path, write)


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON atomically; raises as `write_atomic`."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def _unwritable(path: Path, error: OSError) -> RunError:
    return RunError(
        f"cannot write {path}: {error.strerror or error}. "
        "Make room or check the permissions, then run the command again."
    )


# --- creating, locking ----------------------------------------------------------------


def create(name: str, root: Path = RUNS) -> RunDir:
    """Make a new directory `<root>/<timestamp>-<name>[-n]`; an existing one is never reused.

    Raises:
        RunError: the directory cannot be made.
    """
    stem = f"{datetime.now():%Y%m%d-%H%M%S}-{name}"
    try:
        root.mkdir(parents=True, exist_ok=True)
        for number in range(1, 10_000):
            path = root / (stem if number == 1 else f"{stem}-{number}")
            with suppress(FileExistsError):
                path.mkdir()
                return RunDir(path)
    except OSError as error:
        raise _unwritable(root / stem, error) from None
    raise RunError(f"cannot make a new run directory: {root / stem} and 9,999 numbered ones exist")


@contextmanager
def lock(run: RunDir) -> Iterator[None]:
    """Hold the right to write a run. The operating system frees it when the process ends.

    Raises:
        RunError: another process holds it; says which.
    """
    held = filelock.FileLock(run.path / ".lock")
    try:
        held.acquire(timeout=0)
    except filelock.Timeout:
        holder = run.read_manifest().get("process", {}) if run.manifest.exists() else {}
        who = f"process {holder.get('pid', '?')} on {holder.get('host', '?')}"
        raise RunError(
            f"{run.path} is being written by {who}. Wait until it ends or stop it, then try again."
        ) from None
    except OSError as error:
        raise _unwritable(run.path / ".lock", error) from None
    try:
        run.update_manifest(process={"pid": os.getpid(), "host": socket.gethostname()})
        yield
    finally:
        held.release()


def is_locked(run: RunDir) -> bool:
    """Whether a living process is writing the run."""
    probe = filelock.FileLock(run.path / ".lock")
    try:
        probe.acquire(timeout=0)
    except (filelock.Timeout, OSError):
        return True
    probe.release()
    return False


# --- finding --------------------------------------------------------------------------


def find(text: str, root: Path = RUNS) -> RunDir:
    """The run a user means by its path, its name under `root`, or `latest`.

    Raises:
        RunError: there is no such run; lists the newest ones.
    """
    runs = all_runs(root)
    if text == "latest" and runs:
        return runs[-1]
    for path in (Path(text), root / text):
        if text != "latest" and (path / "run.json").is_file():
            return RunDir(path)
    known = ", ".join(run.path.name for run in runs[-3:]) if runs else "none"
    raise RunError(
        f"expected a run: a path, a name under {root}/, or `latest`; received {text!r}. "
        f"Newest runs in {root.resolve()}: {known}. See all with `cifarnet runs list`."
    )


def all_runs(root: Path = RUNS) -> list[RunDir]:
    """Every directory under `root` that has a manifest, oldest first."""
    if not root.is_dir():
        return []
    folders = [path for path in root.iterdir() if (path / "run.json").is_file()]
    return [RunDir(path) for path in sorted(folders, key=_age)]


def _age(path: Path) -> tuple[str, int, str]:
    """Sorts by the name's timestamp, then `-n`: names of one second end in no number or -n."""
    stem, _, number = path.name.rpartition("-")
    if stem.count("-") >= 2 and number.isdecimal():
        return stem, int(number), path.name
    return path.name, 1, path.name


def status(run: RunDir) -> str:
    """`finished`, `interrupted`, `failed`, `running`, or `killed`: running by no living process.

    A manifest that cannot be read is `damaged`.
    """
    try:
        stated = str(run.read_manifest().get("status", "damaged"))
    except CifarnetError:
        return "damaged"
    return "killed" if stated == "running" and not is_locked(run) else stated


def remove(run: RunDir) -> None:
    """Delete a run's directory.

    Raises:
        RunError: a process is writing it, or it cannot be deleted.
    """
    if is_locked(run):
        raise RunError(f"{run.path} is in use; stop its process first")
    try:
        shutil.rmtree(run.path)
    except OSError as error:
        raise RunError(f"cannot remove {run.path}: {error}") from None


def summary(run: RunDir) -> dict[str, Any]:
    """What a table of runs shows, taken from the stored files alone; missing values are None."""
    manifest: Mapping[str, Any] = {}
    with suppress(CifarnetError):
        manifest = run.read_manifest()
    return {
        "name": run.path.name,
        "status": status(run),
        "config": manifest.get("config_file"),
        "epochs": manifest.get("epochs_done"),
        "validation_accuracy": manifest.get("validation_accuracy"),
        "test_accuracy": _test_accuracy(run),
        "seconds": manifest.get("seconds"),
    }


def exports(run: RunDir) -> list[dict[str, Any]]:
    """What the `export.json` of each proven artifact says, with its `name` and `path`.

    Raises:
        RunError: an `export.json` that is not JSON.
    """
    found = []
    for file in sorted(run.exports.glob("[!.]*/export.json")):
        if file.parent.suffix == ".failed":
            continue
        try:
            document = json.loads(file.read_text(encoding="utf-8"))
            path = str(file.parent / document["artifact"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunError(
                f"cannot read {file}: {error}. Export the run again: cifarnet export"
            ) from None
        found.append({"name": file.parent.name, "path": path, **document})
    return found


def _test_accuracy(run: RunDir) -> float | None:
    """Of the plain evaluation if there is one, else of one with test-time augmentation."""
    for path in [run.evaluation / "test.json", *sorted(run.evaluation.glob("test-*.json"))]:
        with suppress(OSError, ValueError, KeyError, TypeError):
            return float(json.loads(path.read_text(encoding="utf-8"))["accuracy"])
    return None
