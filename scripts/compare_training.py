"""Training speed of the article's network: cifarnet against Keras' `fit`, side by side.

    python scripts/compare_training.py
    python scripts/compare_training.py --epochs 3 --images 45000 --output results.json

Both train the same network on the same images in the same precision-free way a user would: Keras
as a tutorial writes it (`fit` on NumPy arrays, all defaults), cifarnet as `cifarnet train` does,
with the precision it chooses here. They take turns, an epoch each, so that a machine whose speed
drifts treats both alike; the ratio is formed pair by pair.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np

from cifarnet import config as configs
from cifarnet import data, machine, models, sources
from cifarnet.train import precision
from cifarnet.train.trainer import Trainer

CONFIG = Path(__file__).parent.parent / "configs" / "article.yaml"


@click.command()
@click.option("--epochs", default=5, show_default=True, help="Epochs of each, in turns.")
@click.option("--images", default=45_000, show_default=True, help="Training images an epoch.")
@click.option("--batch-size", default=32, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), help="Also write the figures as JSON.")
def main(epochs: int, images: int, batch_size: int, output: Path | None) -> None:
    """Compare, print, and perhaps write the figures."""
    chosen, measured = precision.choose()
    overrides = [f"train.batch_size={batch_size}", f"train.precision={chosen}"]
    config = configs.load(CONFIG, overrides)
    dataset = data.load(config.data, config.seed)
    train = sources.Images(dataset.train.pixels[:images], dataset.train.labels[:images])
    contenders = {
        "keras fit": keras_fit(config, train, dataset),
        "cifarnet": cifarnet(config, train, dataset),
    }
    results: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for epoch in range(epochs):
        for name, run_epoch in contenders.items():
            start = time.perf_counter()
            loss = run_epoch()
            speed = len(train.labels) / (time.perf_counter() - start)
            results[name].append((loss, speed))
            print(f"epoch {epoch + 1}  {name:10} loss {loss:.4f}  {speed:8,.0f} images/s")
    ratios = [ours[1] / theirs[1] for ours, theirs in zip(*reversed(results.values()), strict=True)]
    # The first epoch of each includes tracing.
    steady = ratios[1:] or ratios
    print(
        f"cifarnet ({chosen}) / keras fit (float32), epoch by epoch after the first: median "
        f"{statistics.median(steady):.2f}, from {min(steady):.2f} to {max(steady):.2f}"
    )
    if output is not None:
        document = {
            "machine": machine.describe(),
            "versions": machine.versions(),
            "precision": measured,
            "batch_size": batch_size,
            "images": len(train.labels),
            "epochs": {
                name: [{"loss": loss, "images_per_second": speed} for loss, speed in rows]
                for name, rows in results.items()
            },
            "ratios": ratios,
        }
        output.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def keras_fit(
    config: configs.Config, train: sources.Images, dataset: data.Dataset
) -> Callable[[], float]:
    """One epoch of Keras as a tutorial writes it: float32 arrays in [0, 1], `fit`."""
    import keras

    keras.utils.set_random_seed(config.seed)
    network = config.model.model_copy(update={"normalise": "none"})
    model = models.build(
        network, 32, len(dataset.classes), dataset.mean, dataset.deviation, plain=True
    )
    model.compile(
        optimizer=keras.optimizers.SGD(config.train.learning_rate),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    pixels = np.asarray(train.pixels, np.float32) / 255

    def run_epoch() -> float:
        history = model.fit(pixels, train.labels, batch_size=config.train.batch_size, verbose=0)
        return history.history["loss"][0]

    return run_epoch


def cifarnet(
    config: configs.Config, train: sources.Images, dataset: data.Dataset
) -> Callable[[], float]:
    """One epoch as `cifarnet train` runs it, in groups of steps."""
    import dataclasses

    trainer = Trainer(config, dataclasses.replace(dataset, train=train))

    def run_epoch() -> float:
        losses = []
        left = trainer.steps_per_epoch
        while left:
            count = min(left, 100)
            losses.append(trainer.steps(count)[0])
            left -= count
        return float(np.mean(np.concatenate(losses)))

    return run_epoch


if __name__ == "__main__":
    main()
