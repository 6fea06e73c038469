"""Benchmark artifacts side by side: accuracy, size, latency, throughput, memory."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cifarnet import artifacts, data, predictors, runs, system
from cifarnet.artifacts import Artifact
from cifarnet.callbacks import Callback, job
from cifarnet.choices import MAX_BATCH
from cifarnet.cost import Meter, Power
from cifarnet.errors import ArtifactError, ConfigError
from cifarnet.predictors import Preprocessing
from cifarnet.reporting import plots
from cifarnet.runs import Benchmark, CostRecord, Run, documents
from cifarnet.runs.benchmarks import BenchmarkedArtifact, Speed
from cifarnet.runs.records import MachineRecord
from cifarnet.worker import Worker, WorkerDied

# Calls are timed until both are reached; 30 are enough for a 90th percentile.
_MIN_CALLS, _MIN_SECONDS = 30, 1.0
# The first calls trace, allocate and fill caches.
_WARM_UP_CALLS = 5


def benchmark(
    *targets: Run | str | Path,
    batch_sizes: Sequence[int] = (1, 64),
    preprocessing: Preprocessing | None = None,
    callbacks: Iterable[Callback] | None = None,
    overrides: Iterable[str] = (),
    allow_changed_data: bool = False,
    output: str | Path | None = None,
    power: Power | None = None,
) -> Benchmark:
    """Measure artifacts one after another, each in its own process.

    Accuracy and agreement (with the first) are on validation images of the first run, or without
    any on its training images; without any run on test images. A file that may have been trained
    on them, from outside that run, has no accuracy. The record is written to the first target's
    run, or else beside the first file, with a picture.

    Args:
        targets: runs and model files; a run stands for its model and all its exports.
        batch_sizes: images per call.
        preprocessing: input and output of model files that cifarnet did not write.
        callbacks: notified of each artifact; None: show progress on a terminal or in a notebook.
        overrides, allow_changed_data: as for `evaluate`.
        output, power: as for `evaluate`.

    Raises:
        ConfigError: no target, or no batch sizes of 1 to 5,000.
        RunError, ArtifactError: a target cannot be found, loaded or run, or has changed.
        DataError: the images cannot be read.

    Example:
        record = cifarnet.benchmark("latest", "other.onnx", batch_sizes=[1, 32])
        for artifact in record.artifacts:
            print(artifact.name, artifact.accuracy, artifact.speed[0].median_milliseconds)
    """
    meter = Meter(power)
    with job(callbacks) as callback:
        _check(targets, batch_sizes)
        found = _resolve(targets, preprocessing, overrides)
        basis = next((one for one in found if one.run is not None), found[0])
        files = [one for target in found for one in _files(target, basis, preprocessing)]
        dataset, split = _dataset(basis, preprocessing, allow_changed_data, callback)
        images = dataset.sample(split)
        measured = compare(files, images, dataset.classes, batch_sizes, callback)
        record = _record(dataset, split, len(images.labels), measured, meter.read())
        callback.on_result(record)
        with found[0].writing(path := _file(found[0], output), callback):
            record = documents.write(path, record)
            plots.benchmark(record, picture(record))
        return record


def _check(targets: Sequence[object], batch_sizes: Sequence[int]) -> None:
    if not targets:
        raise ConfigError("nothing to benchmark: give a run or a model file")
    if not batch_sizes or not all(1 <= size <= MAX_BATCH for size in batch_sizes):
        raise ConfigError(
            f"batch_sizes: expected numbers from 1 to {MAX_BATCH}, received {list(batch_sizes)}"
        )


def _dataset(
    basis: Artifact, preprocessing: Preprocessing | None, allow_changed: bool, callback: Callback
) -> tuple[data.Dataset, str]:
    """Load the images that artifacts are measured on, and choose the split."""
    if basis.run is None:
        predictor = basis.load(preprocessing)
        return basis.dataset(callback.on_fetch, allow_changed, predictor), "test"
    dataset = basis.dataset(callback.on_fetch, allow_changed)
    return dataset, dataset.comparison_split


def _resolve(
    targets: Sequence[Run | str | Path],
    preprocessing: Preprocessing | None,
    overrides: Iterable[str],
) -> list[Artifact]:
    found = [artifacts.resolve(target, overrides) for target in targets]
    if all(one.run is not None for one in found):
        predictors.refuse_options("a run", preprocessing)
    return found


def _record(
    dataset: data.Dataset,
    split: str,
    count: int,
    measured: list[BenchmarkedArtifact],
    cost: CostRecord,
) -> Benchmark:
    return Benchmark(
        machine=MachineRecord(**asdict(system.describe())),
        versions=system.versions(),
        images=count,
        split=split,
        data=dataset.description,
        changed_data=dataset.changes,
        artifacts=measured,
        cost=cost,
    )


def picture(record: Benchmark) -> Path:
    """Return the picture of a benchmark: in a run's plots, else beside the record."""
    png = record.path.with_suffix(".png")
    in_run = (record.path.parent / "run.json").is_file()
    return png.parent / "plots" / png.name if in_run else png


class ModelFile(NamedTuple):
    """A model file to measure.

    Attributes:
        held_out: whether it was surely not trained on the images; else it gets no accuracy.
    """

    name: str
    path: Path
    preprocessing: Preprocessing | None = None
    held_out: bool = True


def compare(
    files: Sequence[ModelFile],
    images: data.Images,
    classes: Sequence[str],
    batch_sizes: Sequence[int],
    callback: Callback,
) -> list[BenchmarkedArtifact]:
    """Measure model files one after another.

    Args:
        files: agreement is with the first.
        images: what accuracy and agreement are measured on.
        classes: names, by label of the images.
        batch_sizes: images per call.
        callback: notified of each artifact.

    Raises:
        ArtifactError: a file cannot be loaded or run.
    """
    found: list[BenchmarkedArtifact] = []
    reference, pixels = None, np.asarray(images.pixels)
    for file in files:
        callback.on_stage(f"measuring {file.name}")
        # A new process, so that its peak memory is this artifact's alone.
        try:
            with Worker() as worker:
                arguments = (file, pixels, images.labels, classes, tuple(batch_sizes))
                measured, top = worker.call(_measure, *arguments)
        except WorkerDied as error:
            raise ArtifactError(
                f"{file.path}: its runtime crashed ({error}). Leave this file out, or export it "
                "again"
            ) from error
        reference = top if reference is None else reference
        agreement = float((top == reference).mean())
        found.append(measured.model_copy(update={"agreement": agreement}))
    return found


def _files(
    target: Artifact, basis: Artifact, preprocessing: Preprocessing | None
) -> list[ModelFile]:
    """Return the file itself, or of a run its model and its exports.

    Args:
        target: what to measure.
        basis: whose images it is measured on; without a run, test images.
        preprocessing: of a file outside any run.

    Raises:
        ArtifactError: one has another checksum than the run's record.
    """
    held_out = basis.run is None or _same_splits(target, basis)
    first = ModelFile(target.name, target.path, target.preprocessing(preprocessing), held_out)
    if target.run is not None:
        runs.check(target.run, target.path)
    if target.run is None or not target.is_run_model:
        return [first]
    runs.check(target.run, target.run.exports_folder)
    exports = runs.exports(target.run)
    label = functools.partial(runs.export_label, target.run)
    return [first, *(ModelFile(label(one), one.path, None, held_out) for one in exports)]


def _same_splits(one: Artifact, other: Artifact) -> bool:
    """Return whether two artifacts belong to runs that were trained and validated on one split."""
    if one.run is None or other.run is None:
        return False
    digests, others = (x.read_record().data.digests for x in (one.run, other.run))
    return all(digests.get(name) == others.get(name) for name in ("train", "validation"))


def _file(target: Artifact, output: str | Path | None) -> Path:
    """Return where the record is written: into `output`, in the run, or beside the file."""
    if output is not None:
        return Path(output) / "benchmark.json"
    if target.run is not None and target.is_run_model:
        return target.run.path / "benchmark.json"
    return target.path.with_name(f"{target.path.name}.benchmark.json")


def _measure(
    file: ModelFile,
    pixels: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    batch_sizes: tuple[int, ...],
) -> tuple[BenchmarkedArtifact, np.ndarray]:
    """Measure one artifact; also return its top-1 classes of all pixels."""
    with system.quiet():
        predictor = predictors.load(file.path, max(batch_sizes), file.preprocessing)
    speed = [_time(predictor, pixels, size) for size in batch_sizes]
    # Taken before all pixels are predicted at once, which a deployment does not do.
    peak_memory = system.peak_memory()
    predict: predictors.Predict = predictor
    held_out = file.held_out
    try:
        predict, _ = artifacts.align(predictor, classes)
    except ArtifactError:  # other classes
        held_out = False
    top = predict(pixels).argmax(axis=1)
    accuracy = float((top == labels).mean())
    record = BenchmarkedArtifact(
        name=file.name,
        path=str(file.path),
        bytes=_size(file.path),
        accuracy=accuracy if held_out else None,
        agreement=1.0,
        runtime=predictor.runtime,
        assumed=predictor.assumed,
        threads=system.usable_cores(),
        peak_memory_bytes=peak_memory,
        speed=speed,
    )
    return record, top


def _time(predict: predictors.Predict, pixels: np.ndarray, size: int) -> Speed:
    """Time calls with `size` images each, different ones in every call."""
    seconds: list[float] = []
    calls = 0
    while len(seconds) < _MIN_CALLS or sum(seconds) < _MIN_SECONDS:
        rows = np.arange(calls * size, (calls + 1) * size) % len(pixels)
        batch = pixels[rows]
        start = time.perf_counter()
        predict(batch)
        if calls >= _WARM_UP_CALLS:
            seconds.append(time.perf_counter() - start)
        calls += 1
    median, high = np.percentile(seconds, [50, 90])
    return Speed(
        batch_size=size,
        calls=len(seconds),
        median_milliseconds=round(1000 * float(median), 4),
        p90_milliseconds=round(1000 * float(high), 4),
        images_per_second=round(size / float(median), 1),
    )


def _size(path: Path) -> int:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)
