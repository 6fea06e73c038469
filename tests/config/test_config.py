"""YAML, bases and overrides become one checked config; everything else a clear error."""

import copy
import json
import os
import re
from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

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
# The same file is written for every example; nothing else of the fixture is used.
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
    """Raise a jsonschema.ValidationError unless the document holds against the schema."""
    VALIDATOR.validate(document)


def refused(path: Path, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        config.load(path, overrides)
    return str(caught.value)


# --- what is read ---------------------------------------------------------------------


def test_a_minimal_config_gets_the_documented_defaults(tmp_path):
    loaded = config.load(write(tmp_path, MINIMAL))
    assert loaded.model_dump() == {
        "name": "run",
        "seed": 0,
        "data": {
            "source": "cifar10",
            "path": None,
            "validation_fraction": 0.1,
            "test_fraction": 0.2,
            "limit": None,
            "image_size": 32,
            "max_unreadable": 0.01,
            "augment": (),
        },
        "model": {"normalize": "standard", "layers": ({"Flatten": {}}, {"Dense": {"units": 10}})},
        "train": {
            "epochs": 3.0,
            "batch_size": 128,
            "learning_rate": 0.1,
            "schedule": {"kind": "constant", "warmup_epochs": 0.0},
            "momentum": 0.0,
            "nesterov": False,
            "weight_decay": 0.0,
            "norm_bias_factor": 1.0,
            "label_smoothing": 0.0,
            "clip_norm": None,
            "ema": None,
            "lookahead": None,
            "freeze": {},
            "precision": "auto",
            "checkpoint": {"every_steps": None, "every_minutes": None},
            "early_stopping": None,
            "stop": None,
            "select": "last",
            "tensorboard": False,
        },
        "evaluate": {"batch_size": 500, "tta": "none"},
        "export": {
            "formats": (),
            "quantize": ("none",),
            "calibration_images": 500,
            "max_difference": 1e-4,
            "max_accuracy_loss": 0.01,
            "prune": None,
        },
    }


def test_data_alone_needs_no_network():
    loaded = config.data_only(["data.source=synthetic", "data.limit=50"])
    assert (loaded.data.source, loaded.data.limit) == ("synthetic", 50)
    assert config.data_only().data == config.DataConfig()
    with pytest.raises(ConfigError, match="did you mean 'limit'"):
        config.data_only(["data.limits=50"])


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_configs_open_with_their_purpose_and_command(path):
    text = path.read_text()
    head = text[: text.index("name:")]
    assert head.startswith("# yaml-language-server: $schema=schema.json\n# ")
    assert f"cifarnet train --config {path.stem}\n" in head
    assert "# Measured: " in head
    assert "MEASURED" not in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{kind: constant}", config.ConstantSchedule(kind="constant", warmup_epochs=0.0)),
        ("{kind: constant, warmup_epochs: 1.5}", {"kind": "constant", "warmup_epochs": 1.5}),
        (
            "{kind: step, at: [1, 2.5]}",
            {"kind": "step", "warmup_epochs": 0.0, "at": (1.0, 2.5), "factor": 0.1},
        ),
        ("{kind: cosine}", {"kind": "cosine", "warmup_epochs": 0.0, "end": 0.0}),
        (
            "{kind: triangle, peak_at: 0.25, end: 0.07}",
            {"kind": "triangle", "warmup_epochs": 0.0, "start": 0.2, "peak_at": 0.25, "end": 0.07},
        ),
    ],
)
def test_every_schedule_is_read(text, expected, tmp_path):
    schedule = config.load(write(tmp_path, MINIMAL + f"  schedule: {text}\n")).train.schedule
    assert type(schedule).__name__.lower() == f"{schedule.kind}schedule"
    assert schedule.model_dump() == (expected if isinstance(expected, dict) else dict(expected))


def test_every_augmentation_is_read_in_order(tmp_path):
    names = ["flip", "alternating_flip", "crop", "rotate", "scale", "cutout", "brightness"]
    items = [f"{{kind: {name}}}" for name in [*names, "contrast"]]
    loaded = config.load(write(tmp_path, MINIMAL + f"data: {{augment: [{', '.join(items)}]}}\n"))
    assert loaded.data.augment == (
        config.Flip(kind="flip"),
        config.AlternatingFlip(kind="alternating_flip"),
        config.Crop(kind="crop", pixels=4),
        config.Rotate(kind="rotate", degrees=10.0),
        config.Scale(kind="scale", fraction=0.1),
        config.Cutout(kind="cutout", size=8),
        config.Brightness(kind="brightness", fraction=0.2),
        config.Contrast(kind="contrast", fraction=0.2),
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1e-3", 0.001), ("1E2", 100.0), ("5", 5.0), (".5", 0.5), ("+0.5", 0.5), ("010", 10.0)],
)
def test_numbers_are_those_of_yaml_1_2(text, expected, tmp_path):
    for override in (f"train.learning_rate={text}", f"train={{learning_rate: {text}}}"):
        rate = config.load(write(tmp_path, MINIMAL), [override]).train.learning_rate
        assert rate == expected
        assert isinstance(rate, float)


def test_the_texts_of_yaml_1_1_stay_texts(tmp_path):
    """There, `on` is true, 2024-01-01 a date, and 1:30 ninety."""
    for name in ("on", "2024-01-01", "no"):
        assert config.load(write(tmp_path, f"name: {name}\n" + MINIMAL)).name == name
    assert "a whole number, received the text '1:30'" in refused(
        write(tmp_path, "seed: 1:30\n" + MINIMAL)
    )


def test_layers_may_be_bare_names(tmp_path):
    text = "model: {layers: [Flatten, Flatten:, {Flatten: {}}]}\ntrain: {epochs: 1, "
    loaded = config.load(write(tmp_path, text + "learning_rate: 1}\n"))
    assert loaded.model.layers == ({"Flatten": {}},) * 3


def test_merge_keys_are_resolved_and_are_no_repeated_keys(tmp_path):
    """`b` is merged into `last` before it is built itself."""
    text = """\
    - Residual: &a {one: 1, two: 2}
    - Residual: {inner: &b {<<: *a, two: 3}}
    - Residual: &last {<<: *b, one: 4}
"""
    text = f"model:\n  layers:\n{text}train: {{epochs: 1, learning_rate: 1}}\n"
    assert config.load(write(tmp_path, text)).model.layers == (
        {"Residual": {"one": 1, "two": 2}},
        {"Residual": {"inner": {"one": 1, "two": 3}}},
        {"Residual": {"one": 4, "two": 3}},
    )


def test_what_was_parsed_is_a_copy_and_cannot_be_changed(tmp_path):
    document = yaml.safe_load(MINIMAL)
    document["model"]["layers"] = [{"Conv2D": {"kernel_size": [3, 3], "padding": "same"}}]
    before = copy.deepcopy(document)
    parsed = config.parse(document)
    document["model"]["layers"][0]["Conv2D"]["kernel_size"].append(5)
    assert parsed == config.parse(before)
    with pytest.raises(ValueError, match="frozen"):
        parsed.seed = 3


# --- bases and overrides --------------------------------------------------------------


def test_base_is_overridden_by_the_file_and_the_file_by_the_command_line(tmp_path):
    write(tmp_path, MINIMAL + "  batch_size: 10\nseed: 1\n", "base.yaml")
    file = write(tmp_path, "base: base.yaml\ntrain: {batch_size: 20, momentum: 0.5}\n")
    loaded = config.load(file, ["train.batch_size=30"])
    assert (loaded.seed, loaded.train.momentum, loaded.train.batch_size) == (1, 0.5, 30)
    assert config.load(file).train.batch_size == 20
    assert loaded.train.epochs == 3
    last = config.load(file, ["seed=2", "train.batch_size=30", "train={batch_size: 40}", "seed=3"])
    assert (last.seed, last.train.batch_size, last.train.momentum) == (3, 40, 0.5)


def test_a_base_is_relative_to_its_file_and_bases_chain(tmp_path):
    (tmp_path / "deep").mkdir()
    write(tmp_path, MINIMAL, "one.yaml")
    write(tmp_path / "deep", "base: ../one.yaml\nseed: 2\n", "two.yaml")
    file = write(tmp_path, "base: deep/two.yaml\nname: three\n", "three.yaml")
    loaded = config.load(file)
    assert (loaded.seed, loaded.name, loaded.train.epochs) == (2, "three", 3)


def test_lists_are_replaced_and_null_switches_off(tmp_path):
    more = "  early_stopping: {patience: 2}\ndata: {augment: [{kind: flip}, {kind: crop}]}\n"
    write(tmp_path, MINIMAL + more, "base.yaml")
    text = "base: base.yaml\ntrain: {early_stopping: null}\ndata: {augment: [{kind: scale}]}\n"
    loaded = config.load(write(tmp_path, text))
    assert [a.kind for a in loaded.data.augment] == ["scale"]
    assert loaded.train.early_stopping is None
    again = config.load(tmp_path / "c.yaml", ["train.early_stopping.patience=7"])
    assert again.train.early_stopping.patience == 7


def test_another_kind_replaces_the_base_s_whole(tmp_path):
    write(tmp_path, MINIMAL + "  schedule: {kind: step, at: [1], factor: 0.5}\n", "base.yaml")
    file = write(tmp_path, "base: base.yaml\ntrain: {schedule: {kind: cosine}}\n")
    assert config.load(file).train.schedule == config.CosineSchedule(kind="cosine")
    same = write(tmp_path, "base: base.yaml\ntrain: {schedule: {factor: 0.25}}\n", "same.yaml")
    assert config.load(same).train.schedule.factor == 0.25
    assert config.load(same, ["train.schedule={kind: cosine}"]).train.schedule.end == 0.0
    # One key after the other, in either order, loses nothing silently.
    for overrides in (
        ["train.schedule={kind: cosine}", "train.schedule.end=0.1"],
        ["train.schedule=null", "train.schedule.end=0.1", "train.schedule.kind=cosine"],
        ["train.schedule=null", "train.schedule.end=0.1", "train.schedule={kind: cosine}"],
    ):
        assert config.load(same, overrides).train.schedule.end == 0.1
    assert "train.schedule.at: unknown key" in refused(same, "train.schedule.kind=cosine")


def test_base_faults(tmp_path):
    write(tmp_path, "base: b.yaml\n", "a.yaml")
    write(tmp_path, "base: a.yaml\n", "b.yaml")
    message = refused(tmp_path / "a.yaml")
    assert f"circle: {tmp_path}/a.yaml -> {tmp_path}/b.yaml -> {tmp_path}/a.yaml" in message
    assert "Remove one `base:` line" in message
    message = refused(write(tmp_path, "base: absent.yaml\n"))
    assert f"there is no config file {tmp_path}/absent.yaml" in message
    assert f"which {tmp_path}/c.yaml names as its base" in message
    assert "c.yaml:2: base: expected a file or the name of a shipped config, received 3" in refused(
        write(tmp_path, "seed: 1\nbase: 3\n")
    )
    for i in range(30):
        write(tmp_path, f"base: {i + 1}.yaml\n", f"{i}.yaml")
    assert "more than 20 bases in a row" in refused(tmp_path / "0.yaml")


def test_a_base_that_is_reached_through_a_link_is_still_a_circle(tmp_path):
    write(tmp_path, "base: link.yaml\n")
    (tmp_path / "link.yaml").symlink_to("c.yaml")
    assert "circle" in refused(tmp_path / "c.yaml")
    assert "circle" in refused(tmp_path / "link.yaml")


def test_data_path_is_relative_to_the_file_that_says_it(tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    write(tmp_path / "in", MINIMAL + "data: {path: images.tar.gz}\n", "base.yaml")
    file = write(tmp_path, "base: in/base.yaml\nseed: 1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/someone")
    expected = tmp_path / "in" / "images.tar.gz"
    assert config.load(file).data.path == expected
    assert config.load("c.yaml").data.path == expected
    assert config.load(file, ["data.path=mine"]).data.path == tmp_path / "mine"
    assert config.load(file, ["data={path: mine}"]).data.path == tmp_path / "mine"
    assert config.load(file, ["data.path=/mine"]).data.path == Path("/mine")
    assert config.load(file, ["data.path=~/mine"]).data.path == Path("/home/someone/mine")
    home = write(tmp_path, MINIMAL + "data: {path: ~/mine}\n", "home.yaml")
    assert config.load(home).data.path == Path("/home/someone/mine")
    assert "~nobody-of-that-name/x cannot be made an absolute path" in refused(
        home, "data.path=~nobody-of-that-name/x"
    )
    # The dumped config means the same wherever it is read.
    copied = write(tmp_path / "in", config.dump(config.load(file)), "dumped.yaml")
    assert config.load(copied) == config.load(file)


def test_overrides_reach_into_lists_and_mappings(tmp_path):
    file = write(tmp_path, MINIMAL)
    overrides = ["model.layers.1.Dense.units=7", "model.layers.0=ReLU", "train={}"]
    loaded = config.load(file, [*overrides, "train.schedule={kind: step, at: [1, 2]}", " seed =5"])
    assert loaded.model.layers == ({"ReLU": {}}, {"Dense": {"units": 7}})
    assert loaded.train.schedule.at == (1, 2)
    assert (loaded.seed, loaded.train.epochs) == (5, 3)


def test_an_override_changes_one_place_of_an_aliased_value(tmp_path):
    text = "model: {layers: [&d {Dense: {units: 10}}, *d]}\ntrain: {epochs: 1, learning_rate: 1}\n"
    loaded = config.load(write(tmp_path, text), ["model.layers.0.Dense.units=7"])
    assert loaded.model.layers == ({"Dense": {"units": 7}}, {"Dense": {"units": 10}})


def test_a_path_needs_a_current_directory_only_where_it_is_relative(tmp_path, monkeypatch):
    file = write(tmp_path, MINIMAL)
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert "x cannot be made an absolute path" in refused(file, "data.path=x")
    assert config.load(file, ["data.path=/x"]).data.path == Path("/x")


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("train.epochs", "override train.epochs: expected key=value, such as train.epochs=3"),
        ("=3", "expected key=value"),
        ("train..epochs=3", "expected key=value"),
        ("train" + ".x" * 3000 + "=3", "expected key=value"),
        ("train.epochs=[1", "override train.epochs=[1 is not valid YAML: line 1"),
        ("model.layers.9.x=1", "model.layers has the items 0 to 1, so there is no item '9'"),
        ("model.layers.-1.x=1", "there is no item '-1'"),
        ("model.layers.2=Flatten", "there is no item '2'"),
        ("model.layers." + "9" * 5000 + "=1", "has the items 0 to 1"),
        ("model.layers.0.Conv2D.filters=16", "model.layers.0 is 'Flatten', so it has no 'Conv2D'"),
        ("data.augment.0.pixels=3", "data.augment is not given as a list, so there is no item '0'"),
        ("3=4", "the config is not given as a list"),
        ("train.epochs.x=1", "train.epochs is 3, so it has no 'x'. Give train.epochs as a whole"),
        ("base=other.yaml", "a base is read from files only"),
        ("train=null", "-o train=null: train: expected keys with values, received nothing"),
        ("train=3", "-o train=3: train: expected keys with values, received 3"),
        ("train.epochs=", "train.epochs: expected a valid number, received nothing"),
        ("train.epochs=3=4", "train.epochs: expected a valid number, received the text '3=4'"),
        ("train.epoch=3", "-o train.epoch=3: train.epoch: unknown key; did you mean 'epochs'?"),
        ("train={epoch: 3}", "-o train={epoch: 3}: train.epoch: unknown key"),
        ("data.source=directory", "-o data.source=directory: data: source: directory needs"),
        ("train.schedule.end=0", "train.schedule: expected a `kind:` key"),
        ("\x1b[31m=3", "'\\x1b[31m': unknown key"),
    ],
    ids=lambda value: value[:40],
)
def test_override_faults(override, says, tmp_path):
    message = refused(write(tmp_path, MINIMAL), override)
    assert says in message
    assert "\x1b" not in message
    assert len(message) < 600


def test_the_place_of_a_replaced_value_is_the_new_one(tmp_path):
    """An error inside a value that came later must not name the line of the earlier one."""
    write(tmp_path, MINIMAL + "  schedule: {kind: step, at: [1], factor: 0.5}\n", "base.yaml")
    text = "base: base.yaml\ntrain:\n  schedule: {kind: cosine, factor: 2}\n"
    assert "/c.yaml:3: train.schedule.factor: unknown key" in refused(write(tmp_path, text))
    message = refused(tmp_path / "base.yaml", "train.schedule={kind: triangle, factor: 2}")
    assert "  -o train.schedule={kind: triangle, factor: 2}: train.schedule.factor" in message
    assert "/base.yaml:6: train.schedule.factor" in refused(
        tmp_path / "base.yaml", "train.schedule.kind=triangle", "train.schedule.at=1"
    )
    message = refused(tmp_path / "base.yaml", "train.schedule={factor: 2}")
    assert "  -o train.schedule={factor: 2}: train.schedule.factor: expected" in message
    message = refused(tmp_path / "base.yaml", "model.layers=[{Dense: {units: .inf}}]")
    assert "  -o model.layers=[{Dense: {units: .inf}}]: model.layers[0] (Dense).units" in message


def test_a_key_that_was_replaced_away_is_not_named_as_the_place(tmp_path):
    write(tmp_path, MINIMAL + "  stop: {validation_accuracy: 0.5}\n", "base.yaml")
    message = refused(tmp_path / "base.yaml", "train.stop=null", "train.stop={}")
    assert "  -o train.stop={}: train.stop.validation_accuracy: required" in message
    write(tmp_path, "base: base.yaml\ntrain: {stop: null}\n", "middle.yaml")
    file = write(tmp_path, "base: middle.yaml\nseed: 1\ntrain:\n  stop: {}\n")
    assert f"  {file}:4: train.stop.validation_accuracy: required" in refused(file)


# --- errors ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "says"),
    [
        # unknown keys
        (
            "epochs: 3\n",
            ["epochs: unknown key; did you mean 'train.epochs' or 'export.prune.epochs'? Known"],
        ),
        ("lr: 3\n", ["c.yaml:1: lr: unknown key. Known here: name, seed, data, model, train"]),
        ("batch-size: 3\n", ["mean 'train.batch_size' or 'evaluate.batch_size'? Known here: name"]),
        ("train.epochs: 3\n", ["train.epochs: unknown key. Write `epochs:` under `train:`"]),
        ("SEED: 3\n", ["did you mean 'seed'?"]),
        ("data: {sorce: cifar10}\n", ["data.sorce: unknown key; did you mean 'source'?"]),
        ("data: {warmup_epochs: 1}\n", ["'train.schedule.warmup_epochs (kind: constant)' or"]),
        ("data: {batch_size: 1}\n", ["mean 'train.batch_size' or 'evaluate.batch_size'? Known"]),
        ("data: {patience: 1}\n", ["did you mean 'train.early_stopping.patience'? Known here: "]),
        ("data: {augment: [{kind: flip, x: 1}]}\n", ["data.augment[0].x: unknown key"]),
        ("data: {augment: [{kind: cutout, pixel: 1}]}\n", ["'data.augment[].pixels (kind: crop)'"]),
        ("'': 3\n", ["'': unknown key"]),
        # wrong types
        ("data: {source: mnist}\n", ["data.source: expected 'cifar10', 'synthetic'", "'mnist'"]),
        ("data: {source: cifar}\n", ["received the text 'cifar'; did you mean 'cifar10'?"]),
        ("seed: x\n", ["c.yaml:1: seed: expected a whole number", "received the text 'x'"]),
        ("seed: '3'\n", ["received the text '3'. Write it without quotes"]),
        ("seed: true\n", ["seed: expected a whole number, received true"]),
        ("seed: 3.0\n", ["seed: expected a whole number, received 3.0"]),
        ("seed: [3]\n", ["seed: expected a whole number, received the list [3]"]),
        ("seed:\n", ["seed: expected a whole number, received nothing"]),
        ("name: 3\n", ["name: expected a text, received 3. Write it in quotes"]),
        ("data: 3\n", ["data: expected keys with values, received 3"]),
        ("data: [a]\n", ["data: expected keys with values, received the list ['a']"]),
        ("data:\n", ["data: expected keys", "received nothing. Write its keys below it, indented"]),
        ("data: {max_unreadable: '0'}\n", ["data.max_unreadable: expected a valid number, rec"]),
        ("data: {path: 3}\n", ["data.path: expected the path of a file or folder, received 3"]),
        ("data: {path: ' '}\n", ["data.path: expected the path of a file", "an empty text"]),
        ('data: {path: "a\\0"}\n', ["data.path: expected a path in UTF-8"]),
        ('data: {path: "\\ud800"}\n', ["data.path: "]),
        ("data: {augment: flip}\n", ["data.augment: expected a list, received the text 'flip'"]),
        ("data: {augment: [flip]}\n", ["data.augment[0]: expected a `kind:`", "`kind: flip`"]),
        ("data: {augment: {kind: flip}}\n", ["data.augment: expected a list, received the mapp"]),
        # values out of range
        ("seed: -1\n", ["seed: expected a number greater than or equal to 0, received -1"]),
        ("seed: 2147483648\n", ["seed: expected a number less than 2147483648"]),
        ("name: ../up\n", ["name: expected 1 to 64 letters, digits,", "received the text '../up'"]),
        ("data: {augment: [{kind: crop, pixels: 0}]}\n", ["data.augment[0].pixels", "received 0"]),
        ("data: {augment: [{kind: warp}]}\n", ["data.augment[0]", "'crop'", "received 'warp'"]),
        ("data: {augment: [{kind: cut}]}\n", ["received 'cut'; did you mean 'cutout'?"]),
        ("data: {augment: [{pixels: 2}]}\n", ["data.augment[0]: expected a `kind:` key"]),
        ("data: {limit: 0}\n", ["data.limit: expected a number greater than or equal to 1"]),
        ("data: {limit: 9999999999}\n", ["data.limit: expected a number less than 2147483648"]),
        ("data: {validation_fraction: .nan}\n", ["data.validation_fraction", "finite", "nan"]),
        # values that do not go together
        ("data: {source: directory}\n", ["c.yaml:1: data: ", "needs data.path"]),
        ("data: {image_size: 64}\n", ["c.yaml:1: data: ", "only for source: directory"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_wrong_is_said_with_its_place(text, says, tmp_path):
    message = refused(write(tmp_path, text + MINIMAL))
    assert message.startswith(f"{tmp_path}/c.yaml is not a valid config:\n  {tmp_path}/c.yaml:1: ")
    for part in says:
        assert part in message


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("epochs: 0", "train.epochs: expected a number greater than 0, received 0"),
        ("epochs: '3'", "train.epochs: expected a valid number, received the text '3'"),
        ("epochs: true", "train.epochs: expected a valid number, received true"),
        ("learning_rate: .inf", "train.learning_rate: expected a finite number, received inf"),
        ("learning_rate: -1e-3", "train.learning_rate: expected a number greater than 0"),
        ("batch_size: 0", "train.batch_size: expected a number greater than or equal to 1"),
        ("batch_size: 1e2", "train.batch_size: expected a whole number, received 100.0"),
        ("momentum: 1.0", "train.momentum: expected a number less than 1, received 1.0"),
        ("nesterov: true", "train: nesterov: true needs a momentum above 0, such as 0.9"),
        ("nesterov: 1", "train.nesterov: expected true or false, received 1"),
        ("nesterov: yes", "train.nesterov: expected true or false, received the text 'yes'"),
        ("clip_norm: true", "train.clip_norm: expected a valid number, received true"),
        ("weight_decay: -1", "train.weight_decay: expected a number greater than or equal to 0"),
        ("norm_bias_factor: 0", "train.norm_bias_factor: expected a number greater than 0"),
        ("label_smoothing: 1", "train.label_smoothing: expected a number less than 1"),
        ("clip_norm: 0", "train.clip_norm: expected a number greater than 0"),
        ("ema: 1", "train.ema: expected a number less than 1"),
        ("freeze: {whiten: 0}", "train.freeze.whiten: expected a number greater than or equal"),
        ("freeze: [whiten]", "train.freeze: expected"),
        ("lookahead: true", "train.lookahead: expected keys with values, received true"),
        ("lookahead: {every: 0}", "train.lookahead.every: expected a number greater than or eq"),
        ("lookahead: {decay: 1.0}", "train.lookahead.decay: expected a number less than 1"),
        ("lookahead: {rampe: 1}", "train.lookahead.rampe: unknown key; did you mean 'ramp'?"),
        ("precision: int8", "train.precision: expected 'auto', 'float32', 'bfloat16'"),
        ("precision: float23", "did you mean 'float32'?"),
        ("select: first", "train.select: expected 'best' or 'last'"),
        ("early_stopping: {patience: 0}", "train.early_stopping.patience: expected a number gr"),
        ("stop: {}", "train.stop.validation_accuracy: required, but not given. Add `validation_"),
        ("stop: {validation_accuracy: 1.1}", "expected a number less than or equal to 1, rec"),
        ("schedule: {kind: cosine, warmup_epochs: 3}", "warmup_epochs 3.0 must be below epochs 3"),
        (
            "schedule: {kind: step}",
            "at: required, but not given. Add `at:` under `train.sched",
        ),
        ("schedule: {kind: step, at: []}", "train.schedule.at: expected at least one item"),
        ("schedule: {kind: step, at: [0]}", "train.schedule.at[0]: expected a number greater"),
        ("schedule: {kind: step, at: 3}", "train.schedule.at: expected a list, received 3"),
        ("schedule: {kind: step, at: [1], end: 0}", "'train.schedule.end (kind: cosine)' or"),
        ("schedule: {kind: cosine, end: 1.5}", "train.schedule.end: expected a number less than"),
        ("schedule: {kind: cosin}", "'triangle', received 'cosin'; did you mean 'cosine'?"),
        ("schedule: {kind: [1]}", "expected kind to be one of 'constant', 'step'"),
        ("schedule: cosine", "received the text 'cosine'. Write `kind: cosine`"),
        ("schedule: {kind: triangle, peak_at: 1.0}", "train.schedule.peak_at: expected a number"),
    ],
    ids=lambda value: value[:40],
)
def test_values_of_training_that_are_refused(options, says, tmp_path):
    key = options.split(":")[0]
    lines = [line for line in MINIMAL.splitlines() if not line.startswith(f"  {key}:")]
    assert says in refused(write(tmp_path, "\n".join([*lines, f"  {options}\n"])))


@pytest.mark.parametrize(
    ("layers", "says"),
    [
        ("[]", ":1: model.layers: expected at least one item, received the list []"),
        ("Flatten", ":1: model.layers: expected a list of layers, received the text 'Flatten'"),
        ("", ":1: model.layers: expected a list of layers, received nothing"),
        ("[{Dense: {units: 1}, Flatten: {}}]", ":1: model.layers[0]: expected a layer name or one"),
        ("[Flatten,\n 3]", ":2: model.layers[1]: expected a layer name or one name with its"),
        ("[Flatten,\n [a]]", ":2: model.layers[1]: expected a layer name or one name with its"),
        ("[Flatten,\n '']", ":2: model.layers[1]: expected a layer name or one name with its"),
        ("[Flatten,\n ]", None),
        ("[{Dense: 3}]", "`- Conv2D: {filters: 32, kernel_size: 3}`, received the mapping {'Dense"),
        ("[{Dense:\n {units: .nan}}]", ":2: model.layers[0] (Dense).units: expected a finite num"),
        ("[{R: {layers: [{D: {\n x: -.inf}}]}}]", ":2: model.layers[0] (R).layers[0].D.x: expec"),
        ("[{Dense: {units: 0xffffffffffffffff}}]", "expected a finite number, received 184467440"),
        (
            '[{Dense: {name: "\\ud800"}}]',
            "(Dense).name: expected a plain value, received '\\ud8",
        ),
        ('[{Dense: {"\\ud800": 1}}]', "model.layers[0] (Dense): expected a plain value"),
        ('["\\ud800"]', "model.layers[0]: expected a plain value"),
    ],
)
def test_layers_of_another_form(layers, says, tmp_path):
    text = f"model: {{layers: {layers}}}\ntrain: {{epochs: 1, learning_rate: 1}}\n"
    if says is None:
        assert len(config.load(write(tmp_path, text)).model.layers) == 1
    else:
        assert f"c.yaml{says}" if says[0] == ":" else says in refused(write(tmp_path, text))


@pytest.mark.parametrize(
    "value", [b"x", object(), {1, 2}, {1: 2}, 10**5000, float("nan")], ids=lambda v: str(type(v))
)
def test_values_that_yaml_cannot_hold_are_refused_in_layers(value):
    document = {**yaml.safe_load(MINIMAL), "model": {"layers": [{"Dense": {"units": value}}]}}
    with pytest.raises(ConfigError, match=r"^config is not.*\n  model.layers\[0\] \(Dense\)"):
        config.parse(document)


def test_required_keys(tmp_path):
    message = refused(write(tmp_path, "seed: 1\n"))
    assert "model: required, but not given. Add `model:` at the top level" in message
    assert "train: required, but not given. Add `train:` at the top level" in message
    message = refused(write(tmp_path, "model: {layers: [Flatten]}\ntrain: {momentum: 0.5}\n"))
    assert ":2: train.epochs: required, but not given. Add `epochs:` under `train:`" in message
    assert "train.learning_rate: required" in message


def test_a_set_level_needs_a_validation_set(tmp_path):
    file = write(tmp_path, MINIMAL)
    for key in ("stop={validation_accuracy: 0.9}", "early_stopping={}", "select=best"):
        message = refused(file, "data.validation_fraction=0", f"train.{key}")
        assert f"train.{re.split('=', key)[0]}" in message
        assert "needs a validation set: data.validation_fraction above 0" in message
        config.load(file, [f"train.{key}"])


def test_every_problem_is_listed_at_once(tmp_path):
    text = "seed: x\ndata:\n  limit: 0\n  a: 1\n  b: 2\nevaluate: {tta: all, batch_size: 0}\n"
    message = refused(write(tmp_path, text + MINIMAL))
    places = re.findall(r"^  .*/c\.yaml:(\d+): ([\w.]+): ", message, re.MULTILINE)
    assert places == [
        ("1", "seed"),
        ("4", "data.a"),
        ("5", "data.b"),
        ("6", "evaluate.batch_size"),
        ("6", "evaluate.tta"),
    ]


# --- files that are no config ---------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "expected sections such as `data:`, `model:`, `train:`, received nothing"),
        ("# nothing\n", "received nothing"),
        ("- 1\n", "expected sections such as `data:`, `model:`, `train:`, received the list [1]"),
        ("text\n", "received the text 'text'"),
        ("a: [1\n", "is not valid YAML: line 2, column 1: expected ',' or ']'"),
        ("a:\n\tb: 1\n", "is not valid YAML: line 2, column 1: found character '\\t'"),
        ("a: 1\n---\nb: 1\n", "line 2, column 1: expected a single document in the stream"),
        ("a: *b\n", "line 1, column 4: found undefined alias 'b'"),
        ("a: \x00\n", "is not valid YAML: unacceptable character"),
        ("train: {epochs: 1, epochs: 2}\n", "line 1, column 20: the key 'epochs' appears twice"),
        ("a: 1\n'a': 2\n", "line 2, column 1: the key 'a' appears twice"),
        ('a: {b: 1, "\\x62": 2}\n', "line 1, column 11: the key 'b' appears twice"),
        ("a: 1\n? >-\n  a\n: 2\n", "line 2, column 3: the key 'a' appears twice"),
        ("a: 1\n!!str a: 2\n", "line 2, column 1: the key 'a' appears twice"),
        ("1: 2\n", "line 1, column 1: expected a name as key, received '1'"),
        ("true: 2\n", "expected a name as key, received 'true'"),
        ("~: 2\n", "expected a name as key, received '~'"),
        ("? [1]\n: 2\n", "line 1, column 3: expected a name as key, received a sequence"),
        ("{a: {b: c}: d}\n", "line 1, column"),
        ("a: !!python/object/apply:os.system ['true']\n", "tag !!python/object/apply:os.system is"),
        ("a: !!python/name:os.system\n", "the tag !!python/name:os.system is not allowed. Write"),
        ("a: !mine 3\n", "the tag !mine is not allowed"),
        ("a: !!set {b}\n", "the tag !!set is not allowed"),
        ("a: !!binary aGk=\n", "the tag !!binary is not allowed"),
        ("a: !!timestamp 2024-01-01\n", "the tag !!timestamp is not allowed"),
        ("a: !!int x\n", "is not valid YAML: invalid literal"),
        ("a: !!bool x\n", "is not valid YAML"),
        ("a: !!float ''\n", "is not valid YAML: could not convert"),
        ("seed: " + "9" * 5000 + "\n", "expected a number, received 5,000 characters of one"),
        ("seed: 0x" + "f" * 5000 + "\n", "expected a number, received 5,002 characters of one"),
        (b"name: caf\xe9\n", "expected UTF-8 text, received the byte 0xe9 at position 9. Save"),
        ("seed: 1\n".encode("utf-16"), "expected UTF-8 text, received the byte 0xff at position 0"),
        ("x: " + "y" * 200_000, "is larger than 200 kB, so it is not a config"),
        ("a: " + "[" * 5000, "nested more than 40 levels deep"),
        ("a: " + "[" * 60 + "]" * 60, "nested more than 40 levels deep"),
        ("a: &a [*a]\n", "nested more than 40 levels deep"),
        ("a: &a {b: *a}\n", "nested more than 40 levels deep"),
        ("a: [" + "1," * 20_001 + "]\n", "more than 20,000 values, aliases followed"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_files_that_are_no_config(content, says, tmp_path):
    file = write(tmp_path, content)
    message = refused(file)
    assert message.startswith(str(file))
    assert says in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "grow",
    [
        lambda name, before: f"{name}: &{name} [{', '.join([f'*{before}'] * 8)}]\n",
        lambda name, before: f"{name}: &{name} {{<<: [{', '.join([f'*{before}'] * 8)}]}}\n",
        lambda name, before: f"? &{name} [{', '.join([f'*{before}'] * 8)}]\n: 1\n",
    ],
    ids=["values", "merges", "keys"],
)
def test_alias_bombs_are_refused_without_being_expanded(grow, tmp_path):
    """Expanded, they would hold 8**20 values: the test would not end."""
    names = "abcdefghijklmnopqrstu"
    text = "a: &a {x: 1}\n" + "".join(map(grow, names[1:], names))
    message = refused(write(tmp_path, text))
    assert "more than 20,000 values, aliases followed" in message or "a name as key" in message


def test_a_number_that_no_longer_prints_is_refused():
    with pytest.raises(ConfigError, match=r"seed: expected a number less than .* a very large num"):
        config.parse({**yaml.safe_load(MINIMAL), "seed": 10**5000})


def test_a_document_without_end_is_refused():
    deep: dict = {}
    for _ in range(100_000):
        deep = {"units": deep}
    endless: dict = {}
    endless["units"] = endless
    for kwargs in (deep, endless):
        document = {**yaml.safe_load(MINIMAL), "model": {"layers": [{"Dense": kwargs}]}}
        with pytest.raises(ConfigError, match="nested too deeply"):
            config.parse(document, "here")
        with pytest.raises(ConfigError, match="seed: expected a whole number"):
            config.parse({**yaml.safe_load(MINIMAL), "seed": kwargs})
    while deep:  # taking it apart from outside in; Python would recurse
        deep = deep["units"]


def test_a_config_that_comes_through_a_pipe(tmp_path):
    """As in `cifarnet train --config <(...)`: no size is known beforehand."""
    reading, writing = os.pipe()
    os.write(writing, MINIMAL.encode())
    os.close(writing)
    assert config.load(f"/dev/fd/{reading}").train.epochs == 3
    os.close(reading)
    assert "is larger than 200 kB" in refused(Path("/dev/zero"))


def test_files_that_cannot_be_read(tmp_path):
    write(tmp_path, MINIMAL, "article.yaml")
    write(tmp_path, MINIMAL, "other.yaml")
    message = refused(tmp_path / "artcle.yaml")
    assert message == (
        f"there is no config file {tmp_path}/artcle.yaml. In {tmp_path} there is: article.yaml"
    )
    assert "there is: article.yaml, other.yaml" in refused(tmp_path / "q")
    message = refused(tmp_path / "no" / "q.yaml")
    assert "Give a YAML file or the name of a shipped config. Shipped configs: airben" in message
    assert refused(tmp_path) == (
        f"{tmp_path} is a folder; expected a YAML file, such as {tmp_path}/config.yaml"
    )
    assert "is a folder" in refused(write(tmp_path, "base: .\n"))
    assert "cannot read the config" in refused(tmp_path / "other.yaml" / "c.yaml")
    assert "cannot read the config" in refused(Path("a\0b"))
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    assert "cannot read the config" in refused(tmp_path / "loop.yaml")


# --- any document at all --------------------------------------------------------------

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=6)
    | st.sampled_from(["1e3", "0o7", "010", "1_0", "on", "~", "=", "<<", ".nan", "1:30", "a: b"])
)
keys = st.sampled_from(
    ["name", "seed", "data", "model", "train", "evaluate", "base", "layers", "path", "augment"]
) | st.sampled_from(["kind", "schedule", "at", "epochs", "stop", "<<", "1", ""])
plain = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(keys | st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)
documents = st.dictionaries(keys | st.text(max_size=4), plain, max_size=5)


@PROPERTY
@given(documents, st.booleans())
def test_any_document_is_a_config_or_a_config_error(tmp_path, document, complete):
    if complete:
        document = {**yaml.safe_load(MINIMAL), **document}
    file = write(tmp_path, yaml.safe_dump(document))
    for read in (lambda: config.parse(document), lambda: config.load(file)):
        try:
            assert isinstance(read(), config.Config)
        except ConfigError as error:
            assert str(error)


@PROPERTY
@given(st.text(max_size=40) | st.builds("{}={}".format, keys, st.text(max_size=20)))
def test_any_override_is_taken_or_refused(tmp_path, text):
    file = write(tmp_path, MINIMAL)
    try:
        config.load(file, [text])
    except ConfigError as error:
        assert str(error)


@PROPERTY
@given(st.binary(max_size=60))
def test_any_file_is_a_config_or_a_config_error(tmp_path, content):
    try:
        config.load(write(tmp_path, content))
    except ConfigError as error:
        assert str(error)


# --- round trips and the schema -------------------------------------------------------


def numbers(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, exclude_min=True, exclude_max=True)


def optional(**fields: st.SearchStrategy) -> st.SearchStrategy[dict]:
    return st.fixed_dictionaries({}, optional=fields)


counts = st.integers(1, 2**31 - 1)
schedules = (
    st.fixed_dictionaries({"kind": st.just("constant")})
    | st.fixed_dictionaries(
        {"kind": st.just("step"), "at": st.lists(numbers(0, 50), min_size=1, max_size=3)},
        optional={"factor": numbers(0, 1), "warmup_epochs": numbers(0, 0.5)},
    )
    | st.fixed_dictionaries({"kind": st.just("cosine")}, optional={"end": st.floats(0, 1)})
    | st.fixed_dictionaries(
        {"kind": st.just("triangle")}, optional={"start": st.floats(0, 1), "peak_at": numbers(0, 1)}
    )
)
augmentations = (
    st.sampled_from(["flip", "alternating_flip", "rotate", "scale", "brightness"]).map(
        lambda kind: {"kind": kind}
    )
    | st.builds(lambda n: {"kind": "crop", "pixels": n}, st.integers(1, 16))
    | st.builds(lambda n: {"kind": "cutout", "size": n}, st.integers(1, 32))
)
layers = st.lists(
    st.text(min_size=1, max_size=6)
    | st.dictionaries(
        st.text(min_size=1, max_size=6),
        st.none() | st.dictionaries(st.text(max_size=4), plain, max_size=3),
        min_size=1,
        max_size=1,
    ),
    min_size=1,
    max_size=4,
)
configs = st.fixed_dictionaries(
    {
        "model": st.fixed_dictionaries({"layers": layers}),
        "train": st.fixed_dictionaries(
            {"epochs": st.floats(1, 1000) | counts, "learning_rate": numbers(0, 10)},
            optional={
                "schedule": schedules,
                "momentum": st.floats(0, 0.99),
                "ema": st.none() | numbers(0, 1),
                "lookahead": st.none() | optional(every=counts, decay=numbers(0, 1)),
                "clip_norm": st.none() | numbers(0, 100),
                "stop": st.none() | st.builds(dict, validation_accuracy=st.floats(0, 1)),
                "early_stopping": st.none() | optional(patience=counts),
                "tensorboard": st.booleans(),
            },
        ),
    },
    optional={
        "name": st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,9}", fullmatch=True),
        "seed": st.integers(0, 2**31 - 1),
        "data": optional(
            path=st.none() | st.text(min_size=1, max_size=6),
            limit=st.none() | counts,
            augment=st.lists(augmentations, max_size=3),
        ),
        "evaluate": optional(batch_size=counts),
    },
)


@PROPERTY
@given(configs)
def test_what_is_dumped_is_read_back_equal_and_holds_against_the_schema(tmp_path, document):
    try:
        parsed = config.parse(document)
    except ConfigError as error:  # a layer's argument that cannot be written, a strange path
        assert "(" in str(error) or "data.path" in str(error)
        reject()
    text = config.dump(parsed)
    assert config.load(write(tmp_path, text)) == parsed
    assert config.dump(config.load(write(tmp_path, text))) == text
    holds(document)
    holds(yaml.safe_load(yaml.safe_dump(parsed.model_dump(mode="json"))))


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


# --- what changed ---------------------------------------------------------------------


def test_changes_are_named_by_key_with_both_values():
    document = {
        "model": {"layers": ["Flatten", {"Dense": {"units": 10}}]},
        "train": {"epochs": 1, "learning_rate": 1, "freeze": {"a": 1}},
    }
    old = config.parse(document)
    assert config.changes(old, old) == {}
    train = {"epochs": 2, "learning_rate": 1, "schedule": {"kind": "cosine"}, "freeze": {"b": 1}}
    layers = ["Flatten", {"Dense": {"units": 11}}]
    assert config.changes(old, config.parse({"model": {"layers": layers}, "train": train})) == {
        "model.layers": (
            [{"Flatten": {}}, {"Dense": {"units": 10}}],
            [{"Flatten": {}}, {"Dense": {"units": 11}}],
        ),
        "train.epochs": (1.0, 2.0),
        "train.schedule.kind": ("constant", "cosine"),
        "train.schedule.end": (None, 0.0),
        "train.freeze.a": (1, None),
        "train.freeze.b": (None, 1),
    }


def test_data_alone_reads_cifar10_whole():
    settings = config.data_only()
    assert settings.data == config.DataConfig()
    assert settings.train.epochs == settings.train.learning_rate == 1.0
    assert settings.model.layers == ({"Flatten": {}},)
    assert config.data_only(["data.limit=7", "seed=3"]).data.limit == 7
    with pytest.raises(ConfigError, match="config is not a valid config"):
        config.data_only(["data.limit=x"])


@pytest.mark.parametrize(
    "name",
    ["a/b", "..", ".a", "a\nb", "a\x1b[31m", "a b", "", "x" * 65, "é"],
    ids=["slash", "up", "hidden", "lines", "escape", "space", "empty", "long", "accent"],
)
def test_names_that_would_lead_elsewhere_or_hide_are_refused(name):
    document = {"name": name, "model": {"layers": ["Flatten"]}}
    with pytest.raises(ConfigError, match="name: "):
        config.parse({**document, "train": {"epochs": 1, "learning_rate": 1}})
