"""All that a run directory has to show, read without trusting it."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cifarnet import config as cfg
from cifarnet import runs
from cifarnet.errors import CifarnetError
from cifarnet.runs import (
    Audit,
    Benchmark,
    Evaluation,
    Export,
    Robustness,
    Run,
    RunRecord,
    documents,
)
from cifarnet.runs.comparisons import Comparison
from cifarnet.runs.documents import RecordT
from cifarnet.runs.explanations import Explanation

_MAX_COMPARISONS = 3  # of a run, the newest
_MAX_READ = 50
_TOO_LARGE = 1e15  # of a number in `history.csv`, as in records


@dataclass(frozen=True)
class StoredRun:
    """The records of a run that are of its present weights.

    Attributes:
        config: None if it cannot be read.
        history: rows of `history.csv`, numbers by column.
        evaluations: of the test images first, and without test-time augmentation first.
        comparisons: the newest ones of the run, newest first.
        notes: records that cannot be read, or are of older weights.
    """

    run: Run
    record: RunRecord
    config: cfg.Config | None = None
    history: list[dict[str, float]] = field(default_factory=list)
    evaluations: list[Evaluation] = field(default_factory=list)
    robustness: Robustness | None = None
    explanations: list[Explanation] = field(default_factory=list)
    exports: list[Export] = field(default_factory=list)
    benchmark: Benchmark | None = None
    audit: Audit | None = None
    comparisons: list[Comparison] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def data_name(self) -> str:
        """The name of the dataset; of a folder the last part of its path alone."""
        data = None if self.config is None else self.config.data
        if data is None or data.source != "directory" or data.path is None:
            return self.record.data.source
        return f"{data.path.name}, {len(self.record.data.classes)} classes of images"

    @property
    def evaluation(self) -> Evaluation | None:
        """The evaluation that is shown in full."""
        return self.evaluations[0] if self.evaluations else None


def read(run: Run) -> StoredRun:
    """Read the records of a run; those that are damaged or of older weights are noted instead.

    Raises:
        RunError: `run.json` cannot be read.
    """
    reader = _Reader(run)
    folder = run.evaluation_folder
    files = sorted(folder.glob("*.json"), key=_importance)
    files = [file for file in files if file.stem.split("-")[0] in ("test", "validation")]
    robustness = reader.current([folder / "robustness.json"], Robustness)
    benchmarks = reader.read([run.path / "benchmark.json"], Benchmark)
    audits = reader.read([folder / "audit.json"], Audit)
    explanations = sorted((folder / "explanations").glob("**/explain.json"))
    return StoredRun(
        run=run,
        record=reader.record,
        config=reader.config(),
        history=history(run),
        evaluations=reader.evaluations(files),
        robustness=next(iter(robustness), None),
        explanations=reader.current(explanations, Explanation),
        exports=reader.current(runs.export_files(run), Export),
        benchmark=next(iter(benchmarks), None),
        audit=next(iter(audits), None),
        comparisons=_comparisons(run, reader.weights),
        notes=reader.notes,
    )


class _Reader:
    """Reads records of a run, and notes those that cannot be shown."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.record = run.read_record()
        self.notes: list[str] = []
        self.weights = runs.weights_digest(run)

    def read(self, files: Iterable[Path], kind: type[RecordT]) -> list[RecordT]:
        found = []
        for file in files:
            if not file.is_file():
                continue
            try:
                found.append(documents.read(file, kind))
            except CifarnetError as error:
                self.notes.append(str(error))
        return found

    def current(self, files: Iterable[Path], kind: type[RecordT]) -> list[RecordT]:
        """Read records that say which weights they are of, and keep those of the present ones."""
        found = []
        for one in self.read(files, kind):
            source: Any = getattr(one, "about", one)
            if source.weights_sha256 in ("", self.weights):
                found.append(one)
            else:
                name = one.path.relative_to(self.run.path).as_posix()
                self.notes.append(f"{name} is of older weights: the run was trained further")
        return found

    def evaluations(self, files: Iterable[Path]) -> list[Evaluation]:
        """Read evaluations, and keep those that have the figures of all their classes."""
        found = []
        for one in self.current(files, Evaluation):
            matrix = one.confusion_matrix
            sizes = {len(one.classes), len(one.per_class), len(matrix), *map(len, matrix)}
            if len(sizes) == 1 and one.classes and one.count and len(one.accuracy_interval) == 2:
                found.append(one)
            else:
                self.notes.append(f"cannot read {one.path}: its figures contradict each other")
        return found

    def config(self) -> cfg.Config | None:
        try:
            return cfg.load(self.run.config_file)
        except CifarnetError as error:
            self.notes.append(str(error))
        return None


def _importance(file: Path) -> tuple[bool, bool, str]:
    split, *augmentation = file.stem.split("-")
    return split != "test", bool(augmentation), file.stem


def history(run: Run) -> list[dict[str, float]]:
    """Read the rows of `history.csv`, numbers by column; none if it is missing or damaged.

    Values of a training that diverged are left out: NaN, infinite, or of 16 digits.
    """
    try:
        rows = runs.read_history(run)
    except (OSError, ValueError):
        return []
    return [{key: x for key, x in row.items() if abs(x) < _TOO_LARGE} for row in rows]


def _comparisons(run: Run, weights: str) -> list[Comparison]:
    """Read the newest comparisons of a run with others; their folders are named by time."""
    files = sorted((run.path.parent / "comparisons").glob("*/compare.json"), reverse=True)
    found = []
    for file in files[:_MAX_READ]:
        with suppress(CifarnetError):
            one = documents.read(file, Comparison)
            compared = [x for group in one.groups for x in group.runs]
            if any((x.run, x.weights_sha256) == (run.path.name, weights) for x in compared):
                found.append(one)
        if len(found) == _MAX_COMPARISONS:
            break
    return found
