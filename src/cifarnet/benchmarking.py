"""Benchmark artifacts side by side: accuracy, size, latency, throughput, memory."""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from cifarnet import artifacts, data, predictors, runs, system
from cifarnet.artifacts import Artifact
from cifarnet.callbacks import Callback, job
from cifarnet.choices import MAX_BATCH
from cifarnet.errors import ConfigError
from cifarnet.predictors import Preprocessing
from cifarnet.reporting import plots
from cifarnet.runs import Benchmark, Run, documents
from cifarnet.runs.records import MachineRecord
from cifarnet.runs.results import BenchmarkedArtifact, Speed

# Calls are timed until both are reached; 30 are enough for a 90th percentile.
_MIN_CALLS, _MIN_SECONDS = 30, 1.0
# The first calls trace, allocate and fill caches.
_WARM_UP_CALLS = 5


def benchmark(
    *targets: Run | str | Path,
    batch_sizes: Sequence[int] = (1, 64),
    preprocessing: Preprocessing | None = None,
    callbacks: Iterable[Callback] | None = None,
) -> Benchmark:
    """Measure artifacts one after another, each in its own process.

    Accuracy and agreement (with the first) are on validation images, or without any on training
    images, never on the test set. The record is written to the first target's run, or else beside
    the first file, with a picture.

    Args:
        targets: runs and model files; a run stands for its model and all its exports.
        batch_sizes: images per call.
        preprocessing: input and output of model files that cifarnet did not write.
        callbacks: notified of each artifact; None: show progress on a terminal or in a notebook.

    Raises:
        ConfigError: no target, or no batch sizes of 1 to 5,000.
        RunError, ArtifactError: a target cannot be found, loaded or run, or has changed.
        DataError: the images cannot be read.

    Example:
        record = cifarnet.benchmark("latest", "other.onnx", batch_sizes=[1, 32])
        for artifact in record.artifacts:
            print(artifact.name, artifact.accuracy, artifact.speed[0].median_milliseconds)
    """
    with job(callbacks) as callback:
        _check(targets, batch_sizes)
        found = [artifacts.resolve(target) for target in targets]
        files = [one for target in found for one in _files(target, preprocessing)]
        config = found[0].config
        dataset = data.load(config.data, config.seed, callback.on_fetch)
        split, pixels, labels = dataset.comparison()
        record = Benchmark(
            machine=MachineRecord(**asdict(system.describe())),
            versions=system.versions(),
            images=len(labels),
            split=split,
            data=dataset.description,
            artifacts=compare(files, pixels, labels, batch_sizes, callback),
        )
        path = _file(found[0])
        with found[0].writing(path):
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


def picture(record: Benchmark) -> Path:
    """Return the picture of a benchmark: in a run's plots, else beside the record."""
    png = record.path.with_suffix(".png")
    in_run = (record.path.parent / "run.json").is_file()
    return png.parent / "plots" / png.name if in_run else png


def compare(
    files: Sequence[tuple[str, Path, Preprocessing | None]],
    pixels: np.ndarray,
    labels: np.ndarray,
    batch_sizes: Sequence[int],
    callback: Callback,
) -> list[BenchmarkedArtifact]:
    """Measure model files one after another.

    Args:
        files: name, file and preprocessing of each; agreement is with the first.
        pixels, labels: uint8 [N, S, S, 3] and [N]; not test images.
        batch_sizes: images per call.
        callback: notified of each artifact.

    Raises:
        ArtifactError: a file cannot be loaded or run.
    """
    found: list[BenchmarkedArtifact] = []
    reference = None
    for name, path, preprocessing in files:
        callback.on_stage(f"measuring {name}")
        # A new process, so that its peak memory is this artifact's alone.
        with (
            ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool,
            _without_main_module(),
        ):
            arguments = (name, path, preprocessing, pixels, labels, tuple(batch_sizes))
            measured, top = pool.submit(_measure, *arguments).result()
        reference = top if reference is None else reference
        agreement = float((top == reference).mean())
        found.append(measured.model_copy(update={"agreement": agreement}))
    return found


@contextmanager
def _without_main_module() -> Iterator[None]:
    """Keep a new process from importing, and so running, the script that calls the library."""
    main = sys.modules["__main__"].__dict__
    hidden: dict[str, Any] = {name: main[name] for name in ("__file__", "__spec__") if name in main}
    main.pop("__file__", None)
    main["__spec__"] = None
    try:
        yield
    finally:
        main.update(hidden)


def _files(
    target: Artifact, preprocessing: Preprocessing | None
) -> list[tuple[str, Path, Preprocessing | None]]:
    """Return the file itself, or of a run its model and its exports.

    Raises:
        ArtifactError: one has another checksum than the run's record.
    """
    first = (target.name, target.path, target.preprocessing(preprocessing))
    if target.run is not None:
        runs.check(target.run, target.path)
    if target.run is None or not target.is_run_model:
        return [first]
    runs.check(target.run, target.run.exports_folder)
    exports = runs.exports(target.run)
    return [first, *((one.name, one.path, None) for one in exports)]


def _file(target: Artifact) -> Path:
    """Return where the record is written: in the run, or else beside the file."""
    if target.run is not None and target.is_run_model:
        return target.run.path / "benchmark.json"
    return target.path.with_name(f"{target.path.name}.benchmark.json")


def _measure(
    name: str,
    path: Path,
    preprocessing: Preprocessing | None,
    pixels: np.ndarray,
    labels: np.ndarray,
    batch_sizes: tuple[int, ...],
) -> tuple[BenchmarkedArtifact, np.ndarray]:
    """Measure one artifact; also return its top-1 classes of all pixels."""
    with system.quiet():
        predictor = predictors.load(path, max(batch_sizes), preprocessing)
    speed = [_time(predictor, pixels, size) for size in batch_sizes]
    # Taken before all pixels are predicted at once, which a deployment does not do.
    peak_memory = system.peak_memory()
    top = predictor(pixels).argmax(axis=1)
    record = BenchmarkedArtifact(
        name=name,
        path=str(path),
        bytes=_size(path),
        accuracy=float((top == labels).mean()),
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
