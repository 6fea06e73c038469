"""Measure what several processes on this machine gain, for docs/scale.md.

Each config is trained by one process of all cores and by as many processes of one core, in turn,
for one and for more epochs; the differences leave out starting and ending.

    python scripts/measure_team.py --rounds 3 --config article -o train.batch_size=512
    python scripts/measure_team.py --sums
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np

from cifarnet import Workers, load_config, open_run
from cifarnet.system import usable_cores

# Of float64: as many bytes as one number, 0.67 MB and 8 MB.
_SIZES = (1, 84_000, 1_000_000)
_MANY_SUMS = 50


@click.command()
@click.option("--config", "name", default="article", show_default=True)
@click.option("-o", "overrides", multiple=True, help="as for cifarnet train")
@click.option("--rounds", default=3, show_default=True)
@click.option("--epochs", default=3, show_default=True, help="more epochs in the longer training")
@click.option("--sums", is_flag=True, help="measure sums over two processes instead")
def main(name: str, overrides: tuple[str, ...], rounds: int, epochs: int, sums: bool) -> None:
    """Print medians over the rounds, and the lowest and highest."""
    if sums:
        _measure_sums()
        return
    cores = usable_cores()
    found: dict[int, list[tuple[float, float]]] = {1: [], cores: []}
    for _ in range(rounds):
        for workers, measured in found.items():
            few = _train(name, overrides, workers, 1)
            many = _train(name, overrides, workers, 1 + epochs)
            cost = (many.processor_seconds - few.processor_seconds) / (many.images - few.images)
            measured.append((many.images_per_second, 1_000 * cost))
    for workers, measured in found.items():
        speeds, costs = zip(*measured, strict=True)
        print(
            f"{workers} of {cores // workers} threads: {statistics.median(speeds):,.0f} images/s "
            f"({min(speeds):,.0f} to {max(speeds):,.0f}), {statistics.median(costs):.3f} "
            f"processor s per 1,000 images ({min(costs):.3f} to {max(costs):.3f})"
        )


class Trained(NamedTuple):
    """A training: images trained on, their speed, and the processor time of all processes."""

    images: int
    images_per_second: float
    processor_seconds: float


def _train(name: str, overrides: tuple[str, ...], workers: int, epochs: int) -> Trained:
    with tempfile.TemporaryDirectory() as folder:
        words = ["train", "--config", name, "--runs", folder, "--workers", str(workers)]
        for one in (*overrides, f"train.epochs={epochs}"):
            words += ["-o", one]
        command = [sys.executable, "-m", "cifarnet", *words]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"{' '.join(words)} failed")
        (path,) = Path(folder).glob("2*")
        record = open_run(path).read_record()
        batch = load_config(path / "config.yaml").train.batch_size
        seconds = used.ru_utime + used.ru_stime
        return Trained((record.steps_done or 0) * batch, record.images_per_second or 0.0, seconds)


def _measure_sums() -> None:
    addresses = Workers.of(2).addresses
    context = multiprocessing.get_context("spawn")
    other = context.Process(target=_sum, args=(addresses, 1))
    other.start()
    for size, seconds in _sum(addresses, 0).items():
        print(f"{8 * size:,} bytes: {1000 * seconds:.1f} ms")
    other.join()


def _sum(addresses: tuple[str, ...], index: int) -> dict[int, float]:
    """Return the median seconds of a sum over both processes, by count of numbers."""
    from cifarnet.training import cluster  # each process connects before it uses TensorFlow

    team = cluster.connect(Workers(addresses, index))
    found = {}
    for size in _SIZES:
        values, times = np.zeros(size), []
        for _ in range(_MANY_SUMS):
            start = time.perf_counter()
            team.sum(values)
            times.append(time.perf_counter() - start)
        found[size] = statistics.median(times)
    return found


if __name__ == "__main__":
    main()
