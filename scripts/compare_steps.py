"""Compare the time of training steps of several forms, by turns.

    python scripts/compare_steps.py airbench94 fast94 "fast94 train.resolution=[]"
    python scripts/compare_steps.py article "article TF_NUM_INTEROP_THREADS=1" --images 6400

A form is the name of a config, then overrides as for `cifarnet train -o` and environment variables,
which have capitals. Each is a process of its own (`contender.py`), which trains while the others
wait; ratios are formed turn by turn, to the first form. Forms compute in the precision that
cifarnet measures as fastest here, unless an override says another. Steps are the first of a
training, so with `train.resolution` they have its first size.
"""

from __future__ import annotations

import shlex
import statistics

import click
from compare_training import HERE, Contender

from cifarnet.training import precision


@click.command()
@click.argument("forms", nargs=-1, required=True)
@click.option("--images", default=1024, show_default=True, help="Images of a turn, at least.")
@click.option("--rounds", default=5, show_default=True, help="Turns of each form.")
def main(forms: tuple[str, ...], images: int, rounds: int) -> None:
    """Print the milliseconds per image of each form, and the ratio to the first."""
    chosen = precision.choose().chosen or "float32"
    print(chosen, flush=True)
    contenders = [start(form, chosen) for form in forms]
    taken: list[list[float]] = []
    for turn in range(rounds):
        order = list(range(len(forms)))[:: 1 if turn % 2 == 0 else -1]
        times = {i: milliseconds(contenders[i], images) for i in order}
        taken.append([times[i] for i in range(len(forms))])
    for contender in contenders:
        contender.close()
    for i, form in enumerate(forms):
        ratios = [turn[i] / turn[0] for turn in taken]
        middle = statistics.median(turn[i] for turn in taken)
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"{form}: {middle:.3f} ms per image, ratio {spread}")


def start(form: str, chosen: str) -> Contender:
    """Start the process of a form, which takes its first step."""
    name, *words = shlex.split(form)
    variables = [word for word in words if "=" in word and word.partition("=")[0].isupper()]
    overrides = [f"train.precision={chosen}", *(word for word in words if word not in variables)]
    environment = dict(variable.split("=", 1) for variable in variables)
    return Contender(
        "cifarnet", [str(HERE.parent / "configs" / f"{name}.yaml"), *overrides], environment
    )


def milliseconds(contender: Contender, images: int) -> float:
    """Return what an image takes on average of as many steps as have so many images."""
    steps = -(-images // contender.batch_size)
    seconds: float = contender.ask(f"train {steps}")["seconds"]
    return 1000 * seconds / (steps * contender.batch_size)


if __name__ == "__main__":
    main()
