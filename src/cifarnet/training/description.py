"""What the manifest says of a training before it begins."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import tensorflow as tf

from cifarnet import config as cfg
from cifarnet import data, models, system
from cifarnet.training.step import Trainer


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
        "machine": system.describe(),
        "threads": {
            "intra_op": tf.config.threading.get_intra_op_parallelism_threads(),
            "inter_op": tf.config.threading.get_inter_op_parallelism_threads(),
        },
        "versions": system.versions(),
        "git_commit": system.git_commit(),
        "determinism": _determinism(),
    }


def reopen(before: dict[str, Any], about: dict[str, Any], notes: list[str]) -> dict[str, Any]:
    """What changes in the manifest when a run goes on.

    Args:
        before: the manifest so far.
        about: what `describe` says now.
        notes: what else differs from before.
    """
    moved = _differences(before, about)
    determinism = before.get("determinism", about["determinism"])
    if moved:
        determinism = {
            "bit_deterministic": False,
            "needs": f"to be trained anew, or resumed as it began: {'; '.join(moved)}",
        }
    event = {"at": now(), "notes": [*notes, *moved]}
    return {
        **{key: about[key] for key in ("epochs", "steps", "machine", "threads", "versions")},
        "determinism": determinism,
        "resumed": [*before.get("resumed", []), event],
        "status": "running",
        "why": None,
    }


def _determinism() -> dict[str, Any]:
    """Whether training it again gives the same bits, and what that takes.

    On processors every pair of runs compared was equal, in every precision and with XLA; another
    number of threads changes the sums' order and so the bits. On GPUs nothing was compared.
    """
    if tf.config.list_physical_devices("GPU"):
        return {
            "bit_deterministic": False,
            "needs": "training on the processor: set CUDA_VISIBLE_DEVICES to nothing",
        }
    return {"bit_deterministic": True, "needs": "the machine, threads and versions stated here"}


def _differences(before: dict[str, Any], about: dict[str, Any]) -> list[str]:
    """What computes otherwise than before, in words."""
    old, new = (
        {
            **{key: one.get("machine", {}).get(key) for key in ("processor", "cores", "onednn")},
            **{f"{key} threads": value for key, value in one.get("threads", {}).items()},
            **one.get("versions", {}),
        }
        for one in (before, about)
    )
    return [f"{key}: {old.get(key)} -> {new[key]}" for key in new if new[key] != old.get(key)]


def now() -> str:
    """The time in UTC, ISO 8601."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
