"""Training speed, side by side: Keras' `fit`, PyTorch and cifarnet on the same network.

    pip install '.[benchmark]'
    python scripts/compare_training.py
    python scripts/compare_training.py --work article-32 --rounds 3 --output figures.json

Each contender (`contender.py` has them) is a process of its own. They train the same
network on the same images and take turns, some steps each, while the others wait: a machine whose
speed drifts treats all alike, and ratios are formed round by round. PyTorch and cifarnet compute in
the precision that cifarnet measures as fastest here, Keras in its default float32. PyTorch loses
most when something else uses a core, so run this on a quiet machine.
"""

from __future__ import annotations

import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from cifarnet import system
from cifarnet.training import precision

HERE = Path(__file__).parent
NAMES = ("keras", "pytorch", "cifarnet")
# Config, overrides, and steps a turn: some seconds each.
WORKS: dict[str, tuple[str, list[str], int]] = {
    "article-32": ("article", ["train.batch_size=32"], 400),
    "article-512": ("article", ["train.batch_size=512"], 40),
    "airbench94": ("airbench94", [], 2),
}


@click.command()
@click.option("--work", multiple=True, type=click.Choice(list(WORKS)), default=list(WORKS))
@click.option("--rounds", default=7, show_default=True, help="Turns of each contender.")
@click.option("--output", type=click.Path(path_type=Path), help="Also write the figures as JSON.")
def main(work: tuple[str, ...], rounds: int, output: Path | None) -> None:
    """Compare, print, and perhaps write the figures."""
    if importlib.util.find_spec("torch") is None:
        raise click.ClickException(
            "PyTorch is missing; install it with: pip install '.[benchmark]'"
        )
    import torch

    measured = precision.choose()
    chosen = measured.chosen or "float32"
    results = {name: compare(name, chosen, rounds) for name in work}
    if output is not None:
        document = {
            "machine": asdict(system.describe()),
            "versions": {**system.versions(), "torch": torch.__version__},
            "precision": measured.to_json(),
            "works": results,
        }
        output.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def compare(work: str, chosen: str, rounds: int) -> dict[str, Any]:
    """All figures of one work; prints them as they come."""
    name, overrides, steps = WORKS[work]
    arguments = [str(HERE.parent / "configs" / f"{name}.yaml"), *overrides]
    print(f"{work}, {chosen}", flush=True)
    contenders = [Contender(n, [*arguments, f"train.precision={chosen}"]) for n in NAMES]
    batch = contenders[0].batch_size
    speeds: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for turn in range(rounds):
        for contender in contenders if turn % 2 == 0 else reversed(contenders):
            speeds[contender.name].append(
                steps * batch / contender.ask(f"train {steps}")["seconds"]
            )
        print("  " + "   ".join(f"{n} {speed[-1]:,.0f} images/s" for n, speed in speeds.items()))
    alone = [contenders[-1].ask("convolutions")["value"] for _ in range(3)]
    step = [batch / speed for speed in speeds["cifarnet"]]
    result: dict[str, Any] = {
        "batch_size": batch,
        "steps_a_turn": steps,
        "images_per_second": {n: [round(s, 1) for s in speed] for n, speed in speeds.items()},
        "first_step_seconds": {c.name: round(c.first_step, 2) for c in contenders},
        "peak_memory_bytes": {c.name: c.ask("memory")["bytes"] for c in contenders},
        "step_seconds": round(statistics.median(step), 4),
        "convolutions_seconds": round(statistics.median(alone), 4),
    }
    result["step_over_convolutions"] = round(
        result["step_seconds"] / result["convolutions_seconds"], 2
    )
    for contender in contenders:
        contender.close()
    for other in NAMES[:2]:
        pairs = zip(speeds["cifarnet"], speeds[other], strict=True)
        ratios = sorted(ours / theirs for ours, theirs in pairs)
        result[f"over_{other}"] = {
            "median": round(statistics.median(ratios), 2),
            "lowest": round(ratios[0], 2),
            "highest": round(ratios[-1], 2),
        }
        print(
            f"  cifarnet / {other}: median {statistics.median(ratios):.2f}, "
            f"from {ratios[0]:.2f} to {ratios[-1]:.2f}"
        )
    for contender in contenders:
        memory = result["peak_memory_bytes"][contender.name] / 2**30
        print(
            f"  {contender.name}: first step after {contender.first_step:.1f} s, {memory:.2f} GiB"
        )
    print(f"  a step takes {result['step_over_convolutions']:.2f} times its convolutions alone")
    return result


class Process:
    """A script that answers lines on its standard input, each by one line of JSON.

    Attributes:
        started: its first answer, after `seconds`.
    """

    def __init__(
        self, script: str, *arguments: object, environment: dict[str, str] | None = None
    ) -> None:
        self._words = [script, *map(str, arguments)]
        start = time.perf_counter()
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / script), *self._words[1:]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **(environment or {})},
            text=True,
        )
        self.started = self._answer()
        self.seconds = time.perf_counter() - start

    def ask(self, command: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        print(command, file=self._process.stdin, flush=True)
        return self._answer()

    def close(self) -> None:
        self._process.communicate()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            words = " ".join(self._words)
            raise click.ClickException(f"{words} ended with code {self._process.wait()}")
        document: dict[str, Any] = json.loads(line)
        return document


class Contender(Process):
    """A contender's process, started and through its first step."""

    def __init__(
        self, name: str, arguments: list[str], environment: dict[str, str] | None = None
    ) -> None:
        super().__init__("contender.py", name, *arguments, environment=environment)
        self.name = name
        self.batch_size: int = self.started["batch_size"]
        self.first_step = self.seconds


if __name__ == "__main__":
    main()
