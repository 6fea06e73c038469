"""Config files of tests, and the checks they go through."""

import json
from pathlib import Path

import jsonschema
import pytest
from hypothesis import HealthCheck, settings

from cifarnet import config
from cifarnet.errors import ConfigError

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
COMMITTED = json.loads((ROOT / "configs" / "schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(COMMITTED)
MINIMAL = """\
model:
  layers: [Flatten, {Dense: {units: 10}}]
train:
  epochs: 3
  learning_rate: 0.1
"""
# A network with a convolution, trained in a second on images of its own.
SMALL = {
    "data": {"source": "synthetic", "limit": 400, "validation_fraction": 0.1},
    "model": {
        "layers": [
            {"Conv2D": {"filters": 6, "kernel_size": 5, "strides": 3, "activation": "relu"}},
            "Flatten",
            {"Dense": {"units": 10}},
        ]
    },
    "train": {"epochs": 1, "batch_size": 50, "learning_rate": 0.02, "momentum": 0.9},
}
# Every example writes the same file of tmp_path.
PROPERTY = settings(
    max_examples=150,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def write(folder: Path, text: str | bytes, name: str = "c.yaml") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def holds(document: object) -> None:
    """Raise jsonschema.ValidationError unless the document is valid against the schema."""
    VALIDATOR.validate(document)


def refused(path: Path, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        config.load(path, overrides)
    return str(caught.value)
