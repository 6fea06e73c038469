"""What of a config determines the trained weights, beside the seed."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from cifarnet.config.loader import changes
from cifarnet.config.schema import Config

# Keys that change nothing that is trained.
UNTRAINED = (
    "data.memory_share",
    "evaluate",
    "export",
    "train.checkpoint",
    "train.tensorboard",
    "train.mlflow",
)
_OTHER = ("name", "seed", *UNTRAINED)


def recipe_digest(config: Config) -> str:
    """Return the SHA-256 of what determines the trained network, without the seed.

    The place of the images counts only for a folder of images.
    """
    document = config.model_dump(mode="json")
    for name in _others(config):
        *sections, key = name.split(".")
        inner = document
        for section in sections:
            inner = inner[section]
        inner.pop(key, None)
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def recipe_changes(old: Config, new: Config) -> dict[str, tuple[Any, Any]]:
    """Return the old and new value of every key of `recipe_digest` that differs."""
    others = _others(new)
    return {
        key: values
        for key, values in changes(old, new).items()
        if not any(key == name or key.startswith(f"{name}.") for name in others)
    }


def _others(config: Config) -> tuple[str, ...]:
    return _OTHER if config.data.source == "directory" else (*_OTHER, "data.path")
