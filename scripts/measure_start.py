"""Seconds from the start of a command to its first training step, and to a prediction.

    python scripts/measure_start.py
    python scripts/measure_start.py --rounds 9 --artifact runs/RUN/exports/onnx/model.onnx

Each measurement is a process of its own, and the first is thrown away: it fills the caches. A
training is that of `cifarnet.train`, which `cifarnet train` calls; the seconds are the medians at
which its stages begin. Seconds include the interpreter's start, and mean little where other work
runs.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np

# Prints the time at which each stage begins, and ends after the first step.
TRAIN = """
import json, sys, time
import cifarnet

class Stages(cifarnet.Callback):
    times, done = {}, False

    def on_stage(self, what):
        self.times[what] = time.time()

    def on_steps(self, progress):
        self.times.setdefault("first step done", time.time())
        self.done = True

    def stop_reason(self):
        return "measured" if self.done else None

stages = Stages()
cifarnet.train(sys.argv[1], sys.argv[2], callbacks=[stages])
print(json.dumps(stages.times))
"""


@click.command()
@click.option("--rounds", default=5, show_default=True, help="Processes of each measurement.")
@click.option("--artifact", type=click.Path(exists=True), help="Also predict an image with this.")
def main(rounds: int, artifact: str | None) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        for config in ("article", "airbench94"):
            show(config, medians(lambda name=config: first_step(name, folder), rounds))  # type: ignore[misc]
        if artifact is not None:
            picture = Path(folder) / "picture.png"
            draw(picture)
            show(artifact, medians(lambda: prediction(artifact, picture), rounds))


def first_step(config: str, folder: str) -> dict[str, float]:
    """Return at which second each stage of a training begins."""
    start = time.time()
    words = [sys.executable, "-c", TRAIN, config, folder]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    times: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return {stage: when - start for stage, when in times.items()}


def prediction(artifact: str, picture: Path) -> dict[str, float]:
    """Return how long `cifarnet predict` takes as a whole."""
    start = time.time()
    words = [sys.executable, "-m", "cifarnet", "predict", artifact, str(picture)]
    subprocess.run(words, check=True, capture_output=True)
    return {"predicted": time.time() - start}


def draw(path: Path) -> None:
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def medians(measure: Callable[[], dict[str, float]], rounds: int) -> dict[str, float]:
    found = [measure() for _ in range(rounds + 1)][1:]
    return {name: statistics.median(one[name] for one in found) for name in found[0]}


def show(title: str, seconds: dict[str, float]) -> None:
    print(title)
    for name, value in seconds.items():
        print(f"  {value:6.2f} s  {name}", flush=True)


if __name__ == "__main__":
    main()
