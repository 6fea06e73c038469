"""What checkpoints and equal bits cost: shares of a training's time, on the machine it runs on.

    python scripts/measure_reliability.py

A checkpoint is written after every epoch: its time (with history and record, made durable) beside
that of the steps. Equal bits come from data orders and augmentations that depend on seed and
epoch alone; TensorFlow's own switch, which forbids operations whose sums may vary, is off. Its cost
is measured in turns, each in a process of its own, with a digest of the weights: equal digests
without the switch are why it is off.
"""

from __future__ import annotations

import hashlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import tensorflow as tf

from cifarnet import config as configs
from cifarnet import data, runs
from cifarnet.training import checkpoint, precision
from cifarnet.training.history import History
from cifarnet.training.step import Trainer

CONFIGS = Path(__file__).parent.parent / "configs"


@click.command()
@click.option("--rounds", default=3, show_default=True, help="Turns with and without the switch.")
@click.option("--one-turn", hidden=True, type=click.Choice(["on", "off"]))
def main(rounds: int, one_turn: str | None) -> None:
    """Measure, and print a line for each."""
    if one_turn is not None:
        print(json.dumps(turn(one_turn == "on")))
        return
    for name, steps in (("article", 400), ("airbench94", 6)):
        cost_of_checkpoints(name, steps)
    turns: dict[str, list[dict[str, float]]] = {"off": [], "on": []}
    for _ in range(rounds):
        for switch in turns:
            command = [sys.executable, __file__, "--one-turn", switch]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            turns[switch].append(json.loads(done.stdout.splitlines()[-1]))
    ratios = [on["seconds"] / off["seconds"] for off, on in zip(*turns.values(), strict=True)]
    same = len({one["digest"] for one in turns["off"]}) == 1
    print(
        f"article: with TensorFlow's switch a step takes {statistics.median(ratios):.3f} times as "
        f"long ({min(ratios):.3f} to {max(ratios):.3f}); without it, {rounds} runs of 400 steps "
        f"gave {'equal' if same else 'DIFFERENT'} bits"
    )


def trainer(name: str) -> Trainer:
    """Of a shipped config, in the precision that is fastest here."""
    chosen = precision.choose().chosen
    settings = configs.load(CONFIGS / f"{name}.yaml", [f"train.precision={chosen}"])
    return Trainer(settings, data.load(settings.data, settings.seed))


def seconds_per_step(one: Trainer, steps: int) -> float:
    """Mean over some steps after the first, which includes tracing."""
    one.steps(1)
    start = time.perf_counter()
    one.steps(steps)
    return (time.perf_counter() - start) / steps


def cost_of_checkpoints(name: str, steps: int) -> None:
    """Print the share of an epoch's time that its checkpoint takes."""
    one = trainer(name)
    epoch = seconds_per_step(one, steps) * one.steps_per_epoch
    settings = configs.load(CONFIGS / f"{name}.yaml")
    history = History()
    times = []
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        run = runs.create(name, Path(folder), {"config.yaml": configs.dump(settings)})
        for _ in range(11):
            start = time.perf_counter()
            checkpoint.Checkpoint(settings, one.state(), history, None).save(run)
            runs.write_text(run.history_file, history.to_csv())
            run.update_record(status="running")
            times.append(time.perf_counter() - start)
        size = run.checkpoints()[-1].stat().st_size
    took = statistics.median(times[1:])
    print(
        f"{name}: an epoch's steps take {epoch:.2f} s, its checkpoint of {size / 1e6:.1f} MB "
        f"{1000 * took:.0f} ms, {100 * took / epoch:.2f} %"
    )


def turn(switched_on: bool) -> dict[str, float | str]:
    """Seconds per step and the digest of the weights after 401 steps of the article's network."""
    if switched_on:
        tf.config.experimental.enable_op_determinism()
    one = trainer("article")
    seconds = seconds_per_step(one, 400)
    weights = b"".join(weight.tobytes() for weight in one.model.get_weights())
    return {"seconds": seconds, "digest": hashlib.sha256(weights).hexdigest()}


if __name__ == "__main__":
    main()
