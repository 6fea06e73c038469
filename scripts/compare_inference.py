"""Speed of prediction, side by side: Keras' `predict`, PyTorch and cifarnet.

    pip install '.[benchmark]'
    python scripts/compare_inference.py
    python scripts/compare_inference.py --run latest --output figures.json

The same contenders as in `compare_training.py`, in turns, with the networks of two configs and
images one by one or many at once. cifarnet predicts in float32, Keras too; PyTorch in what is
fastest here. `--run` adds how many decisions of that run's network bfloat16 changes on the
validation images, and how fast it is.
"""

from __future__ import annotations

import json
import statistics
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import numpy as np
from compare_training import HERE, NAMES, Contender

from cifarnet import config as configs
from cifarnet import data, runs, system
from cifarnet.training import precision

# Images a turn, by how many are computed at once.
COUNTS = {1: 200, 32: 2_000, 500: 4_000}


@click.command()
@click.option("--rounds", default=5, show_default=True, help="Turns of each contender.")
@click.option("--run", help="A run whose decisions in bfloat16 are compared to float32.")
@click.option("--output", type=click.Path(path_type=Path), help="Also write the figures as JSON.")
def main(rounds: int, run: str | None, output: Path | None) -> None:
    """Compare, print, and perhaps write the figures."""
    chosen = precision.choose().chosen or "float32"
    document: dict[str, Any] = {"machine": asdict(system.describe()), "versions": system.versions()}
    for config in ("article", "airbench94"):
        document[config] = compare(config, chosen, rounds)
    if run is not None:
        document["bfloat16"] = halves(runs.open_run(run))
    if output is not None:
        output.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def compare(config: str, chosen: str, rounds: int) -> dict[str, Any]:
    """Images per second of each contender, by batch size."""
    arguments = [
        str(HERE.parent / "configs" / f"{config}.yaml"),
        f"train.precision={chosen}",
        "train.batch_size=32",
    ]
    contenders = [Contender(name, arguments) for name in NAMES]
    result: dict[str, Any] = {}
    for batch, count in COUNTS.items():
        speeds: dict[str, list[float]] = {name: [] for name in NAMES}
        for turn in range(-1, rounds):  # the first is thrown away: it traces
            for contender in contenders if turn % 2 == 0 else reversed(contenders):
                seconds = contender.ask(f"predict {count} {batch}")["seconds"]
                if turn >= 0:
                    speeds[contender.name].append(count / seconds)
        result[str(batch)] = {name: round(statistics.median(speeds[name])) for name in NAMES}
        figures = "   ".join(f"{name} {speed:,}" for name, speed in result[str(batch)].items())
        print(f"{config}, {batch} at once, images/s: {figures}", flush=True)
    for contender in contenders:
        contender.close()
    return result


def halves(run: runs.Run) -> dict[str, Any]:
    """What bfloat16 changes for a run's network on the validation images."""
    import keras

    from cifarnet import models
    from cifarnet.predictors import keras_file

    config = configs.load(run.config_file)
    dataset = data.load(config.data, config.seed)
    pixels = dataset.validation.pixels if len(dataset.validation.labels) else dataset.train.pixels
    weights = keras.models.load_model(run.model_file, compile=False).get_weights()
    answers, seconds = {}, {}
    for name in ("float32", "bfloat16"):
        model = models.build(
            config.model,
            config.data.image_size,
            len(dataset.classes),
            dataset.mean,
            dataset.std,
            precision=name,
        )
        model.set_weights(weights)
        predict = keras_file.from_model(model)
        predict(pixels[:500])
        start = time.perf_counter()
        answers[name] = predict(pixels[:5000])
        seconds[name] = time.perf_counter() - start
    changed = np.mean(answers["float32"].argmax(axis=1) != answers["bfloat16"].argmax(axis=1))
    most = np.abs(answers["float32"] - answers["bfloat16"]).max()
    print(
        f"bfloat16 changes {100 * changed:.2f} % of {len(answers['float32'])} decisions, a "
        f"probability by at most {most:.3f}, and takes {seconds['bfloat16']:.1f} s instead of "
        f"{seconds['float32']:.1f} s"
    )
    return {"changed": float(changed), "largest_difference": float(most), "seconds": seconds}


if __name__ == "__main__":
    main()
