"""One contender of `compare_training.py` and `compare_inference.py`, in a process of its own.

    python scripts/contender.py cifarnet configs/article.yaml train.batch_size=512

It trains one step at once and then obeys lines on standard input, each answered by one line of
JSON: `train N` (N steps: seconds, last loss), `predict N B` (N images, B at once: seconds),
`convolutions` (cifarnet only: seconds per step), `memory` (peak, bytes). All three train the
config's network with its optimizer, batch size and schedule, from weights that each library draws.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from cifarnet import config as configs
from cifarnet import data, system
from cifarnet.training import schedules

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

    def predict(count: int, batch: int) -> None:
        model.predict(pixels[:count], batch_size=batch, verbose=0)

    return {"train": run, "predict": predict}


# --- PyTorch, as fast as its plain eager form goes ---------------------------------------------


def pytorch(config: configs.Config, dataset: data.Dataset) -> dict[str, Any]:
    """Images in one uint8 tensor, channels_last, autocast to the config's precision."""
    import torch

    torch.manual_seed(config.seed)
    train = config.train
    pixels = torch.from_numpy(np.ascontiguousarray(dataset.train.pixels)).permute(0, 3, 1, 2)
    labels = torch.from_numpy(dataset.train.labels.astype(np.int64))
    mean = torch.tensor(dataset.mean).view(1, 3, 1, 1)
    std = torch.tensor(dataset.std).view(1, 3, 1, 1)
    model = torch.nn.Sequential(*_torch_layers(torch.nn, config.model.layers))
    model(torch.zeros(2, 3, 32, 32))  # gives the lazy layers their shapes
    _torch_initialize(torch.nn, model, config.model.layers)
    model = model.to(memory_format=torch.channels_last)
    optimizer = _torch_optimizer(torch, model, train)
    base_rates = [group["lr"] for group in optimizer.param_groups]
    steps_per_epoch = len(labels) // train.batch_size
    total = round(train.epochs * steps_per_epoch)
    rates = schedules.build(train, steps_per_epoch, total)
    lookahead = train.lookahead
    slow = [p.detach().clone() for p in model.state_dict().values()] if lookahead else []
    loss_function = torch.nn.CrossEntropyLoss(label_smoothing=train.label_smoothing)
    half = train.precision == "bfloat16"
    precision = torch.autocast("cpu", torch.bfloat16) if half else contextlib.nullcontext()
    order = torch.randperm(len(labels))
    done = 0

    def run(steps: int) -> float:
        nonlocal done, order
        for _ in range(steps):
            at = done % steps_per_epoch
            if at == 0:
                order = torch.randperm(len(labels))
            batch = order[at * train.batch_size : (at + 1) * train.batch_size]
            images = _torch_augment(torch, pixels[batch], config.data.augment)
            images = (images.float() - mean) / std
            images = images.contiguous(memory_format=torch.channels_last)
            factor = float(rates(np.asarray(done % total))) / train.learning_rate
            for group, rate in zip(optimizer.param_groups, base_rates, strict=True):
                group["lr"] = factor * rate
            with precision:
                logits = model(images)
            loss = loss_function(logits.float(), labels[batch])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            done += 1
            if lookahead is not None and done % lookahead.every == 0:
                keep = lookahead.decay * (done / total) ** lookahead.ramp
                for copy, value in zip(slow, model.state_dict().values(), strict=True):
                    if value.is_floating_point():
                        value.copy_(copy.lerp_(value, 1 - keep))
        return float(loss.detach())

    def predict(count: int, batch: int) -> None:
        model.eval()
        with torch.inference_mode(), precision:
            for at in range(0, count, batch):
                images = (pixels[at : at + batch].float() - mean) / std
                logits = model(images.contiguous(memory_format=torch.channels_last))
                logits.float().softmax(dim=1)

    return {"train": run, "predict": predict}


def _torch_layers(nn: Any, layers: Iterable[configs.Layer]) -> list[Any]:
    """The layer list in PyTorch; only what the compared configs have."""
    made: list[Any] = []
    activations = {"relu": nn.ReLU, "gelu": nn.GELU}
    for layer in layers:
        ((name, options),) = layer.items()
        bias = options.get("use_bias", True)
        if name == "Conv2D":
            size = options["kernel_size"]
            padding = size // 2 if options.get("padding") == "same" else 0
            made.append(nn.LazyConv2d(options["filters"], size, padding=padding, bias=bias))
        elif name == "Dense":
            made.append(nn.LazyLinear(options["units"], bias=bias))
        elif name == "MaxPooling2D":
            made.append(nn.MaxPool2d(options["pool_size"]))
        elif name == "BatchNormalization":
            made.append(nn.LazyBatchNorm2d(options["epsilon"], 1 - options["momentum"]))
        elif name == "Rescaling":
            made.append(_scale(nn, options["scale"]))
        elif name == "Flatten":
            made.append(nn.Flatten())
        elif name != "Activation":
            raise ValueError(f"{name}: expected a layer of the configs compared here")
        if "activation" in options:
            made.append(activations[options["activation"]]())
    return made


def _scale(nn: Any, factor: float) -> Any:
    class Scale(nn.Module):
        def forward(self, x: Any) -> Any:
            return x * factor

    return Scale()


def _torch_initialize(nn: Any, model: Any, layers: Iterable[configs.Layer]) -> None:
    convolutions = [
        options for layer in layers for name, options in layer.items() if name == "Conv2D"
    ]
    modules = [module for module in model if isinstance(module, nn.Conv2d)]
    for module, options in zip(modules, convolutions, strict=True):
        inputs = module.weight.shape[1]
        if options.get("kernel_initializer") == "dirac":
            nn.init.dirac_(module.weight.data[:inputs])
        elif options.get("kernel_initializer") == "whitening":
            nn.init.orthogonal_(module.weight.data)
            module.weight.requires_grad = False
    for module in model:
        if isinstance(module, nn.BatchNorm2d):
            module.weight.requires_grad = False


def _torch_optimizer(torch: Any, model: Any, train: configs.TrainConfig) -> Any:
    norms = [m.bias for m in model if isinstance(m, torch.nn.BatchNorm2d)]
    known = {id(p) for p in norms}
    others = [p for p in model.parameters() if p.requires_grad and id(p) not in known]
    # PyTorch's decay goes through the momentum, Keras' does not.
    decay = train.weight_decay * (1 - train.momentum)
    groups = [{"params": others, "lr": train.learning_rate, "weight_decay": decay}]
    if norms:
        factor = train.norm_bias_factor
        rate = train.learning_rate * factor
        groups.append({"params": norms, "lr": rate, "weight_decay": decay / factor})
    return torch.optim.SGD(
        groups, train.learning_rate, momentum=train.momentum, nesterov=train.nesterov
    )


def _torch_augment(torch: Any, images: Any, augment: tuple[Any, ...]) -> Any:
    """Mirrored and shifted uint8 [B, 3, 32, 32]; of the kinds that the compared configs have."""
    for kind in augment:
        if kind.kind == "alternating_flip":
            chosen = torch.rand(len(images)) < 0.5
            images = torch.where(chosen.view(-1, 1, 1, 1), images.flip(-1), images)
        elif kind.kind == "crop":
            most, size = kind.pixels, images.shape[-1]
            padded = torch.nn.functional.pad(images.float(), (most,) * 4, mode="reflect")
            shifts = torch.randint(0, 2 * most + 1, (2, len(images)))
            images = torch.empty_like(images, dtype=torch.float32)
            for y in range(2 * most + 1):
                for x in range(2 * most + 1):
                    at = ((shifts[0] == y) & (shifts[1] == x)).nonzero()[:, 0]
                    images[at] = padded[at, :, y : y + size, x : x + size]
    return images


# --- cifarnet ----------------------------------------------------------------------------------


def cifarnet(config: configs.Config, dataset: data.Dataset) -> dict[str, Any]:
    """As `cifarnet train` runs it, in groups of steps."""
    from cifarnet import predictors
    from cifarnet.predictors import keras_file
    from cifarnet.training.step import Trainer

    trainer = Trainer(config, dataset)
    by_size: dict[int, predictors.Predict] = {}

    def run(steps: int) -> float:
        while steps:
            if trainer.step == trainer.total_steps:
                trainer.step = 0  # the schedule starts again: only the time matters from here
            in_epoch = trainer.step % trainer.steps_per_epoch
            left = min(trainer.steps_per_epoch - in_epoch, trainer.total_steps - trainer.step)
            count = min(steps, left, 100)
            losses, _ = trainer.steps(count)
            steps -= count
        return float(losses[-1])

    def predict(count: int, batch: int) -> None:
        if batch not in by_size:
            model = trainer.float32_model(trainer.eval_model.get_weights())
            by_size[batch] = keras_file.from_model(model, batch)
        by_size[batch](dataset.train.pixels[:count])

    return {
        "train": run,
        "predict": predict,
        "convolutions": lambda: convolutions(trainer.model, config),
    }


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
