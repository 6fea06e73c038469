"""One network on several replicas in one process, whose processor is split into devices."""

import copy
import traceback
import unittest.mock
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import yaml

from cifarnet.models import replicas
from helpers.commands import forking

CONVOLUTION = {"filters": 8, "kernel_size": 3, "use_bias": False}
NETWORK = [
    {"Conv2D": CONVOLUTION},
    {"BatchNormalization": {"momentum": 0.6}},
    {"ReLU": {"name": "relu"}},
    {"MaxPooling2D": {"pool_size": 4}},
    "Flatten",
    {"Dense": {"units": 10, "name": "head"}},
]
BASE = {
    "seed": 3,
    "data": {"source": "synthetic", "limit": 200, "validation_fraction": 0.2},
    "model": {"layers": NETWORK},
    "train": {
        "epochs": 4,
        "batch_size": 50,  # not a multiple of 3
        "learning_rate": 0.02,
        "momentum": 0.9,
        "precision": "float32",
    },
}
AUGMENT = [
    {"kind": "flip"},
    {"kind": "crop", "pixels": 2},
    {"kind": "rotate", "degrees": 10},
    {"kind": "scale", "fraction": 0.1},
    {"kind": "cutout", "size": 6},
    {"kind": "brightness", "fraction": 0.1},
    {"kind": "contrast", "fraction": 0.1},
]


def body(*layers) -> dict:
    """A network with some layers between a convolution and the head."""
    convolution = {"Conv2D": {**CONVOLUTION, "strides": 3, "activation": "relu"}}
    return {"model": {"layers": [convolution, *layers, "Flatten", {"Dense": {"units": 10}}]}}


def train(**keys) -> dict:
    return {"train": keys}


# By name: what differs from BASE.
CASES = {
    "together": {
        "data": {"augment": AUGMENT},
        "model": {"layers": [*NETWORK[:-1], {"Dropout": {"rate": 0.3}}, NETWORK[-1]]},
        **train(
            nesterov=True,
            weight_decay=0.01,
            norm_bias_factor=4,
            label_smoothing=0.2,
            clip_norm=1.0,
            ema=0.9,
            lookahead={"every": 2},
            freeze={"head": 1},
        ),
    },
    "plain": {},
    "augmented": {"data": {"augment": AUGMENT}},
    "mixup": {"data": {"mix": "mixup", "augment": AUGMENT}, **train(label_smoothing=0.2)},
    "cutmix": {"data": {"mix": "cutmix"}},
    "alternating": {"data": {"augment": [{"kind": "alternating_flip"}]}},
    "nesterov": train(nesterov=True, weight_decay=0.01, norm_bias_factor=64),
    "no momentum": train(momentum=0.0),
    "smoothing": train(label_smoothing=0.2),
    "clipped": train(clip_norm=0.1),
    "muon": train(muon={}, weight_decay=0.01, clip_norm=0.1),
    "ema": train(ema=0.9),
    "resolution": {
        "model": {"layers": [*NETWORK[:4], "GlobalMaxPooling2D", NETWORK[-1]]},
        **train(resolution=[{"until": 0.1, "size": 24}]),  # 2 of 16 steps
    },
    "lookahead": train(lookahead={"every": 2}),
    "frozen": train(freeze={"head": 1}),
    "cosine": train(schedule={"kind": "cosine", "warmup_epochs": 1}),
    "float16": train(precision="float16"),
    "clipped float16": train(precision="float16", clip_norm=0.1),
    "bfloat16": train(precision="bfloat16"),
    "dropout": body({"Dropout": {"rate": 0.5}}),
    "spatial dropout": body({"SpatialDropout2D": {"rate": 0.5}}),
    "gaussian dropout": body({"GaussianDropout": {"rate": 0.5}}),
    "gaussian noise": body({"GaussianNoise": {"stddev": 0.5}}),
    "alpha dropout": body({"AlphaDropout": {"rate": 0.5}}),
    "recurrent dropout": body(
        {"Reshape": {"target_shape": [10, 80]}},
        {"LSTM": {"units": 8, "dropout": 0.5, "recurrent_dropout": 0.5}},
    ),
    "gelu": body({"Conv2D": {**CONVOLUTION, "activation": "gelu"}}, "BatchNormalization"),
    "first axis": body({"BatchNormalization": {"axis": 1}}),
    "dense norm": body("Flatten", {"Dense": {"units": 16}}, "BatchNormalization", "ReLU"),
    "no scale": body({"BatchNormalization": {"scale": False, "center": False}}),
    "other norms": body("LayerNormalization", {"GroupNormalization": {"groups": 4}}),
    "regularized": body(
        {"Conv2D": {**CONVOLUTION, "kernel_regularizer": "l2", "activity_regularizer": "l2"}}
    ),
    "residual": body({"Residual": {"layers": [{"Conv2D": {**CONVOLUTION, "padding": "same"}}]}}),
    "whitening": {
        "model": {
            "layers": [
                {
                    "Conv2D": {
                        "filters": 24,
                        "kernel_size": 2,
                        "kernel_initializer": "whitening",
                        "trainable": False,
                    }
                },
                *NETWORK,
            ]
        }
    },
}
REFUSED = {
    "renormalized": body({"Residual": {"layers": [{"BatchNormalization": {"renorm": True}}]}}),
    "single images": train(batch_size=1),
}
STEPS = {"together": 2, "resolution": 3, "frozen": 5, "lookahead": 3, "ema": 2}


def settings(case: str) -> Any:
    from cifarnet import config

    document = copy.deepcopy(BASE)
    for section, keys in (CASES | REFUSED)[case].items():
        document[section] |= keys
    return config.parse(document)


def states(trainer: Any, steps: int) -> dict[str, np.ndarray]:
    losses, accuracies = zip(*(trainer.steps(1) for _ in range(steps)), strict=True)
    validation = np.array(trainer.validate())
    measured = {"losses": np.array(losses), "accuracies": np.array(accuracies)}
    return {**trainer.state(), **measured, "validation": validation}


class Failure(str):
    """The traceback of a call."""


class Logical:
    """Runs in a process of its own; its replicas exchange numbers as workers do."""

    def __init__(self, replicas: int) -> None:
        from cifarnet.backend import tf

        processor = tf.config.list_physical_devices("CPU")[0]
        parts = [tf.config.LogicalDeviceConfiguration()] * replicas
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.set_logical_device_configuration(processor, parts)
        from cifarnet.training.team import Team

        # A second strategy would use the numbers of the first one's exchanges again.
        self.team = Team(tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(replicas)]))

    def difference(self, case: str) -> float:
        """Return the largest difference of any number from one process."""
        from cifarnet import data
        from cifarnet.training.step import Trainer

        chosen = settings(case)
        dataset = data.load(chosen.data, chosen.seed)
        steps = STEPS.get(case, 1)
        alone = states(Trainer(chosen, dataset), steps)
        together = states(Trainer(chosen, dataset, self.team), steps)
        assert together.keys() == alone.keys()
        return max(
            float(np.max(np.abs(np.float64(together[name]) - np.float64(alone[name]))))
            for name in alone
        )

    def refused(self, case: str) -> str:
        """Return why a case of `REFUSED` is."""
        from cifarnet import data
        from cifarnet.errors import ConfigError, ModelError
        from cifarnet.training.step import Trainer

        chosen = settings(case)
        try:
            Trainer(chosen, data.load(chosen.data, chosen.seed), self.team)
        except (ConfigError, ModelError) as error:
            return f"refused: {error}"
        return "not refused"

    def unsynchronized(self) -> float:
        """Return the difference with each replica's own batch statistics."""
        with unittest.mock.patch.object(replicas, "gather", lambda values: values[None]):
            return self.difference("plain")

    def own_masks(self) -> float:
        """Return the difference with equal masks on each replica."""
        with unittest.mock.patch.object(replicas, "divide_batch"):
            return self.difference("dropout")

    def trained(self, text: str) -> dict[str, np.ndarray]:
        """Return the state of a config in YAML at the end of its training."""
        from cifarnet import config, data
        from cifarnet.training.step import Trainer

        chosen = config.parse(yaml.safe_load(text))
        trainer = Trainer(chosen, data.load(chosen.data, chosen.seed), self.team)
        while trainer.step < trainer.total_steps:
            trainer.steps(1)
        return trainer.state()


def _serve(connection: Connection, replicas: int) -> None:
    logical = Logical(replicas)
    while True:
        try:
            name, arguments = connection.recv()
        except EOFError:
            return
        try:
            connection.send(getattr(logical, name)(*arguments))
        except BaseException:
            connection.send(Failure(traceback.format_exc()))


class Remote:
    """Calls `Logical` in the other process."""

    def __init__(self, replicas: int) -> None:
        self._connection, theirs = forking().Pipe()
        arguments = (theirs, replicas)
        self._process = forking().Process(target=_serve, args=arguments, daemon=True)
        self._process.start()
        theirs.close()

    def call(self, name: str, *arguments: object) -> Any:
        self._connection.send((name, arguments))
        answer = self._connection.recv()
        assert not isinstance(answer, Failure), answer
        return answer

    def close(self) -> None:
        self._connection.close()
        self._process.join()
