"""Train whole configs by turns, and compare what each takes.

    python scripts/compare_recipes.py airbench94 baseline --rounds 3

Each training is a process of its own. Ratios are formed round by round, to the first config.
Accuracy is not measured here: `cifarnet evaluate` does, on the runs that are kept with --runs.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import click

import cifarnet


@click.command()
@click.argument("configs", nargs=-1, required=True)
@click.option("-o", "overrides", multiple=True, help="as for cifarnet train, for all configs")
@click.option("--rounds", default=1, show_default=True)
@click.option("--runs", type=click.Path(path_type=Path), help="keep the runs in this folder")
def main(
    configs: tuple[str, ...], overrides: tuple[str, ...], rounds: int, runs: Path | None
) -> None:
    """Print seconds of training, processor seconds and their ratios."""
    with tempfile.TemporaryDirectory() as folder:
        found: list[list[tuple[float, float]]] = []
        for number in range(rounds):
            root = (runs or Path(folder)) / f"round-{number}"
            found.append([_train(name, overrides, root / str(i)) for i, name in enumerate(configs)])
            seconds = ", ".join(f"{wall:.0f} s" for wall, _ in found[-1])
            print(f"round {number}: {seconds}", flush=True)
    for i, name in enumerate(configs):
        for j, what in enumerate(("of training", "of processor time")):
            values = [one[i][j] for one in found]
            ratios = [one[i][j] / one[0][j] for one in found]
            print(f"{name}: {_range(values, '.0f')} s {what}, ratio {_range(ratios, '.3f')}")


def _range(values: list[float], form: str) -> str:
    low, high = min(values), max(values)
    return f"{statistics.median(values):{form}} ({low:{form}} to {high:{form}})"


def _train(config: str, overrides: tuple[str, ...], root: Path) -> tuple[float, float]:
    """Return the seconds of training, and of processor time of the whole command."""
    words = [sys.executable, "-m", "cifarnet", "train", "--config", config, "--runs", str(root)]
    for one in overrides:
        words += ["-o", one]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    (path,) = root.glob("2*")
    record = cifarnet.open_run(path).read_record()
    assert record.seconds is not None
    assert record.cost is not None
    assert record.cost.processor_seconds is not None
    return record.seconds, record.cost.processor_seconds


if __name__ == "__main__":
    main()
