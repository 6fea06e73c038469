"""Audit the images of a config or of a run."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cifarnet import artifacts, data, runs
from cifarnet import config as cfg
from cifarnet.artifacts import Artifact
from cifarnet.auditing.doubts import doubts
from cifarnet.auditing.pool import Found, Pool, duplicate, overlaps, pool, search
from cifarnet.callbacks import Callback, job
from cifarnet.config import Config
from cifarnet.cost import Meter, Power
from cifarnet.data import Dataset, near_duplicates
from cifarnet.errors import ConfigError
from cifarnet.reporting import audits as sheets
from cifarnet.runs import Audit, Run, documents
from cifarnet.runs.audits import AuditedSplit, Doubt, Duplicate

_SHOWN = 40  # pairs on the sheet
_COLUMNS = (
    *("kind", "split", "index", "file", "class"),
    *("other_split", "other_index", "other_file", "other_class", "distance", "mirrored"),
    *("label_confidence", "predicted", "confidence"),
)


class Files(NamedTuple):
    """What an audit writes beside `audit.json`; there is no sheet of doubts without a network."""

    table: Path
    duplicates: Path
    doubts: Path


def files(found: Audit) -> Files:
    """Return the files of an audit."""
    names = ("audit.csv", "audit-duplicates.png", "audit-doubts.png")
    return Files(*(found.path.with_name(name) for name in names))


def audit(
    config: Config | str | Path | None = None,
    run: Run | str | Path | None = None,
    callbacks: Iterable[Callback] | None = None,
    overrides: Iterable[str] = (),
    allow_changed_data: bool = False,
    output: str | Path | None = None,
    power: Power | None = None,
) -> Audit:
    """Find duplicates, leakage between splits, unusable images and doubtful labels; remove nothing.

    Writes `audit.json`, `audit.csv` with a row for each finding, and sheets of pictures.

    Args:
        config: whose images to audit; None, without a run: CIFAR-10.
        run: audit the images of this run or model file, and list the validation and test images
            whose label its network believes least.
        callbacks: notified of each stage; None: show progress on a terminal or in a notebook.
        overrides: `key=value` texts, such as `data.path=photos`.
        allow_changed_data: where images of a run's folder are gone or changed, use the others.
        output: folder to write into; None: the run's `evaluation`, or `audit` without a run.
        power: of this machine, and its electricity, for the record's cost.

    Returns:
        The counts and some findings; `path` is the file they are written to.

    Raises:
        ConfigError: both a config and a run are given, or a config is wrong.
        DataError: the images cannot be read, or are not those of the run.
        RunError, ArtifactError: the run cannot be found or loaded; the results cannot be written.

    Example:
        found = cifarnet.audit(run="latest")
        print(found.leaks, found.near_duplicates, found.doubts[:3])
    """
    if config is not None and run is not None:
        raise ConfigError("expected a config or a run, received both; give the one to audit")
    meter = Meter(power)
    with job(callbacks) as callback:
        artifact = None if run is None else artifacts.resolve(run, overrides)
        dataset = _load(config, artifact, overrides, allow_changed_data, callback)
        images = pool(dataset)
        found = search(images, partial(_report, len(images.pixels), callback))
        plain = near_duplicates.one_color(images.pixels)
        doubtful = [] if artifact is None else doubts(artifact, dataset, callback)
        record = _record(images, found, artifact, doubtful, plain)
        callback.on_result(record := record.replace(cost=meter.read()))
        rows = _rows(images, found, record, plain, dataset.source.unreadable)
        with _writing(artifact, output, callback) as folder:
            return _write(record, rows, images, folder)


def _report(count: int, callback: Callback, share: float) -> None:
    callback.on_stage(f"comparing {count:,} images: {100 * share:.0f} % of the pairs done")


def _load(
    config: Config | str | Path | None,
    artifact: Artifact | None,
    overrides: Iterable[str],
    allow_changed: bool,
    callback: Callback,
) -> Dataset:
    callback.on_stage("loading the images")
    if artifact is not None:
        predictor = artifact.load() if artifact.run is None else None
        return artifact.dataset(callback.on_fetch, allow_changed, predictor)
    if config is None:
        config = cfg.data_only(overrides)
    elif not isinstance(config, Config):
        config = cfg.load(config, overrides)
    # Unreadable images are findings, however many they are.
    settings = config.data.model_copy(update={"max_unreadable": 1.0})
    return data.load(settings, config.seed, callback.on_fetch)


@contextmanager
def _writing(
    artifact: Artifact | None, output: str | Path | None, callback: Callback
) -> Iterator[Path]:
    if artifact is None:
        yield Path("audit" if output is None else output)
        return
    folder = artifact.evaluation_folder(output)
    with artifact.writing(folder, callback):
        yield folder


def _record(
    images: Pool,
    found: Found,
    artifact: Artifact | None,
    doubtful: list[Doubt],
    plain: np.ndarray,
) -> Audit:
    """Return the record, without cost."""
    dataset = images.dataset
    splits = [_split(dataset, name) for name in data.SPLITS]
    sizes = splits[0].per_class
    exact = np.unique(found.later[found.exact])
    is_recorded = artifact is not None and artifact.run and dataset.source.name == "directory"
    unreadable = None if is_recorded else dataset.source.unreadable
    record = Audit(
        data=dataset.description,
        classes=list(dataset.classes),
        splits=splits,
        leaks=len(np.unique(found.later[found.leaks])),
        exact_duplicates=len(exact),
        near_duplicates=len(np.setdiff1d(found.later, exact)),
        conflicting_labels=len(np.unique(found.later[found.conflicts])),
        one_color=len(plain),
        unreadable=None if unreadable is None else len(unreadable),
        class_ratio=max(sizes) / min(sizes) if min(sizes, default=0) else None,
        missing_classes=sum(one.per_class.count(0) for one in splits if one.count),
        overlaps=overlaps(images, found),
        rule=near_duplicates.RULE,
        duplicates=[duplicate(images, found, pair) for pair in _spread(found)],
        artifact="" if artifact is None else str(artifact.path),
        doubts=doubtful,
        changed_data=dataset.changes,
        notes=list(dataset.notes),
    )
    return record


def _rows(
    images: Pool, found: Found, record: Audit, plain: np.ndarray, unreadable: Iterable[str]
) -> list[list[str]]:
    """Return a row of the table for each finding."""
    pairs = (duplicate(images, found, pair) for pair in range(len(found.later)))
    rows = [_pair_row(one) for one in pairs]
    rows += [["one_color", *map(str, images.place(int(row)))] for row in plain]
    rows += [["unreadable", "", "", name] for name in unreadable]
    for split in record.splits:
        empty = [record.classes[i] for i, n in enumerate(split.per_class) if not n and split.count]
        rows += [["missing_class", split.split, "", "", name] for name in empty]
    return rows + [_doubt_row(one) for one in record.doubts]


def _split(dataset: Dataset, name: str) -> AuditedSplit:
    labels = dataset.images(name).labels
    counts = np.bincount(labels, minlength=len(dataset.classes))
    digest = dataset.digest(name)
    per_class = [int(count) for count in counts]
    return AuditedSplit(split=name, count=len(labels), digest=digest, per_class=per_class)


def _spread(found: Found) -> list[int]:
    """Choose pairs for the sheet, evenly over all distances.

    Up to half of them of two classes, then leaks; if there are neither, any.
    """
    conflicts = _evenly(np.flatnonzero(found.conflicts), _SHOWN // 2)
    leaks = _evenly(np.flatnonzero(found.leaks & ~found.conflicts), _SHOWN - len(conflicts))
    chosen = np.sort(np.concatenate([conflicts, leaks]))
    return (chosen if len(chosen) else _evenly(np.arange(len(found.later)), _SHOWN)).tolist()


def _evenly(pairs: np.ndarray, most: int) -> np.ndarray:
    if len(pairs) <= most:
        return pairs
    return pairs[np.linspace(0, len(pairs) - 1, most).round().astype(int)]


def _pair_row(one: Duplicate) -> list[str]:
    kind = "exact_duplicate" if one.exact else "near_duplicate"
    here = [one.split, str(one.index), one.file, one.label]
    there = [one.other_split, str(one.other_index), one.other_file, one.other_label]
    return [kind, *here, *there, f"{one.distance:g}", "yes" if one.mirrored else "no"]


def _doubt_row(one: Doubt) -> list[str]:
    here = [one.split, str(one.index), one.file, one.label]
    belief = [f"{one.label_confidence:.3g}", one.predicted, f"{one.confidence:.4f}"]
    return ["doubtful_label", *here, *[""] * 6, *belief]


def _write(record: Audit, rows: list[list[str]], images: Pool, folder: Path) -> Audit:
    record = documents.write(folder / "audit.json", record)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([_COLUMNS, *(row + [""] * (len(_COLUMNS) - len(row)) for row in rows)])
    paths = files(record)
    runs.write_text(paths.table, text.getvalue())

    def image(split: str, row: int) -> np.ndarray:
        return np.asarray(images.dataset.images(split).pixels[row])

    sheets.duplicates(record, image, paths.duplicates)
    if record.artifact:
        sheets.doubts(record, image, paths.doubts)
    return record
