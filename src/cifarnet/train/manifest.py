"""What the manifest says of a training before it begins."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import tensorflow as tf

from cifarnet import config as cfg
from cifarnet import data, machine, models
from cifarnet.train.trainer import Trainer


def describe(config: cfg.Config, dataset: data.Dataset, trainer: Trainer) -> dict[str, Any]:
    """Data, network, machine and versions; JSON-able."""
    layers = models.summary(trainer.model)
    return {
        "name": config.name,
        "started": now(),
        "seed": config.seed,
        "data": {
            "source": dataset.description,
            "classes": list(dataset.classes),
            "counts": {
                "train": len(dataset.train.labels),
                "validation": len(dataset.validation.labels),
                "test": len(dataset.test.labels),
            },
            "digests": dataset.digests(),
            "notes": list(dataset.notes),
        },
        "model": {
            "parameters": sum(layer["parameters"] for layer in layers),
            "macs": sum(layer["macs"] for layer in layers),
        },
        "epochs": config.train.epochs,
        "steps": trainer.total_steps,
        "machine": machine.describe(),
        "threads": {
            "intra_op": tf.config.threading.get_intra_op_parallelism_threads(),
            "inter_op": tf.config.threading.get_inter_op_parallelism_threads(),
        },
        "versions": machine.versions(),
        "git_commit": machine.git_commit(),
    }


def now() -> str:
    """The time in UTC, ISO 8601."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
