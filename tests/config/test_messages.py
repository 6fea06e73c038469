"""Errors give the place, the expected and received values, and advice."""

import re

import pytest
import yaml
from helpers.configs import MINIMAL, refused, write

from cifarnet import config
from cifarnet.errors import ConfigError


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
        ("data: {augment: [flip]}\n", ["data.augment[0]: expected a `kind:`", "{kind: flip}"]),
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
        ("data: {source: directory}\n", ["c.yaml:1: data.source: directory needs data.path"]),
        (
            "data: {source: directory, path: x, image_size: 8, augment: [{kind: crop, pixels: 8}]}"
            "\n",
            ["c.yaml:1: data.augment[0].pixels: expected less than the 8 pixels", "received 8"],
        ),
        ("data: {image_size: 64}\n", ["c.yaml:1: data.image_size: ", "only for source: directory"]),
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
        ("nesterov: true", "train.nesterov: true needs a momentum above 0, such as 0.9"),
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
        (
            "schedule: {kind: cosine, warmup_epochs: 3}",
            "schedule.warmup_epochs: expected less than the 3 of epochs, received 3",
        ),
        (
            "schedule: {kind: step}",
            "at: required, but not given. Add `at:` under `train.sched",
        ),
        ("lr: 3", "train.lr: unknown key; did you mean 'learning_rate'?"),
        ("schedule: {kind: step, at: []}", "train.schedule.at: expected at least one item"),
        ("schedule: {kind: step, at: [0]}", "train.schedule.at[0]: expected a number greater"),
        ("schedule: {kind: step, at: 3}", "train.schedule.at: expected a list, received 3"),
        ("schedule: {kind: step, at: [1], end: 0}", "'train.schedule.end (kind: cosine)' or"),
        ("schedule: {kind: cosine, end: 1.5}", "train.schedule.end: expected a number less than"),
        ("schedule: {kind: cosin}", "'triangle', received 'cosin'; did you mean 'cosine'?"),
        ("schedule: {kind: [1]}", "expected kind to be one of 'constant', 'step'"),
        ("schedule: cosine", "received the text 'cosine'. Write {kind: cosine}"),
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


@pytest.mark.parametrize(
    "name",
    ["a/b", "..", ".a", "a\nb", "a\x1b[31m", "a b", "", "x" * 65, "é"],
    ids=["slash", "up", "hidden", "lines", "escape", "space", "empty", "long", "accent"],
)
def test_names_that_would_lead_elsewhere_or_hide_are_refused(name):
    document = {"name": name, "model": {"layers": ["Flatten"]}}
    with pytest.raises(ConfigError, match="name: "):
        config.parse({**document, "train": {"epochs": 1, "learning_rate": 1}})
