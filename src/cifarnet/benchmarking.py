"""What artifacts cost and give, side by side: accuracy, size, latency, throughput, memory."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from cifarnet import predictors, system
from cifarnet.predictors import Preprocessing

# Calls are timed until both are reached: enough for a 90th percentile, short enough to wait for.
_LEAST_CALLS, _LEAST_SECONDS = 30, 1.0
# Before them: the first calls trace, allocate and fill caches.
_WARM_UP_CALLS = 5


def run(
    artifacts: Sequence[tuple[str, Path, Preprocessing | None]],
    pixels: np.ndarray,
    labels: np.ndarray,
    batch_sizes: Sequence[int],
    told: Callable[[str], None] = lambda _: None,
) -> list[dict[str, Any]]:
    """Measure artifacts one after another, each in a process of its own.

    Args:
        artifacts: name, file and preprocessing of each; the first is what others agree with.
        pixels, labels: uint8 [N, S, S, 3] and [N]; not test images.
        batch_sizes: images a call.
        told: called with each name.

    Returns:
        For each: `name`, `path`, `runtime`, `assumed`, `bytes`, `accuracy`, `agreement`,
        `threads` it may use, `peak_memory_bytes` of a process that does nothing else, and
        `speed`: a batch size, with `median_milliseconds`, `p90_milliseconds` of a call and
        `images_per_second` at the median.

    Raises:
        ArtifactError: a file that cannot be loaded or run.
    """
    found: list[dict[str, Any]] = []
    reference = None
    for name, path, preprocessing in artifacts:
        told(name)
        # A new process, so that its peak memory is this artifact's alone.
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            measured, top = pool.submit(
                _measure, path, preprocessing, pixels, tuple(batch_sizes)
            ).result()
        reference = top if reference is None else reference
        found.append(
            {
                "name": name,
                "path": str(path),
                "bytes": _size(path),
                "accuracy": float((top == labels).mean()),
                "agreement": float((top == reference).mean()),
                **measured,
            }
        )
    return found


def _measure(
    path: Path,
    preprocessing: Preprocessing | None,
    pixels: np.ndarray,
    batch_sizes: tuple[int, ...],
) -> tuple[dict[str, Any], np.ndarray]:
    """Everything that needs the artifact, and its top-1 classes of all pixels."""
    with system.quiet():
        predictor = predictors.load(path, max(batch_sizes), preprocessing)
    speed = [_time(predictor, pixels, size) for size in batch_sizes]
    about = {
        "runtime": predictor.runtime,
        "assumed": predictor.assumed,
        "threads": system.usable_cores(),
        "peak_memory_bytes": system.peak_memory(),
        "speed": speed,
    }
    return about, predictor(pixels).argmax(axis=1)


def _time(predict: predictors.Predict, pixels: np.ndarray, size: int) -> dict[str, Any]:
    """Latency of calls on `size` images each, other ones every time."""
    seconds: list[float] = []
    calls = 0
    while len(seconds) < _LEAST_CALLS or sum(seconds) < _LEAST_SECONDS:
        rows = np.arange(calls * size, (calls + 1) * size) % len(pixels)
        batch = pixels[rows]
        start = time.perf_counter()
        predict(batch)
        if calls >= _WARM_UP_CALLS:
            seconds.append(time.perf_counter() - start)
        calls += 1
    median, high = np.percentile(seconds, [50, 90])
    return {
        "batch_size": size,
        "calls": len(seconds),
        "median_milliseconds": round(1000 * float(median), 4),
        "p90_milliseconds": round(1000 * float(high), 4),
        "images_per_second": round(size / float(median), 1),
    }


def _size(path: Path) -> int:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)
