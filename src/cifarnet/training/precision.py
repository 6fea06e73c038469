"""The fastest precision on this machine, found by measuring."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import filelock

from cifarnet import data, runs, system
from cifarnet.backend import initialize_devices, tf
from cifarnet.callbacks import Callback
from cifarnet.errors import RunError
from cifarnet.runs.records import PrecisionRecord

# Half precision must be this much faster to be worth its rounding.
_WORTHWHILE = 1.1
_ROUNDS = 5


def choose(callback: Callback | None = None) -> PrecisionRecord:
    """Choose the precision for `precision: auto`.

    Times a convolution and its gradients in each candidate: float32 and bfloat16, on a GPU
    float16 too. The answer is cached with the machine's identity, so a machine keeps it.

    Args:
        callback: is told when it is measured.

    Returns:
        The chosen name (float32, bfloat16 or float16) and the milliseconds of each candidate, the
        best of some rounds.
    """
    initialize_devices()
    gpus = [gpu.name for gpu in tf.config.list_physical_devices("GPU")]
    key = json.dumps([asdict(system.describe()), system.versions()["tensorflow"], gpus])
    candidates = ["float32", "bfloat16", *(["float16"] if gpus else [])]
    folder = data.cache_folder()
    path = folder / "precision.json"
    measured = _cached(path, key, candidates)
    if measured is None:
        (callback or Callback()).on_stage("measuring which precision is fastest")
        measured = {name: _milliseconds(name) for name in candidates}
        with suppress(RunError, OSError):  # a cache that cannot be written costs the next start
            folder.mkdir(parents=True, exist_ok=True)
            with filelock.FileLock(folder / "precision.lock"):
                runs.remove_leftovers(folder, deep=False)
                runs.write_json(path, {key: measured})
    fastest = min(measured, key=lambda name: measured[name])
    if measured["float32"] < _WORTHWHILE * measured[fastest]:
        fastest = "float32"
    return PrecisionRecord(chosen=fastest, milliseconds=measured)


def _cached(path: Path, key: str, candidates: list[str]) -> dict[str, float] | None:
    """Return what was measured here before; None if nothing was, or its file is damaged."""
    with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        measured = json.loads(path.read_text(encoding="utf-8"))[key]
        return {name: float(measured[name]) for name in candidates}
    return None


def _milliseconds(dtype: str) -> float:
    """Return the best time of a 3x3 convolution of [64, 16, 16, 64], forward and backward."""
    images = tf.cast(tf.random.stateless_normal([64, 16, 16, 64], [0, 0]), dtype)
    kernel = tf.cast(tf.random.stateless_normal([3, 3, 64, 64], [0, 1]), dtype)

    @tf.function
    def step() -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch([images, kernel])
            outputs = tf.nn.conv2d(images, kernel, 1, "SAME")
        return tape.gradient(outputs, [images, kernel])

    times = []
    for _ in range(_ROUNDS + 1):
        start = time.perf_counter()
        for gradient in step():
            gradient.numpy()
        times.append(time.perf_counter() - start)
    return round(1000 * min(times[1:]), 3)
