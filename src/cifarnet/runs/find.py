"""Which runs there are, and what is known of them without opening a network."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from cifarnet.errors import CifarnetError, RunError
from cifarnet.runs import documents
from cifarnet.runs.checksums import is_current
from cifarnet.runs.directory import Run, root_folder, status
from cifarnet.runs.records import RunRecord
from cifarnet.runs.results import Evaluation, Export


def open_run(run: Run | str | Path, root: str | Path | None = None) -> Run:
    """Find a run by its path, its name under `root`, or `latest`: the one that started last.

    Args:
        run: returned as it is if it is a `Run`.
        root: folder of runs; None: the environment variable CIFARNET_RUNS, or `runs`.

    Raises:
        RunError: there is no such run; lists the newest ones.

    Example:
        record = cifarnet.open_run("latest").read_record()
        print(record.status, record.validation_accuracy)
    """
    if isinstance(run, Run):
        return run
    root, text = root_folder(root), str(run)
    runs = all_runs(root)
    if text == "latest" and runs:
        return runs[-1]
    for path in (Path(text), root / text):
        with suppress(OSError, ValueError):  # a name that no file can have
            if text != "latest" and (path / "run.json").is_file():
                return Run(path)
    known = ", ".join(run.path.name for run in runs[-3:]) if runs else "none"
    no_file = ", and there is no such file" if Path(text).suffix and not _exists(text) else ""
    raise RunError(
        f"expected a run: a path, a name under {root}/, or `latest`; received {text!r}{no_file}. "
        f"Newest runs in {root.resolve()}: {known}. See all with `cifarnet runs list`; --runs DIR "
        "or CIFARNET_RUNS names another folder."
    )


def _exists(text: str) -> bool:
    try:
        return Path(text).exists()
    except (OSError, ValueError):  # a name that no file can have
        return False


def run_of(path: Path) -> Run | None:
    """Return the run that a file or folder lies in; None: in no run."""
    homes = (
        one for one in (*path.parents, *path.absolute().parents) if (one / "run.json").is_file()
    )
    return next(map(Run, homes), None)


def all_runs(root: str | Path | None = None) -> list[Run]:
    """Every directory under `root` that has a record, in the order of their start; see `open_run`.

    Of runs that started in one second, by the number of their name. A damaged record has no start;
    then the time in the name counts.
    """
    root = root_folder(root)
    if not root.is_dir():
        return []
    found = (path for path in root.iterdir() if not path.name.startswith("."))
    runs = [Run(path) for path in found if (path / "run.json").is_file()]
    return sorted(runs, key=_age)


def _age(run: Run) -> tuple[str, str, int]:
    """Sorts by the start, then the name, then its `-n`: names end in no number or -n."""
    name, number = run.path.name, 1
    if match := re.fullmatch(r"(\d{8}-\d{6}-.+)-(\d+)", name):
        name, number = match[1], int(match[2])
    return _start(run), name, number


def _start(run: Run) -> str:
    """Return the start as the names of runs have it: UTC, to the second."""
    with suppress(CifarnetError, ValueError):
        started = datetime.fromisoformat(run.read_record().started or "")
        return f"{started.astimezone(timezone.utc):%Y%m%d-%H%M%S}"
    return run.path.name[: len("20260101-120000")]


@dataclass(frozen=True)
class RunSummary:
    """What a table of runs shows, from the stored files alone; missing values are None.

    Attributes:
        test_accuracy: without test-time augmentation if that was evaluated, else with; None if the
            run was trained further since, or its images had changed.
    """

    name: str
    status: str
    config: str | None
    epochs: float | None
    validation_accuracy: float | None
    test_accuracy: float | None
    seconds: float | None


def summary(run: Run) -> RunSummary:
    """Summarize a run; one whose record is damaged has no values."""
    record = RunRecord()
    with suppress(CifarnetError):
        record = run.read_record()
    return RunSummary(
        name=run.path.name,
        status=status(run),
        config=record.config_file,
        epochs=record.epochs_done,
        validation_accuracy=record.validation_accuracy,
        test_accuracy=_test_accuracy(run),
        seconds=record.seconds,
    )


def exports(run: Run, failed: bool = False) -> list[Export]:
    """Read the record of each exported artifact, by name.

    Args:
        run: whose artifacts.
        failed: those that failed their parity check instead.

    Raises:
        RunError: an `export.json` that is damaged.
    """
    return [documents.read(file, Export) for file in export_files(run, failed)]


def export_files(run: Run, failed: bool = False) -> list[Path]:
    """Return the files that `exports` reads."""
    files = sorted(run.exports_folder.glob("[!.]*/export.json"))
    return [file for file in files if (file.parent.suffix == ".failed") == failed]


def export_label(run: Run, export: Export) -> str:
    """Return an artifact's name, and whether the run was trained further after its export.

    Raises:
        RunError: the run's record cannot be read.
    """
    current = is_current(run, export.weights_sha256)
    return export.name if current else f"{export.name} (of older weights)"


def _test_accuracy(run: Run) -> float | None:
    folder = run.evaluation_folder
    for path in [folder / "test.json", *sorted(folder.glob("test-*.json"))]:
        with suppress(RunError):
            found = documents.read(path, Evaluation)
            if is_current(run, found.about.weights_sha256) and not found.about.changed_data:
                return found.accuracy
    return None
