"""Training speed, side by side: images in memory, and the same images read from disk.

    python scripts/compare_feeding.py
    python scripts/compare_feeding.py --config article --steps 400 --output figures.json

Two trainings of one config take turns, some steps each, in one process; ratios are formed round by
round, so that a machine whose speed drifts treats both alike. What is read ahead of a turn is as
much as what is left at its end. CIFAR-10 is in the system's file cache after the first epoch: this
measures the work of reading, not a disk. After the last round the weights of both are compared.
"""

from __future__ import annotations

import json
import statistics
import time
from dataclasses import asdict
from pathlib import Path

import click
import numpy as np

from cifarnet import config as cfg
from cifarnet import data, system
from cifarnet.backend import default_settings
from cifarnet.training import precision
from cifarnet.training.step import Trainer

SHARES = {"memory": 1.0, "disk": 0.0}


@click.command()
@click.option("--config", default="baseline", show_default=True, help="What to train.")
@click.option("--steps", default=40, show_default=True, help="Steps of a turn.")
@click.option("--rounds", default=7, show_default=True, help="Turns of each.")
@click.option("--output", type=click.Path(path_type=Path), help="Also write the figures as JSON.")
@default_settings()
def main(config: str, steps: int, rounds: int, output: Path | None) -> None:
    """Compare, print, and perhaps write the figures."""
    measured = precision.choose()
    chosen = measured.chosen or "float32"
    trainers = {}
    for name, share in SHARES.items():
        settings = cfg.load(config, [f"train.precision={chosen}", f"data.memory_share={share}"])
        trainers[name] = Trainer(settings, data.load(settings.data, settings.seed))
    batch = settings.train.batch_size
    print(f"{config}, batch {batch}, {chosen}", flush=True)
    for trainer in trainers.values():
        take(trainer, 2)  # traces
    walls: dict[str, list[float]] = {name: [] for name in trainers}
    processors: dict[str, list[float]] = {name: [] for name in trainers}
    for turn in range(rounds):
        for name in list(trainers)[:: 1 if turn % 2 == 0 else -1]:
            wall, processor = time.perf_counter(), system.processor_seconds()
            take(trainers[name], steps)
            walls[name].append(time.perf_counter() - wall)
            processors[name].append(system.processor_seconds() - processor)
        speeds = (f"{n} {steps * batch / w[-1]:,.0f} images/s" for n, w in walls.items())
        print("  " + "   ".join(speeds), flush=True)
    ratios = {
        what: [a / b for a, b in zip(times["memory"], times["disk"], strict=True)]
        for what, times in (("speed", walls), ("processor time", processors))
    }
    for what, each in ratios.items():
        low, middle, high = min(each), statistics.median(each), max(each)
        print(f"{what}, disk over memory: {middle:.3f} ({low:.3f} to {high:.3f})")
    one, other = (trainer.model.get_weights() for trainer in trainers.values())
    equal = all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    print(f"weights after {trainers['disk'].step} steps: {'equal' if equal else 'NOT equal'}")
    if output is not None:
        document = {
            "machine": asdict(system.describe()),
            "versions": system.versions(),
            "config": config,
            "batch_size": batch,
            "precision": chosen,
            "steps": steps,
            "wall_seconds": walls,
            "processor_seconds": processors,
            "weights_equal": equal,
        }
        output.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def take(trainer: Trainer, count: int) -> None:
    """Take steps in groups of at most 20 that end with the epoch, as a training does."""
    end = trainer.step + count
    while trainer.step < end:
        trainer.steps(min(20, trainer.left, end - trainer.step))


if __name__ == "__main__":
    main()
