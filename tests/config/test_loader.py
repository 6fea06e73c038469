"""Files, their bases and overrides become one validated config."""

import copy
from pathlib import Path
from typing import get_args

import pytest
import yaml
from helpers.configs import CONFIGS, MINIMAL, refused, write

from cifarnet import config
from cifarnet.errors import ConfigError


def test_a_minimal_config_gets_the_documented_defaults(tmp_path):
    loaded = config.load(write(tmp_path, MINIMAL))
    assert loaded.model_dump() == {
        "name": "c",
        "seed": 0,
        "data": {
            "source": "cifar10",
            "path": None,
            "validation_fraction": 0.1,
            "test_fraction": 0.2,
            "limit": None,
            "image_size": 32,
            "max_unreadable": 0.01,
            "memory_share": 0.25,
            "augment": (),
            "mix": None,
            "mix_alpha": 1.0,
        },
        "model": {"normalize": "standard", "layers": ({"Flatten": {}}, {"Dense": {"units": 10}})},
        "train": {
            "epochs": 3.0,
            "batch_size": 128,
            "learning_rate": 0.1,
            "schedule": {"kind": "constant", "warmup_epochs": 0.0},
            "momentum": 0.0,
            "nesterov": False,
            "muon": None,
            "weight_decay": 0.0,
            "norm_bias_factor": 1.0,
            "label_smoothing": 0.0,
            "clip_norm": None,
            "ema": None,
            "lookahead": None,
            "freeze": {},
            "distill": None,
            "resolution": (),
            "precision": "auto",
            "checkpoint": {"every_steps": None, "every_minutes": None},
            "early_stopping": None,
            "stop": None,
            "select": "last",
            "calibrate": False,
            "tensorboard": False,
            "mlflow": None,
        },
        "evaluate": {"batch_size": 500, "tta": "none"},
        "export": {
            "formats": (),
            "quantize": ("none",),
            "calibration_images": 500,
            "max_difference": 1e-4,
            "max_accuracy_loss": 0.01,
            "max_loss_increase": 0.1,
            "max_calibration_increase": 0.05,
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
    """In YAML 1.1 `on` is true, 2024-01-01 a date, and 1:30 is 90."""
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
    """`b` is merged into `last` before `b` itself is constructed."""
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
    # Overrides of single keys, in either order, lose nothing silently.
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
        ("data.source=directory", "-o data.source=directory: data.source: directory needs"),
        ("train.epoch.x=3", "-o train.epoch.x=3: train.epoch: unknown key"),
        ("train.muon=true", "train.muon: expected keys with values, received true. Write {} for"),
        ("train.ema=true", "train.ema: expected a valid number, received true"),
        ("train.muon=false", "expected keys with values, received false. Write null for none"),
        ("train.stop=0.9", "received 0.9. Write {validation_accuracy: 0.9}"),
        ("train.stop=1", "received 1. Write {validation_accuracy: 1}"),
        ("train.ema=false", "received false. Write null for none"),
        ("data.mix=false", "received false. Write null for none"),
        ("train.mlflow=false", "received false. Write null for none"),
        ("train.resolution=24", "expected a list, received 24. Write [{until: ..., size: ...}]"),
        ("train.resolution=null", "expected a list, received nothing. Write [] for none"),
        ("data.augment=false", "expected a list, received false. Write [] for none"),
        ("export.formats=onnx", "a list, received the text 'onnx'. Write ['onnx']"),
        ("export.formats=onnx,litert", "'onnx,litert'. Write [onnx, litert]"),
        ("data.augment=flip", "received the text 'flip'. Write [{kind: flip}]"),
        ("train.resolution={until: 0.5, size: 24}", "Write [{'size': 24, 'until': 0.5}]"),
        ("train.schedule={kind: step, at: 5}", "expected a list, received 5. Write [5]"),
        ("train.resolution={until: 2, size: 24}", "'until': 2}. Write it in a list"),
        ("train.resolution=[{until: ..., size: 24}]", "expected a valid number, received the text"),
        ("model.layers=null", "model.layers: expected a list of layers, received nothing"),
        ("train.distill=latest", "received the text 'latest'. Write {teacher: 'latest'}"),
        (
            "train.distill.weight=0.5",
            "-o train.distill.weight=0.5: train.distill.teacher: required",
        ),
        ("train.distill.teacher=''", "train.distill.teacher: expected a text that is not empty"),
        (
            "train.resolution=[{until: 0.6, size: 40}]",
            "size: 40}]: train.resolution[0].size: expected at most the 32 pixels",
        ),
        (
            "train.resolution=[{until: 0.6, size: 24}, {until: 0.4, size: 28}]",
            "size: 28}]: train.resolution: expected parts whose `until` rises",
        ),
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


@pytest.mark.parametrize(
    "override", ["train.stop=90", "train.stop=high", "train.distill=0.5", "export.prune=.inf"]
)
def test_no_section_is_advised_that_would_be_refused(override, tmp_path):
    message = refused(write(tmp_path, MINIMAL), override)
    assert "expected keys with values, received" in message and "Write" not in message


def test_null_is_advised_only_where_it_is_accepted(tmp_path):
    file = write(tmp_path, MINIMAL)
    for override in ("train=false", "train.epochs=false", "model.layers=false"):
        assert "Write" not in refused(file, override)
    assert config.load(file, ["train.muon=null"]).train.muon is None


def test_the_place_of_a_replaced_value_is_the_new_one(tmp_path):
    """An error in a value that replaced another must not name the line of the replaced one."""
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


# --- differences between configs ------------------------------------------------------


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


# --- text keys and names --------------------------------------------------------------


@pytest.mark.parametrize("text", ["001", "1e3", "null", "yes", "true", "2024-01-01", "0x10", "1.0"])
def test_an_override_of_a_text_key_is_text_as_written(text, tmp_path):
    file = write(tmp_path, MINIMAL)
    overrides = [f"name={text}", f"model.layers.1.Dense.name={text}"]
    loaded = config.load(file, overrides)
    assert (loaded.name, loaded.model.layers[1]["Dense"]["name"]) == (text, text)
    quoted = [f'name="{text}"', f"model.layers.1.Dense.name='{text}'"]
    assert config.load(file, quoted) == loaded
    # What is written from it reads back as text.
    assert config.load(write(tmp_path, config.dump(loaded), "dumped.yaml")) == loaded
    inner = "model.layers.0={Residual: {layers: [Flatten]}}"
    nested = config.load(file, [inner, "model.layers.0.Residual.layers.0={Dense: {name: a}}"])
    assert nested.model.layers[0]["Residual"]["layers"] == [{"Dense": {"name": "a"}}]
    named = [inner, "model.layers.0.Residual.layers.0={Dense: {}}"]
    path = f"model.layers.0.Residual.layers.0.Dense.name={text}"
    found = config.load(file, [*named, path]).model.layers[0]["Residual"]["layers"]
    assert found == [{"Dense": {"name": text}}]


def test_every_key_of_free_text_takes_an_override_as_written(tmp_path):
    """`name`, `data.path` and the teacher today; keys of other types are YAML."""
    free = []

    def walk(model: type, at: str) -> None:
        for name, field in model.model_fields.items():
            kinds = get_args(field.annotation) or (field.annotation,)
            if str in kinds or Path in kinds:
                free.append(at + name)
            for kind in kinds:
                if hasattr(kind, "model_fields"):
                    walk(kind, f"{at}{name}.")

    walk(config.Config, "")
    assert free == ["name", "data.path", "train.distill.teacher"]
    file = write(tmp_path, MINIMAL)
    for text in ("001", "a #1", "[x", "%TEMP%", "*star", "a: b", "@x"):
        assert config.load(file, [f"data.path={text}"]).data.path == Path(text).absolute()
        distill = config.load(file, [f"train.distill.teacher={text}"]).train.distill
        assert distill.teacher == text
    for text in ("null", ""):
        assert config.load(file, ["data.path=x", f"data.path={text}"]).data.path is None
    assert config.load(file, ["data.path=~"]).data.path == Path.home()
    assert "train.epochs: expected a valid number" in refused(file, "train.epochs=null")


def test_windows_paths_in_double_quotes_say_what_to_write(tmp_path):
    file = write(tmp_path, MINIMAL)
    hint = "In double quotes a backslash is an escape: use single quotes or /"
    for path in (r"C:\new\cats", r"C:\users\me", r"C:\xyz", "C:\\new\\"):
        assert hint in refused(file, f'data.path="{path}"')
        written = write(tmp_path, MINIMAL + f'data: {{path: "{path}"}}\n', "w.yaml")
        assert hint in refused(written)
        assert config.load(file, [f"data.path={path}"]).data.path == Path(path).absolute()
        assert config.load(file, [f"data.path='{path}'"]).data.path == Path(path).absolute()
    # Escapes that YAML has: a line feed, a tab, a next line.
    for path in (r"C:\new", r"C:\temp", r"C:\Nets"):
        assert hint in refused(file, f'data.path="{path}"')


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("my-net.yaml", "my-net"),
        ("net.v2.yaml", "net.v2"),
        ("my net (2).yml", "my-net-2"),
        ("größe.yaml", "groe"),
        (".hidden.yaml", "hidden"),
        ("網.yaml", "run"),
        ("a" * 80 + ".yaml", "a" * 64),
    ],
)
def test_a_run_is_called_after_its_file_unless_it_has_a_name(file, name, tmp_path):
    path = write(tmp_path, MINIMAL, file)
    assert config.load(path).name == name
    assert config.load(path, ["name=other"]).name == "other"
    assert config.load(write(tmp_path, MINIMAL + "name: own\n", file)).name == "own"


def test_a_file_with_a_base_has_the_name_of_the_base_or_else_its_own(tmp_path):
    write(tmp_path, MINIMAL, "base.yaml")
    assert config.load(write(tmp_path, "base: base.yaml\n", "mine.yaml")).name == "mine"
    assert config.load(write(tmp_path, "base: article\n", "mine.yaml")).name == "article"
    write(tmp_path, MINIMAL + "name: null\n", "empty.yaml")
    assert "name: expected a text, received nothing" in refused(tmp_path / "empty.yaml")
