"""Images per second of the augmentations alone: gather, transform, nothing else.

    python scripts/measure_augmentation.py

Each transform by itself, then the list of configs/baseline.yaml, in one graph as in training. Set
beside the images per second of a training, this tells whether the pipeline could be the bottleneck.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import click
import numpy as np
import tensorflow as tf

from cifarnet import config as configs
from cifarnet.data import augment

BASELINE = Path(__file__).parent.parent / "configs" / "baseline.yaml"


@click.command()
@click.option("--images", default=20_000, show_default=True)
@click.option("--batch-size", default=512, show_default=True)
@click.option("--rounds", default=5, show_default=True)
def main(images: int, batch_size: int, rounds: int) -> None:
    """Measure, and print a line for each."""
    pixels = tf.constant(np.random.default_rng(0).integers(0, 256, (images, 32, 32, 3), np.uint8))
    lists = {kind: [{"kind": kind}] for kind in augment.KINDS}
    lists["baseline"] = [one.model_dump() for one in configs.load(BASELINE).data.augment]
    for name, kinds in lists.items():
        settings = configs.DataConfig(augment=kinds)
        speeds = measure(augment.build(settings.augment, (125.0,) * 3), pixels, batch_size, rounds)
        print(
            f"{name:17} median {statistics.median(speeds):10,.0f} images/s, "
            f"from {min(speeds):,.0f} to {max(speeds):,.0f}"
        )


def measure(
    transforms: augment.Augment, pixels: tf.Tensor, batch_size: int, rounds: int
) -> list[float]:
    """Images per second in each round, drawing the random numbers included."""
    steps = len(pixels) // batch_size

    @tf.function
    def epoch(order: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
        total = tf.constant(0.0)
        for i in tf.range(steps):
            batch = transforms.apply(tf.gather(pixels, order[i]), tf.gather(draws, order[i]))
            total += tf.cast(batch[0, 0, 0, 0], tf.float32)
        return total

    speeds = []
    for number in range(rounds + 1):
        start = time.perf_counter()
        order = np.random.default_rng(number).permutation(len(pixels))[: steps * batch_size]
        draws = transforms.draw(0, number, len(pixels))
        epoch(tf.constant(order.reshape(steps, -1).astype(np.int32)), tf.constant(draws)).numpy()
        speeds.append(steps * batch_size / (time.perf_counter() - start))
    return speeds[1:]  # the first round traces


if __name__ == "__main__":
    main()
