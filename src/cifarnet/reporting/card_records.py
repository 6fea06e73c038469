"""The records of a run that its model card is written from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, get_args

from cifarnet import config as cfg
from cifarnet import runs
from cifarnet.choices import Tta
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
from cifarnet.runs.documents import RecordT
from cifarnet.runs.explanations import Explanation
from cifarnet.runs.results import evaluation_stem

_OfWeights = TypeVar("_OfWeights", Evaluation, Robustness, Explanation, Export)


@dataclass(frozen=True)
class CardRecords:
    """What is recorded of a run's present weights; None or empty: not measured.

    Attributes:
        weights_sha256: of `model.keras`.
        evaluations: of test images, the one without test-time augmentation first.
        left_out: records of older weights, by their path in the run.
    """

    record: RunRecord
    config: cfg.Config
    weights_sha256: str
    evaluations: tuple[Evaluation, ...]
    robustness: Robustness | None
    explanations: tuple[Explanation, ...]
    audit: Audit | None
    exports: tuple[Export, ...]
    benchmark: Benchmark | None
    left_out: tuple[str, ...]


def read(run: Run) -> CardRecords:
    """Read the records.

    Raises:
        RunError: a record is damaged or of a newer format.
        ConfigError: the config is damaged.
    """
    folder, digest = run.evaluation_folder, runs.weights_digest(run)
    tests = [folder / f"{evaluation_stem('test', tta)}.json" for tta in get_args(Tta)]
    sheets = sorted(folder.glob("explanations/[!.]*/explain.json"))
    old: list[Path] = []
    return CardRecords(
        record=run.read_record(),
        config=cfg.load(run.config_file),
        weights_sha256=digest,
        evaluations=_current(_read(tests, Evaluation), digest, old),
        robustness=_first(_current(_read([folder / "robustness.json"], Robustness), digest, old)),
        explanations=_current(_read(sheets, Explanation), digest, old),
        audit=_first(_read([folder / "audit.json"], Audit)),
        exports=_current(runs.exports(run), digest, old),
        benchmark=_first(_read([run.path / "benchmark.json"], Benchmark)),
        left_out=tuple(path.relative_to(run.path).as_posix() for path in old),
    )


def _read(paths: Iterable[Path], kind: type[RecordT]) -> list[RecordT]:
    return [documents.read(path, kind) for path in paths if path.exists()]


def _first(records: Iterable[RecordT]) -> RecordT | None:
    return next(iter(records), None)


def _current(records: Iterable[_OfWeights], digest: str, old: list[Path]) -> tuple[_OfWeights, ...]:
    """Return the records of these weights, and add the files of the others to `old`."""
    found = []
    for one in records:
        of = one.weights_sha256 if isinstance(one, Export) else one.about.weights_sha256
        if of in ("", digest):
            found.append(one)
        else:
            old.append(one.path)
    return tuple(found)
