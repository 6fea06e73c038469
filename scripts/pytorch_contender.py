"""PyTorch as a contender of `compare_training.py` and `compare_inference.py`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from cifarnet import config as configs
from cifarnet import data


def pytorch(config: configs.Config, dataset: data.Dataset) -> dict[str, Any]:
    """Images in one uint8 tensor, channels_last, eager, autocast to the config's precision."""
    import torch
    import torch._dynamo  # which optimizers import: in CUDA builds it crashes after TensorFlow

    from cifarnet.training import schedules  # with TensorFlow, which prediction does without

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

    return {"train": run}


def pytorch_predict(
    config: configs.Config, folder: Path, precision: str, name: str
) -> Callable[[np.ndarray, int], np.ndarray]:
    """Raw pixels to probabilities; channels_last, the weights in the precision.

    Args:
        folder: with `weights.npz`, of `torch_weights`, and `statistics.npy`, mean and std.
        precision: `float32` or `bfloat16`.
        name: `pytorch`, eager, or `pytorch compiled`: by `torch.compile` for each batch size, with
            frozen weights.
    """
    import torch

    dtype, size = getattr(torch, precision), config.data.image_size
    layers = torch.nn.Sequential(*_torch_layers(torch.nn, config.model.layers))
    layers(torch.zeros(2, 3, size, size))  # gives the lazy layers their shapes
    with np.load(folder / "weights.npz") as weights, torch.no_grad():
        modules = [one for one in layers if list(one.parameters())]
        for key, value in weights.items():
            index, _, attribute = key.partition(".")
            getattr(modules[int(index)], attribute).copy_(torch.from_numpy(value))
    layers = layers.eval().to(dtype, memory_format=torch.channels_last)
    statistics = {
        "standard": np.load(folder / "statistics.npy"),
        "unit": np.array([[0.0] * 3, [255.0] * 3]),
        "none": np.array([[0.0] * 3, [1.0] * 3]),
    }[config.model.normalize]
    mean, std = torch.from_numpy(statistics).float().view(2, 1, 3, 1, 1)

    def whole(pixels: Any) -> Any:
        images = (pixels.permute(0, 3, 1, 2).float() - mean) / std
        return layers(images.to(dtype)).float().softmax(dim=1)

    if name == "pytorch compiled":
        whole = torch.compile(whole, dynamic=False, options={"freezing": True})

    @torch.inference_mode()
    def predict(pixels: np.ndarray, batch: int) -> np.ndarray:
        images = torch.from_numpy(pixels)
        rows = [whole(images[at : at + batch]) for at in range(0, len(images), batch)]
        probabilities: np.ndarray = torch.cat(rows).numpy()
        return probabilities

    return predict


def torch_weights(stock: Any) -> dict[str, np.ndarray]:
    """Return a Keras model's weights as PyTorch's layers have them, by `INDEX.ATTRIBUTE`.

    INDEX counts the layers that have weights.
    """
    found: dict[str, np.ndarray] = {}
    flattened, index = (1, 1, -1), 0
    for layer in stock.layers:
        kind = type(layer).__name__
        if kind == "Flatten":
            flattened = layer.input.shape[1:]
        if not layer.weights:
            continue
        if kind == "BatchNormalization":
            values = {"bias": layer.beta, "weight": layer.gamma}
            values |= {"running_mean": layer.moving_mean, "running_var": layer.moving_variance}
        else:
            kernel = np.asarray(layer.kernel)
            if kind == "Conv2D":
                kernel = kernel.transpose(3, 2, 0, 1)
            else:  # Keras flattens [rows, columns, channels], PyTorch [channels, rows, columns]
                units = kernel.shape[-1]
                kernel = kernel.reshape(*flattened, units).transpose(3, 2, 0, 1).reshape(units, -1)
                flattened = (1, 1, -1)
            values = {"weight": kernel, "bias": layer.bias}
        for name, value in values.items():
            if value is not None:
                found[f"{index}.{name}"] = np.array(value, np.float32)
        index += 1
    return found


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
