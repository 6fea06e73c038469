"""YAML, bases and overrides become one checked config; everything else a clear error."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cifarnet import config
from cifarnet.errors import ConfigError

ROOT = Path(__file__).parent.parent
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
MINIMAL = """\
model:
  layers: [Flatten, {Dense: {units: 10}}]
train:
  epochs: 3
  learning_rate: 0.1
"""


def write(folder: Path, text: str | bytes, name: str = "c.yaml") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refused(path: Path, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        config.load(path, overrides)
    return str(caught.value)


def test_a_minimal_config_gets_the_documented_defaults(tmp_path):
    loaded = config.load(write(tmp_path, MINIMAL))
    assert loaded.data.source == "cifar10"
    assert loaded.data.validation_fraction == 0.1
    assert loaded.train.schedule == config.ConstantSchedule(kind="constant")
    assert loaded.model.layers == ({"Flatten": {}}, {"Dense": {"units": 10}})
    assert loaded.train.precision == "auto"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_configs_open_with_their_purpose_and_command(path):
    text = path.read_text()
    head = text[: text.index("name:")]
    assert head.startswith("# yaml-language-server: $schema=schema.json\n# ")
    assert f"cifarnet train --config configs/{path.name}" in head
    assert "# Measured: " in head
    assert "MEASURED" not in text


# --- bases and overrides --------------------------------------------------------------


def test_base_is_overridden_by_the_file_and_the_file_by_the_command_line(tmp_path):
    write(tmp_path, MINIMAL + "  batch_size: 10\nseed: 1\n", "base.yaml")
    file = write(tmp_path, "base: base.yaml\ntrain: {batch_size: 20, momentum: 0.5}\n")
    loaded = config.load(file, ["train.batch_size=30"])
    assert (loaded.seed, loaded.train.momentum, loaded.train.batch_size) == (1, 0.5, 30)
    assert config.load(file).train.batch_size == 20
    assert loaded.train.epochs == 3


def test_a_base_is_relative_to_its_file_and_bases_chain(tmp_path):
    (tmp_path / "deep").mkdir()
    write(tmp_path, MINIMAL, "one.yaml")
    write(tmp_path / "deep", "base: ../one.yaml\nseed: 2\n", "two.yaml")
    file = write(tmp_path, "base: deep/two.yaml\nname: three\n", "three.yaml")
    loaded = config.load(file)
    assert (loaded.seed, loaded.name, loaded.train.epochs) == (2, "three", 3)


def test_another_kind_replaces_the_base_s_whole(tmp_path):
    write(tmp_path, MINIMAL + "  schedule: {kind: step, at: [1], factor: 0.5}\n", "base.yaml")
    file = write(tmp_path, "base: base.yaml\ntrain: {schedule: {kind: cosine}}\n")
    assert config.load(file).train.schedule == config.CosineSchedule(kind="cosine")
    same = write(tmp_path, "base: base.yaml\ntrain: {schedule: {factor: 0.25}}\n", "same.yaml")
    assert config.load(same).train.schedule.factor == 0.25


def test_base_faults(tmp_path):
    write(tmp_path, "base: b.yaml\n", "a.yaml")
    write(tmp_path, "base: a.yaml\n", "b.yaml")
    assert "circle" in refused(tmp_path / "a.yaml")
    assert "absent.yaml" in refused(write(tmp_path, "base: absent.yaml\n"))
    assert "base: expected a file name, received 3" in refused(write(tmp_path, "base: 3\n"))


def test_data_path_is_relative_to_the_file_that_says_it(tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    file = write(tmp_path / "in", MINIMAL + "data: {path: images.tar.gz}\n")
    monkeypatch.chdir(tmp_path)
    assert config.load(file).data.path == tmp_path / "in" / "images.tar.gz"
    assert config.load(file, ["data.path=mine"]).data.path == tmp_path / "mine"


def test_overrides_reach_into_lists_and_mappings(tmp_path):
    file = write(tmp_path, MINIMAL)
    loaded = config.load(
        file,
        ["model.layers.1.Dense.units=7", "train.schedule={kind: step, at: [1, 2]}", "seed=5"],
    )
    assert loaded.model.layers[1] == {"Dense": {"units": 7}}
    assert loaded.train.schedule.at == (1, 2)
    assert config.load(file, ["train.learning_rate=1e-3"]).train.learning_rate == 0.001


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("train.epochs", "expected key=value"),
        ("=3", "expected key=value"),
        ("train..epochs=3", "expected key=value"),
        ("train.epochs=[1", "not valid YAML"),
        ("model.layers.9.x=1", "model.layers has the items 0 to 1, not 9"),
        ("train.epochs.x=1", "train.epochs is 3, not a section"),
        ("train.epoch=3", "-o train.epoch=3: train.epoch: unknown key; did you mean 'epochs'?"),
    ],
)
def test_override_faults(override, says, tmp_path):
    assert says in refused(write(tmp_path, MINIMAL), override)


# --- errors ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("epochs: 3\n", ["c.yaml:1: epochs: unknown key; did you mean 'train.epochs'?"]),
        ("data: {sorce: cifar10}\n", ["data.sorce: unknown key; did you mean 'source'?"]),
        ("data: {source: mnist}\n", ["data.source: expected 'cifar10', 'synthetic'", "'mnist'"]),
        ("seed: x\n", ["c.yaml:1: seed: expected a valid integer", "received 'x'"]),
        ("seed: true\n", ["seed: expected a valid integer, received True"]),
        ("seed: -1\n", ["seed: expected greater than or equal to 0, received -1"]),
        ("name: ../up\n", ["name:", "received '../up'"]),
        ("data: 3\n", ["data:", "received 3"]),
        ("data:\n", ["data:", "received None"]),
        ("data: {augment: [{kind: crop, pixels: 0}]}\n", ["data.augment[0].pixels", "received 0"]),
        ("data: {augment: [{kind: warp}]}\n", ["data.augment[0]", "'crop'", "received 'warp'"]),
        ("data: {augment: [{pixels: 2}]}\n", ["data.augment[0]: expected a `kind:` key"]),
        ("data: {augment: [{kind: flip, x: 1}]}\n", ["data.augment[0].x: unknown key"]),
        ("data: {validation_fraction: .nan}\n", ["data.validation_fraction", "finite"]),
        ("data: {source: directory}\n", ["data: ", "needs data.path"]),
        ("data: {image_size: 64}\n", ["data: ", "only for source: directory"]),
        ("1: 2\n", ["unknown key"]),
    ],
    ids=str,
)
def test_what_is_wrong_is_said_with_its_place(text, says, tmp_path):
    message = refused(write(tmp_path, text + MINIMAL))
    for part in says:
        assert part in message


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("epochs: 0", "train.epochs: expected greater than 0, received 0"),
        ("epochs: '3'", "train.epochs: expected a valid number, received '3'"),
        ("momentum: 1.0", "train.momentum: expected less than 1, received 1.0"),
        ("nesterov: true", "needs a momentum above 0"),
        ("nesterov: 1", "train.nesterov: expected a valid boolean"),
        ("learning_rate: .inf", "train.learning_rate: expected a finite number"),
        ("schedule: {kind: cosine, warmup_epochs: 3}", "must be below epochs 3"),
        ("schedule: {kind: step}", "train.schedule.at: required"),
        ("schedule: {kind: triangle, peak_at: 1.0}", "train.schedule.peak_at"),
        ("precision: int8", "train.precision: expected 'auto', 'float32'"),
    ],
)
def test_values_out_of_range(options, says, tmp_path):
    key = options.split(":")[0]
    lines = [line for line in MINIMAL.splitlines() if not line.startswith(f"  {key}:")]
    assert says in refused(write(tmp_path, "\n".join([*lines, f"  {options}\n"])))


@pytest.mark.parametrize(
    ("layers", "says"),
    [
        ("[]", "expected at least one layer"),
        ("Flatten", "expected a list of layers"),
        ("[{Dense: {units: 1}, Flatten: {}}]", "model.layers[0]: expected a layer name or one"),
        ("[Flatten, 3]", "model.layers[1]: expected a layer name"),
        ("[{Dense: 3}]", "model.layers[0]: expected a layer name or one"),
        ("[{Dense: {units: .nan}}]", "model.layers[0] (Dense).units: expected a finite number"),
        ("[{Dense: {units: 2020-01-01}}]", "model.layers[0] (Dense).units: expected a plain value"),
        ("[{Dense: {1: 2}}]", "model.layers[0] (Dense): expected names as keys"),
    ],
)
def test_layers_of_another_form(layers, says, tmp_path):
    text = f"model: {{layers: {layers}}}\ntrain: {{epochs: 1, learning_rate: 1}}\n"
    assert says in refused(write(tmp_path, text))


def test_a_set_level_needs_a_validation_set(tmp_path):
    file = write(tmp_path, MINIMAL)
    for key in ("stop={validation_accuracy: 0.9}", "early_stopping={}", "select=best"):
        message = refused(file, "data.validation_fraction=0", f"train.{key}")
        assert "needs a validation set" in message


def test_every_problem_is_listed_at_once(tmp_path):
    message = refused(write(tmp_path, "seed: x\ndata: {limit: 0}\n" + MINIMAL))
    assert message.count("\n") == 2


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "expected sections"),
        ("- 1\n", "expected sections such as `data:`"),
        ("a: [1\n", "is not valid YAML: line 2"),
        ("train: {epochs: 1, epochs: 2}\n", "line 1, column 20: the key 'epochs' appears twice"),
        ("a: 1\n'a': 2\n", "the key 'a' appears twice"),
        ("a: !!python/object/apply:os.system ['true']\n", "could not determine a constructor"),
        (b"name: \xff\xfe\n", "cannot read the config"),
        ("a: \x00\n", "is not valid YAML"),
        ("a: " + "[" * 5000, "nested too deeply"),
        ("a: " + "[" * 60 + "]" * 60, "that is no config"),
        ("a: &a [*a]\n", "that is no config"),
        ("? [1]\n: 2\n", "is not valid YAML"),
        ("x: " + "y" * 1_100_000, "that is no config"),
        (
            "a: &a [1,1,1,1,1,1,1,1]\n"
            + "".join(
                f"{c}: &{c} [{', '.join([f'*{p}'] * 8)}]\n"
                for p, c in zip("abcdefg", "bcdefgh", strict=True)
            ),
            "that is no config",
        ),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_hostile_files(content, says, tmp_path):
    assert says in refused(write(tmp_path, content))


def test_files_that_are_not_there_name_those_that_are(tmp_path):
    write(tmp_path, MINIMAL, "article.yaml")
    message = refused(tmp_path / "artcle.yaml")
    assert "there is no config file" in message
    assert "article.yaml" in message
    assert "cannot read the config" in refused(tmp_path)


# --- round trips ----------------------------------------------------------------------


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_dump_loads_back_to_an_equal_config(path, tmp_path):
    loaded = config.load(path)
    assert config.load(write(tmp_path, config.dump(loaded))) == loaded


def test_a_config_cannot_be_changed(tmp_path):
    loaded = config.load(write(tmp_path, MINIMAL))
    with pytest.raises(ValueError, match="frozen"):
        loaded.seed = 3


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
keys = st.sampled_from(["name", "seed", "data", "model", "train", "evaluate", "base", "layers"])


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(keys | st.text(max_size=5), plain, max_size=5))
def test_any_document_is_a_config_or_a_config_error(document):
    try:
        config.parse({**yaml.safe_load(MINIMAL), **document})
    except ConfigError as error:
        assert str(error)


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.text(max_size=40))
def test_any_override_is_taken_or_refused(tmp_path, text):
    file = write(tmp_path, MINIMAL)
    try:
        config.load(file, [text])
    except ConfigError as error:
        assert str(error)


# --- schema ---------------------------------------------------------------------------


def committed() -> dict:
    return json.loads((ROOT / "configs" / "schema.json").read_text())


def test_the_committed_schema_is_the_generated_one():
    assert committed() == config.schema(), "run: cifarnet config schema > configs/schema.json"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_configs_hold_against_the_schema(path):
    jsonschema.validate(yaml.safe_load(path.read_text()), committed())


@pytest.mark.parametrize(
    "text", ["sed: 3", "seed: x", "data: {source: mnist}", "train: {schedule: {kind: up}}"]
)
def test_the_schema_refuses_what_the_program_refuses(text):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(text), committed())
