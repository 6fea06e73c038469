"""Whether a run's files are what its record says."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from cifarnet.errors import ArtifactError, CifarnetError
from cifarnet.runs.arrays import read_arrays
from cifarnet.runs.directory import Run, status
from cifarnet.runs.records import FileRecord

# Not results: what a person may look at, and what the next command clears away.
_UNRECORDED = (
    "log.txt",
    ".lock",
    "run.json",
    "report.html",
    "mlflow.json",
    "plots/",
    "tensorboard/",
    "checkpoint/",
)


class Verdict(NamedTuple):
    """On one file: its path in the run, what was found, and whether it is right.

    `right` is None where the record says nothing of the file.
    """

    name: str
    found: str
    right: bool | None


def forget(run: Run, *paths: Path) -> None:
    """Take files, and all in folders, out of the record: they are about to change."""
    gone = [_name(run, path) for path in paths]
    old = run.read_record().files
    remaining = {
        name: about
        for name, about in old.items()
        if not any(name == path or name.startswith(f"{path}/") for path in gone)
    }
    if remaining != old:
        run.update_record(files=remaining)


@contextmanager
def changing(run: Run, *paths: Path) -> Iterator[None]:
    """Let files or folders of a run be replaced, and keep the record true all the while.

    Their checksums leave the record first and return at the end. Needs the run's lock.
    """
    forget(run, *paths)
    try:
        yield
    finally:
        files = run.read_record().files
        run.update_record(files={**files, **record(run, *paths)})


def record(run: Run, *paths: Path) -> dict[str, FileRecord]:
    """Bytes and SHA-256 of files, and of all in folders, by their path in the run."""
    files = [file for path in paths for file in (path, *path.rglob("*")) if file.is_file()]
    return {
        _name(run, file): FileRecord(bytes=file.stat().st_size, sha256=_sha256(file))
        for file in sorted(files)
    }


def check(run: Run, path: Path) -> None:
    """Compare a file, or all files of a folder, with the record, as far as it knows them.

    Raises:
        ArtifactError: one differs.
        RunError: the record cannot be read.
    """
    files = run.read_record().files
    for file in [path, *sorted(path.rglob("*"))]:
        about = files.get(_name(run, file))
        if about is not None and not _verdict(run, _name(run, file), about.sha256).right:
            raise ArtifactError(
                f"{file} is damaged, missing or was replaced: its SHA-256 is not the one in "
                f"{run.record_file}. Restore it, or write it again."
            )


def digest(path: Path) -> str:
    """Return the SHA-256 of a file; of a folder, that of the names and digests of its files."""
    if path.is_file():
        return _sha256(path)
    found = hashlib.sha256()
    for file in sorted(one for one in path.rglob("*") if one.is_file()):
        found.update(f"{file.relative_to(path).as_posix()}\0{_sha256(file)}\n".encode())
    return found.hexdigest()


def weights_digest(run: Run) -> str:
    """Return the SHA-256 of a run's `model.keras`; empty without one.

    It is that of the record; of the file where it has none, as while the run is resumed.

    Raises:
        RunError: the record cannot be read.
    """
    about = run.read_record().files.get(run.model_file.name)
    if about is not None:
        return about.sha256
    return digest(run.model_file) if run.model_file.is_file() else ""


def is_current(run: Run, weights_sha256: str) -> bool:
    """Return whether a stored result is of the run's present weights.

    Args:
        weights_sha256: as the result states it; earlier versions stated none, which counts as so.

    Raises:
        RunError: the run's record cannot be read.
    """
    return weights_sha256 in ("", weights_digest(run))


def verify(run: Run) -> list[Verdict]:
    """Recompute every checksum of a run.

    A finished run must have its config, history and model in the record.

    Raises:
        RunError: the record cannot be read.
    """
    files = run.read_record().files
    needed = [run.config_file]
    if status(run) == "finished":
        needed += [run.history_file, run.model_file]
    found = [_verdict(run, name, about.sha256) for name, about in sorted(files.items())]
    found += [
        Verdict(_name(run, path), "not in run.json", False)
        for path in needed
        if _name(run, path) not in files
    ]
    found += [_checkpoint(run, path) for path in run.checkpoints()]
    known = {one.name for one in found}
    for file in sorted(run.path.rglob("*")):
        name = _name(run, file)
        recorded = not name.startswith(_UNRECORDED) and ".failed/" not in name
        if recorded and file.is_file() and name not in known:
            found.append(Verdict(name, "not in run.json", None))
    return found


def _verdict(run: Run, name: str, expected: str) -> Verdict:
    try:
        received = _sha256(run.path / name)
    except OSError as error:
        return Verdict(name, error.strerror or str(error), False)
    if received != expected:
        return Verdict(name, f"expected SHA-256 {expected}, received {received}", False)
    return Verdict(name, f"SHA-256 {received}", True)


def _checkpoint(run: Run, path: Path) -> Verdict:
    try:
        read_arrays(path)
    except (CifarnetError, OSError) as error:
        return Verdict(_name(run, path), str(error), False)
    return Verdict(_name(run, path), "has its own SHA-256", True)


def _name(run: Run, path: Path) -> str:
    with suppress(ValueError):
        return path.resolve().relative_to(run.path.resolve()).as_posix()
    return str(path)


def _sha256(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            found.update(block)
    return found.hexdigest()
