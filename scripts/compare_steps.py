"""Compare the time of all training steps of several recipes, by turns.

    python scripts/compare_steps.py airbench94 fast94 accurate
    python scripts/compare_steps.py article "article TF_NUM_INTEROP_THREADS=1" --images 6400

A recipe is the name of a config, then overrides as for `cifarnet train -o` and environment
variables, which have capitals. Each is a process of its own (`contender.py`), which trains while
the others wait. A turn takes some steps of each size of `train.resolution`; the time of the whole
training is that of an image of each size times the images of that size. Start, graphs, validation
and checkpoints are not in it. Ratios are formed turn by turn, to the first recipe. All compute in
the precision that cifarnet measures as fastest here, unless an override says another.
"""

from __future__ import annotations

import shlex
import statistics

import click
from compare_training import HERE, Contender

from cifarnet.training import precision


@click.command()
@click.argument("recipes", nargs=-1, required=True)
@click.option(
    "--images", default=1024, show_default=True, help="Images per size and turn, at least."
)
@click.option("--rounds", default=5, show_default=True, help="Turns of each recipe.")
def main(recipes: tuple[str, ...], images: int, rounds: int) -> None:
    """Print the milliseconds per image of each recipe, the seconds of all steps, and the ratios."""
    chosen = precision.choose().chosen or "float32"
    print(chosen, flush=True)
    running = [Recipe(words, chosen) for words in recipes]
    for turn in range(rounds):
        for recipe in running[:: 1 if turn % 2 == 0 else -1]:
            recipe.turn(images)
    for recipe in running:
        recipe.report(running[0])


class Recipe:
    """The process of a recipe, and what its turns took.

    Attributes:
        totals: seconds of all steps of the training, by turn.
    """

    def __init__(self, words: str, chosen: str) -> None:
        """Start the process and take a step of each size, which builds its graph."""
        name, *rest = shlex.split(words)
        variables = [word for word in rest if "=" in word and word.partition("=")[0].isupper()]
        overrides = [f"train.precision={chosen}", *(word for word in rest if word not in variables)]
        path = str(HERE.parent / "configs" / f"{name}.yaml")
        environment = dict(variable.split("=", 1) for variable in variables)
        self._contender = Contender("cifarnet", [path, *overrides], environment)
        self._stages: list[tuple[int, int, int]] = self._contender.ask("stages")["value"]
        self._times: list[list[float]] = []
        self.words = words
        self.totals: list[float] = []
        for _, first, _ in self._stages:
            self._take(first, 1)

    def turn(self, images: int) -> None:
        """Take steps of each size, and add what the whole training would take."""
        count = -(-images // self._contender.batch_size)
        times = [self._take(first, min(count, steps)) for _, first, steps in self._stages]
        self._times.append(times)
        self.totals.append(
            sum(time * steps for time, (_, _, steps) in zip(times, self._stages, strict=True))
        )

    def report(self, reference: Recipe) -> None:
        """Print the medians and the ratio of the whole training, and end the process."""
        self._contender.close()
        ratios = [ours / theirs for ours, theirs in zip(self.totals, reference.totals, strict=True)]
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"{self.words}: {statistics.median(self.totals):,.0f} s of steps, ratio {spread}")
        for (size, _, steps), times in zip(
            self._stages, zip(*self._times, strict=True), strict=True
        ):
            milliseconds = 1000 * statistics.median(times) / self._contender.batch_size
            print(f"  {size} pixels, {steps} steps: {milliseconds:.3f} ms per image")

    def _take(self, first: int, steps: int) -> float:
        """Return the seconds per step, of as many steps from the `first` on."""
        self._contender.ask(f"seek {first}")
        seconds: float = self._contender.ask(f"train {steps}")["seconds"]
        return seconds / steps


if __name__ == "__main__":
    main()
