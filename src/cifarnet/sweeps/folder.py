"""The folder of a sweep: its record, its base config, its locks, and the runs of its trials."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path

import filelock

from cifarnet import config as cfg
from cifarnet import runs
from cifarnet.errors import RunError
from cifarnet.runs import Run, documents
from cifarnet.runs.atomic import remove_leftovers, replace_folder, unwritable
from cifarnet.runs.sweeps import SweepRecord
from cifarnet.sweeps import space
from cifarnet.sweeps.settings import Settings

_RUN = re.compile(r"\d{8}-\d{6}-(?P<name>.+-\d{4,}-seed\d+)(-\d+)?")


@dataclass(frozen=True)
class SweepFolder:
    """The paths of one sweep, and what it varies."""

    path: Path

    @cached_property
    def record(self) -> SweepRecord:
        """`sweep.json`; it never changes."""
        return documents.read(self.path / "sweep.json", SweepRecord)

    @cached_property
    def base(self) -> cfg.Config:
        """The config that the trials change."""
        return cfg.load(self.path / "base.yaml")

    @cached_property
    def space(self) -> space.Space:
        """What is varied."""
        return space.parse(self.record.vary, {})

    @property
    def journal_file(self) -> Path:
        """The storage, where no URL was given."""
        return self.path / "journal.log"

    @property
    def plots_folder(self) -> Path:
        """Folder of pictures."""
        return self.path / "plots"

    def run_name(self, number: int, seed: int) -> str:
        """Return the `name` of the run of a trial and a seed."""
        return f"{self.record.name}-{number:04}-seed{seed}"

    def runs(self) -> dict[str, Run]:
        """Return the runs of the trials by `name`."""
        found: dict[str, Run] = {}
        for path in sorted(self.path.glob("*-seed*")):
            if match := _RUN.fullmatch(path.name):
                found.setdefault(match["name"], Run(path))
        return found

    @contextmanager
    def claiming(self) -> Iterator[None]:
        """Hold the right to claim a trial; released by the system when the process ends."""
        with filelock.FileLock(self.path / ".lock"):
            yield

    def try_lock(self, number: int) -> filelock.BaseFileLock | None:
        """Take the lock of a trial, which tells that a living process trains it; None: it does."""
        (self.path / "locks").mkdir(exist_ok=True)
        lock = filelock.FileLock(self.path / "locks" / f"trial-{number:04}.lock")
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            return None
        return lock


def find_run(folder: Path, name: str) -> Run | None:
    """Return the run of a trial and a seed by its `name`, or None."""
    return SweepFolder(folder).runs().get(name)


def open_folder(path: Path, root: str | Path | None = None) -> SweepFolder:
    """Open the folder of a sweep, which may be given by the name of the sweep.

    Raises:
        RunError: there is none.
    """
    home = runs.root_folder(root) / "sweeps"
    for folder in (SweepFolder(path), SweepFolder(home / path)):
        if is_sweep(folder.path):
            _ = folder.record
            return folder
    names = sorted(one.name for one in home.glob("*") if is_sweep(one))
    known = f"Sweeps in {home}: {', '.join(names)}" if names else f"There is no sweep in {home}"
    raise RunError(
        f"expected the folder or the name of a sweep; received {path}. {known}. "
        "`cifarnet sweep run FILE` begins one; --runs says in which folder of runs."
    )


def is_sweep(path: Path) -> bool:
    """Return whether a folder is that of a sweep."""
    return (path / "sweep.json").is_file()


def begin_or_join(settings: Settings, storage: str, root: str | Path | None) -> SweepFolder:
    """Make the folder of a sweep, or open the one that another process made.

    Args:
        settings: the sweep file.
        storage: URL without its password; empty: the journal in the folder.
        root: folder of runs; None: `CIFARNET_RUNS`, or `runs`.

    Raises:
        RunError: there is a sweep of this name with other settings, or it cannot be written.
    """
    home = runs.root_folder(root) / "sweeps"
    path = home / settings.name
    try:
        home.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(home / ".lock"):
            remove_leftovers(home, deep=False)
            if not path.exists():
                _make(path, settings, storage)
    except OSError as error:
        raise unwritable(path, error) from error
    folder = open_folder(path)
    if differences := _differences(folder, settings):
        raise RunError(
            f"{path} is a sweep with other settings ({', '.join(differences)}). To begin a new "
            "one, give it another `name:` in the file. To continue the old one: cifarnet sweep "
            f"run {path}"
        )
    return folder


def _make(path: Path, settings: Settings, storage: str) -> None:
    record = SweepRecord(
        name=settings.name,
        folder_id=uuid.uuid4().hex,
        study=f"{settings.name}-{settings.digest[:12]}",
        storage=storage,
        digest=settings.digest,
        file=str(settings.file.absolute()),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        vary=settings.vary,
        seeds=list(settings.seeds),
        trials=settings.trials,
        sampler=settings.sampler,
        prune=settings.prune,
    )
    with replace_folder(path) as new:
        (new / "base.yaml").write_text(cfg.dump(settings.base), encoding="utf-8")
        if not storage:
            (new / "journal.log").touch()
        documents.write(new / "sweep.json", record)


def _differences(folder: SweepFolder, settings: Settings) -> list[str]:
    """Return which settings of a sweep differ from its folder's.

    Not by the digest, which a new version of the package changes with each new key.
    """
    record = folder.record
    pairs = {
        "vary": (list(record.vary.items()), list(settings.vary.items())),
        "seeds": (record.seeds, list(settings.seeds)),
        "trials": (record.trials, settings.trials),
        "sampler": (record.sampler, settings.sampler),
        "prune": (record.prune, settings.prune),
    }
    names = [name for name, (old, new) in pairs.items() if old != new]
    changed = cfg.changes(folder.base, settings.base)
    images = [base.data.path and base.data.path.resolve() for base in (folder.base, settings.base)]
    same = {"name", "data.path"} if images[0] == images[1] else {"name"}
    lines = [
        f"base {key}: {old} -> {new}" for key, (old, new) in changed.items() if key not in same
    ]
    return [*names, *lines[:3]]
