"""The JSON Schema accepts what the program accepts and refuses what it refuses."""

import jsonschema
import pytest
import yaml
from helpers.configs import COMMITTED, CONFIGS, MINIMAL, holds, refused, write

from cifarnet import config


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_configs_hold_against_the_schema_and_dump_equal(path, tmp_path):
    holds(yaml.safe_load(path.read_text()))
    loaded = config.load(path)
    assert config.load(write(tmp_path, config.dump(loaded))) == loaded


def test_the_committed_schema_is_the_generated_one():
    assert config.generate_json_schema() == COMMITTED, (
        "run: cifarnet config schema > configs/schema.json"
    )
    jsonschema.Draft202012Validator.check_schema(COMMITTED)


@pytest.mark.parametrize(
    "text",
    [
        MINIMAL,
        MINIMAL + "  schedule: {kind: step, at: [1]}\n",
        "model: {layers: [Flatten, Flatten: null, Dense: {units: 10}]}\n"
        "train: {epochs: 0.5, learning_rate: 1, early_stopping: null}\ndata: {path: null}\n",
        "base: x.yaml\n",
        "base: x.yaml\ntrain: {schedule: {peak_at: 0.5}, early_stopping: {}, stop: {}}\n",
        "base: x.yaml\nmodel: {normalize: unit}\n",
        "base: null\n" + MINIMAL,
    ],
)
def test_the_schema_accepts_what_the_program_accepts(text, tmp_path):
    write(tmp_path, MINIMAL + "  schedule: {kind: triangle}\n  stop: {validation_accuracy: 1}\n",
          "x.yaml")  # fmt: skip
    config.load(write(tmp_path, text))
    holds(yaml.safe_load(text))


@pytest.mark.parametrize(
    "text",
    [
        "base: x.yaml\nsed: 3",
        "base: x.yaml\nseed: x",
        "base: x.yaml\nseed: true",
        "base: 3",
        "base: x.yaml\ndata: {source: mnist}",
        "base: x.yaml\ndata: {augment: [{pixels: 3}]}",
        "base: x.yaml\ndata: {augment: [flip]}",
        "base: x.yaml\ndata:",
        "base: x.yaml\ntrain: {schedule: {kind: up}}",
        "base: x.yaml\ntrain: {schedule: {kind: cosine, peak_at: 0.5}}",
        "base: x.yaml\ntrain: {epochs: 0}",
        "base: x.yaml\ntrain: {epochs: '3'}",
        "base: x.yaml\nmodel: {layers: []}",
        "base: x.yaml\nmodel: {layers: [3]}",
        "base: x.yaml\nmodel: {layers: [{Dense: 3}]}",
        "base: x.yaml\nmodel: {layers: [{Dense: {}, Flatten: {}}]}",
        "model: {layers: [Flatten]}",
        "model: {layers: [Flatten]}\ntrain: {epochs: 3}",
        "model: {}\ntrain: {epochs: 3, learning_rate: 1}",
        MINIMAL + "  schedule: {peak_at: 0.5}\n",
    ],
)
def test_the_schema_refuses_what_the_program_refuses(text, tmp_path):
    write(tmp_path, MINIMAL, "x.yaml")
    refused(write(tmp_path, text))
    with pytest.raises(jsonschema.ValidationError):
        holds(yaml.safe_load(text))
