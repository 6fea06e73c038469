"""One contender of `compare_training.py`, in a process of its own.

    python scripts/contender.py cifarnet configs/article.yaml train.batch_size=512

It trains one step at once and then obeys lines on standard input, each answered by one line of
JSON: `train N` (N steps: seconds, last loss), `memory` (peak, bytes), and of cifarnet alone
`convolutions` (seconds per step), `stages` (of `train.resolution`: size, first step, steps) and
`seek N` (the next step is N). All three train the config's network with its optimizer, batch size
and schedule, from weights that each library draws.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from pytorch_contender import pytorch

from cifarnet import config as configs
from cifarnet import data, system

Train = Callable[[int], float]  # so many steps -> the last one's loss


def main(name: str, path: str, *overrides: str) -> None:
    config = configs.load(Path(path), overrides)
    dataset = data.load(config.data, config.seed)
    commands = {"keras": keras_fit, "pytorch": pytorch, "cifarnet": cifarnet}[name](config, dataset)
    answer({"loss": commands["train"](1), "batch_size": config.train.batch_size})
    for line in sys.stdin:
        command, *arguments = line.split()
        if command == "memory":
            answer({"bytes": system.peak_memory()})
        else:
            start = time.perf_counter()
            value = commands[command](*map(int, arguments))
            answer({"seconds": time.perf_counter() - start, "value": value})


def answer(document: dict[str, Any]) -> None:
    print(json.dumps(document), flush=True)


# --- Keras, as a tutorial writes it -----------------------------------------------------------


def keras_fit(config: configs.Config, dataset: data.Dataset) -> dict[str, Any]:
    """`fit` on NumPy arrays, float32, Keras' own layers, its defaults; no augmentation."""
    import keras

    from cifarnet import models
    from cifarnet.training import schedules

    keras.utils.set_random_seed(config.seed)
    train, classes = config.train, len(dataset.classes)
    network = config.model.model_copy(update={"normalize": "none"})
    model = models.build(network, 32, classes, dataset.mean, dataset.std)
    model.compile(
        optimizer=keras.optimizers.SGD(
            float(schedules.build(train, 1, 1)(np.asarray(0))),  # it keeps the first rate
            momentum=train.momentum,
            nesterov=train.nesterov,
            weight_decay=train.weight_decay or None,
        ),
        loss=keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=train.label_smoothing
        ),
        metrics=["accuracy"],
    )
    pixels = np.asarray(dataset.train.pixels, np.float32) / 255
    labels = keras.utils.to_categorical(dataset.train.labels, classes)

    def run(steps: int) -> float:
        count = steps * train.batch_size
        history = model.fit(pixels[:count], labels[:count], batch_size=train.batch_size, verbose=0)
        return history.history["loss"][-1]

    return {"train": run}


# --- cifarnet ----------------------------------------------------------------------------------


def cifarnet(config: configs.Config, dataset: data.Dataset) -> dict[str, Any]:
    """As `cifarnet train` runs it, in groups of steps."""
    from cifarnet.training.step import Trainer

    trainer = Trainer(config, dataset)

    def run(steps: int) -> float:
        while steps:
            if trainer.step == trainer.total_steps:
                trainer.step = 0  # the schedule starts again: only the time matters from here
            count = min(steps, trainer.left, 100)
            losses, _ = trainer.steps(count)
            steps -= count
        return float(losses[-1])

    def seek(step: int) -> None:
        trainer.step = step

    return {
        "train": run,
        "seek": seek,
        "stages": lambda: stages(trainer),
        "convolutions": lambda: convolutions(trainer.model, config),
    }


def stages(trainer: Any) -> list[tuple[int, int, int]]:
    """Return the size, the first step and the number of steps of each stage of a training."""
    found, first = [], 0
    while first < trainer.total_steps:
        steps = trainer.resolution.left(first)
        found.append((trainer.resolution.size(first), first, steps))
        first += steps
    return found


def convolutions(model: Any, config: configs.Config) -> float:
    """Seconds that the convolutions of one training step take alone, one after another.

    Forward, the kernel's gradient where it is trained, and the input's gradient where something
    before it is.
    """
    import keras
    import tensorflow as tf

    seconds, trained = 0.0, False
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D):
            shape = [config.train.batch_size, *layer.input.shape[1:]]
            inputs = tf.random.stateless_normal(shape, [0, 0])
            seconds += _seconds(tf, layer, inputs, trained)
        trained = trained or bool(layer.trainable_weights)
    return seconds


def _seconds(tf: Any, layer: Any, inputs: Any, input_gradient: bool) -> float:
    """Best of three."""
    dtype = layer.compute_dtype

    @tf.function
    def once(inputs: Any, kernel: Any) -> list[Any]:
        sources = [kernel] * layer.kernel.trainable + [inputs] * input_gradient
        with tf.GradientTape() as tape:
            tape.watch([inputs, kernel])
            outputs = layer.convolution_op(inputs, kernel)
        return [outputs, *tape.gradient(outputs, sources)]

    inputs, kernel = tf.cast(inputs, dtype), tf.cast(layer.kernel.value, dtype)
    times = []
    for _ in range(4):
        start = time.perf_counter()
        once(inputs, kernel)
        times.append(time.perf_counter() - start)
    return min(times[1:])


if __name__ == "__main__":
    main(*sys.argv[1:])
