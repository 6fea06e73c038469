"""Measure the forms in which convolutions are computed against TensorFlow's own.

    python scripts/measure_convolutions.py

For small maps of 64 to 512 channels, in bfloat16 and with one thread, it prints how much
faster a step (the convolution and both gradients) is with kernel gradients as forward convolutions,
and then with images side by side: of 9 turns the median and, in brackets, the lowest and highest.
Above 1 is faster. `cifarnet.models.convolutions` uses each where this says that it pays.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import tensorflow as tf

from cifarnet.models import convolutions

SIDES = (2, 3, 4, 5, 6, 7, 8)
CHANNELS = ((64, 64), (128, 128), (256, 256), (256, 512), (384, 384), (512, 512))
BATCH, TURNS = 256, 9
Step = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], list[tf.Tensor]]


def step(small: bool, together: bool) -> Step:
    """Build a convolution with its gradients in one form."""

    def run(inputs: tf.Tensor, kernel: tf.Tensor, upstream: tf.Tensor) -> list[tf.Tensor]:
        convolutions._has_matrix_unit = lambda: together  # type: ignore[assignment]
        with tf.GradientTape() as tape:
            tape.watch([inputs, kernel])
            outputs = convolutions.convolve(inputs, kernel, [(1, 1), (1, 1)], small)
        return tape.gradient(outputs, [inputs, kernel], upstream)

    return tf.function(run)


def seconds(run: Step, *tensors: tf.Tensor) -> float:
    """Return the seconds of one step."""
    start = time.perf_counter()
    for gradient in run(*tensors):
        gradient.numpy()
    return time.perf_counter() - start


def ratios(side: int, channels: int, filters: int) -> tuple[str, str]:
    """Return how much faster the second and the third form are than the one before."""
    shapes = (BATCH, side, side, channels), (3, 3, channels, filters), (BATCH, side, side, filters)
    tensors = [
        tf.cast(tf.random.stateless_normal(shape, [0, i]), "bfloat16")
        for i, shape in enumerate(shapes)
    ]
    forms = [step(False, False), step(True, False), step(True, True)]
    turns: list[list[float]] = []
    for turn in range(TURNS + 1):
        order = [(turn + i) % 3 for i in range(3)]  # each follows each: memory is warm for the next
        taken = {i: seconds(forms[i], *tensors) for i in order}
        turns.append([taken[i] for i in range(3)])
    cells = []
    for before, after in ((0, 1), (1, 2)):
        values = sorted(turn[before] / turn[after] for turn in turns[1:])
        cells.append(f"{statistics.median(values):.2f} ({values[0]:.2f} to {values[-1]:.2f})")
    return cells[0], cells[1]


def main() -> None:
    """Print the table."""
    tf.config.threading.set_intra_op_parallelism_threads(1)
    print("| map | channels | kernel gradient | and side by side |\n|---|---|---|---|")
    for channels, filters in CHANNELS:
        for side in SIDES:
            one, two = ratios(side, channels, filters)
            print(f"| {side} x {side} | {channels} to {filters} | {one} | {two} |", flush=True)


if __name__ == "__main__":
    main()
