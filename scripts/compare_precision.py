"""Whether half precision learns what float32 learns: loss curves beside the spread of seeds.

    python scripts/compare_precision.py
    python scripts/compare_precision.py --seeds 5 --output figures.json

Trains a config with each seed in float32 and in bfloat16. For every epoch it prints the mean
training loss of both, the difference of the means, and the spread: the largest difference between
two seeds in float32.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import numpy as np

from cifarnet import config as configs
from cifarnet import system, training

ARTICLE = Path(__file__).parent.parent / "configs" / "article.yaml"
PRECISIONS = ("float32", "bfloat16")


@click.command()
@click.option("--config", type=click.Path(path_type=Path), default=ARTICLE, show_default=True)
@click.option("--seeds", default=3, show_default=True, type=click.IntRange(2))
@click.option("--output", type=click.Path(path_type=Path), help="Also write the figures as JSON.")
def main(config: Path, seeds: int, output: Path | None) -> None:
    """Train, compare, print, and perhaps write the figures."""
    rows: dict[str, list[Any]] = {name: [] for name in PRECISIONS}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(seeds):
            for name in PRECISIONS:
                chosen = configs.load(config, [f"seed={seed}", f"train.precision={name}"])
                run = training.train(chosen, Path(folder), callbacks=[])
                rows[name].append(history(run.history_file))
                loss, accuracy = rows[name][-1][-1]
                print(f"seed {seed}, {name}: loss {loss:.4f}, validation {100 * accuracy:.2f} %")
    curves = {name: np.asarray(rows[name]) for name in PRECISIONS}  # [seeds, epochs, 2]
    found = [
        epoch(number + 1, curves["float32"][:, number, 0], curves["bfloat16"][:, number, 0])
        for number in range(curves["float32"].shape[1])
    ]
    inside = sum(abs(one["difference"]) <= one["spread"] for one in found)
    print(f"the means differ by less than the seeds do in {inside} of {len(found)} epochs")
    if output is not None:
        document = {
            "machine": asdict(system.describe()),
            "versions": system.versions(),
            "config": config.name,
            "epochs": found,
            "validation_accuracy": {name: curves[name][:, -1, 1].tolist() for name in PRECISIONS},
        }
        output.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def history(path: Path) -> list[tuple[float, float]]:
    """Training loss and validation accuracy of each epoch."""
    head, *lines = path.read_text(encoding="utf-8").splitlines()
    names = head.split(",")
    loss, accuracy = names.index("loss"), names.index("validation_accuracy")
    values = [line.split(",") for line in lines]
    return [(float(row[loss]), float(row[accuracy])) for row in values]


def epoch(number: int, exact: np.ndarray, half: np.ndarray) -> dict[str, float]:
    """The figures of one epoch from the losses of all seeds; prints them."""
    one = {
        "epoch": number,
        "float32": float(exact.mean()),
        "bfloat16": float(half.mean()),
        "difference": float(half.mean() - exact.mean()),
        "spread": float(np.ptp(exact)),
    }
    print(
        f"epoch {number:2}: loss {one['float32']:.4f} in float32, {one['bfloat16']:.4f} in "
        f"bfloat16, difference {one['difference']:+.4f}, spread of seeds {one['spread']:.4f}"
    )
    return one


if __name__ == "__main__":
    main()
