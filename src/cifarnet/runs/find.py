"""Which runs there are, and what is known of them without opening a network."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from cifarnet.errors import CifarnetError, RunError
from cifarnet.runs import records
from cifarnet.runs.directory import RUNS, RunDir, status


def find(text: str, root: Path = RUNS) -> RunDir:
    """The run a user means by its path, its name under `root`, or `latest`.

    Raises:
        RunError: there is no such run; lists the newest ones.
    """
    runs = all_runs(root)
    if text == "latest" and runs:
        return runs[-1]
    for path in (Path(text), root / text):
        with suppress(OSError, ValueError):  # a name that no file can have
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
    found = (path for path in root.iterdir() if not path.name.startswith("."))
    folders = [path for path in found if (path / "run.json").is_file()]
    return [RunDir(path) for path in sorted(folders, key=_age)]


def _age(path: Path) -> tuple[str, int, str]:
    """Sorts by the name's timestamp, then `-n`: names of one second end in no number or -n."""
    stem, _, number = path.name.rpartition("-")
    if stem.count("-") >= 2 and number.isdecimal():
        return stem, int(number), path.name
    return path.name, 1, path.name


def summary(run: RunDir) -> dict[str, Any]:
    """What a table of runs shows, taken from the stored files alone; missing values are None."""
    about: Mapping[str, Any] = {}
    with suppress(CifarnetError):
        about = run.read_manifest()
    return {
        "name": run.path.name,
        "status": status(run),
        "config": about.get("config_file"),
        "epochs": about.get("epochs_done"),
        "validation_accuracy": about.get("validation_accuracy"),
        "test_accuracy": _test_accuracy(run),
        "seconds": about.get("seconds"),
    }


def exports(run: RunDir) -> list[dict[str, Any]]:
    """What the `export.json` of each proven artifact says, with its `name` and `path`.

    Raises:
        RunError: an `export.json` that is damaged.
    """
    found = []
    for file in sorted(run.exports.glob("[!.]*/export.json")):
        if file.parent.suffix == ".failed":
            continue
        document = records.read(file, records.Export)
        path = str(file.parent / document["artifact"])
        found.append({"name": file.parent.name, "path": path, **document})
    return found


def _test_accuracy(run: RunDir) -> float | None:
    """Of the plain evaluation if there is one, else of one with test-time augmentation."""
    for path in [run.evaluation / "test.json", *sorted(run.evaluation.glob("test-*.json"))]:
        with suppress(RunError):
            return float(records.read(path, records.Metrics)["accuracy"])
    return None
