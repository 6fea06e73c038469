"""Former names of keys are read from files, overrides, checkpoints; errors name their place."""

import copy

import pytest
from helpers.configs import refused, write

from cifarnet import config
from cifarnet.errors import ConfigError

MODEL = "model:\n  layers: [Flatten]\n"
TRAIN = "train: {epochs: 3, learning_rate: 0.1}\n"


def test_a_file_may_use_the_former_name(tmp_path):
    file = write(tmp_path, MODEL + "  normalise: unit\n" + TRAIN)
    loaded = config.load(file)
    assert loaded.model.normalize == "unit"
    assert "normalise" not in config.dump(loaded)
    assert loaded == config.load(write(tmp_path, config.dump(loaded), "new.yaml"))


def test_a_document_may_use_the_former_name_and_is_not_modified():
    document = {
        "model": {"normalise": "none", "layers": ["Flatten"]},
        "train": {"epochs": 1, "learning_rate": 1},
    }
    before = copy.deepcopy(document)
    assert config.parse(document).model.normalize == "none"
    assert document == before


def test_former_and_current_names_merge_as_one_key(tmp_path):
    write(tmp_path, MODEL + "  normalise: unit\n" + TRAIN, "old.yaml")
    write(tmp_path, MODEL + "  normalize: unit\n" + TRAIN, "new.yaml")
    for base in ("old", "new"):
        for key in ("normalise", "normalize"):
            file = write(tmp_path, f"base: {base}.yaml\nmodel: {{{key}: none}}\n")
            assert config.load(file).model.normalize == "none"
            for override in (f"model.{key}=standard", f"model={{{key}: standard}}"):
                assert config.load(file, [override]).model.normalize == "standard"


def test_errors_say_where_the_former_name_was_written(tmp_path):
    says = ": model.normalize: expected 'unit', 'standard' or 'none', received the text 'foo'"
    old = write(tmp_path, MODEL + "  normalise: foo\n" + TRAIN, "old.yaml")
    assert f"\n  {old}:3{says}" in refused(old)
    file = write(tmp_path, "seed: 1\nbase: old.yaml\n")
    assert f"\n  {old}:3{says}" in refused(file)
    file = write(tmp_path, "base: old.yaml\nmodel:\n  normalise: foo\n")
    assert f"\n  {file}:3{says}" in refused(file)
    for override in ("model.normalise=foo", "model={normalise: foo}"):
        assert f"\n  -o {override}{says}" in refused(old, override)
    assert "-o model.normalise={a: 1}: model.normalize: " in refused(old, "model.normalise={a: 1}")


def test_both_names_together_are_an_error(tmp_path):
    says = "model.normalise is the former name of normalize, which is given too. Remove one."
    file = write(tmp_path, MODEL + "  normalise: unit\n  normalize: unit\n" + TRAIN)
    assert refused(file) == f"{file}:3: {says}"
    file = write(tmp_path, MODEL + TRAIN)
    override = "model={normalise: unit, normalize: none}"
    assert refused(file, override) == f"override {override}: {says}"
    document = {"model": {"normalise": "unit", "normalize": "unit"}}
    with pytest.raises(ConfigError, match=rf"^here: {says}$"):
        config.parse(document, "here")


@pytest.mark.parametrize("model", ["3", "[normalise]", "", "{layers: [{normalise: {a: 1}}]}"])
def test_only_the_key_itself_is_renamed(model, tmp_path):
    file = write(tmp_path, f"normalise: 1\nmodel: {model}\ntrain: {{normalise: 1}}\n")
    message = refused(file)
    assert f"{file}:1: normalise: unknown key" in message
    message = refused(write(tmp_path, f"model: {model}\ntrain: {{normalise: 1}}\n"))
    assert f"{tmp_path}/c.yaml:2: train.normalise: unknown key" in message
