"""The sweep file: what it may say, and what is said of what it may not."""

import sys

import pytest
from helpers import sweeping

from cifarnet.errors import CifarnetError, ConfigError
from cifarnet.sweeps import check, check_sweep, run_sweep, settings, space

RATE = "vary: {train.learning_rate: [0.1, 0.2]}\n"
LARGE = f"vary: {{{', '.join(f'key{n}: {[*range(10)]}' for n in range(30))}}}\n"


def read(folder, text):
    return settings.read(sweeping.write(folder, text))


def test_a_whole_file(tmp_path):
    found = read(
        tmp_path,
        """\
name: mine
vary:
  train.learning_rate: {log: [0.01, 1]}
  train.momentum: {float: [0, 0.9]}
  model.layers.1.Dense.units: {int: [10, 30], step: 10}
  train.schedule: [{kind: constant}, {kind: cosine}]
seeds: [0, 7]
trials: 12
sampler: random
prune: {kind: halving}
""",
    )
    assert (found.name, found.seeds, found.trials, found.sampler) == ("mine", (0, 7), 12, "random")
    assert (found.prune.first, found.prune.factor) == (2, 3)  # a fifth of 6 epochs, at least 2
    assert found.space["train.learning_rate"] == space.Range(0.01, 1.0, log=True)
    assert found.space["model.layers.1.Dense.units"].extremes() == [10, 30]
    values = {
        "train.learning_rate": 1e-05,
        "model.layers.1.Dense.units": 30,
        "train.schedule": {"kind": "cosine"},
    }
    config = found.config(values, 7, "mine-0003-seed7")
    assert (config.train.learning_rate, config.seed, config.name) == (1e-05, 7, "mine-0003-seed7")
    assert config.model.layers[1] == {"Dense": {"units": 30}}
    assert config.train.schedule.kind == "cosine"


def test_the_defaults_are_the_whole_grid_and_the_seed_of_the_base(tmp_path):
    found = read(tmp_path, "vary: {train.learning_rate: [0.1, 0.2], train.ema: [null, 0.9, 0.99]}")
    assert (found.name, found.seeds, found.trials) == ("s", (0,), 6)
    assert (found.sampler, found.prune) == ("grid", None)
    assert space.grid(found.space)[:2] == [
        {"train.learning_rate": 0.1, "train.ema": None},
        {"train.learning_rate": 0.1, "train.ema": 0.9},
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trails: 3\n" + RATE, r"s.sweep.yaml:2: trails: unknown key; did you mean 'trials'"),
        ("vary: {}\n", "vary: "),
        ("vary: {seed: [0, 1]}\n", r"s.sweep.yaml:2: vary.seed cannot vary: .* under `seeds:`"),
        ("vary: {data.path: [a, b]}\n", "data.path cannot vary: .* the same images"),
        ("vary: {export.max_difference: [1, 2]}\n", "changes nothing that is trained"),
        ("vary: {data: [{limit: 200}, {limit: 300}]}\n", "data cannot vary as a whole"),
        ("vary: {'seed=5 #x': [1, 2]}\n", "expected a dotted key"),
        ("vary: {' seed': [1, 2]}\n", "expected a dotted key"),
        ("vary: {train.ema: [.nan, 0.9]}\n", "expected finite numbers"),
        (LARGE, "the grid has 1,0.* points, at most 100,000"),
        ("vary: {train.ema: 0.9}\n", "expected a list of values, .* received 0.9"),
        ("vary: {train.ema: {log: [0, 1]}}\n", "expected two numbers, above 0, the smaller first"),
        ("vary: {train.ema: {float: [1, 0]}}\n", "expected two numbers, the smaller first"),
        ("vary: {train.ema: {float: [0, .inf]}}\n", "expected two numbers"),
        ("vary: {train.batch_size: {int: [1, 2.5]}}\n", "expected two integers"),
        ("vary: {train.batch_size: {int: [1, 10], step: 4}}\n", "a step that divides 9"),
        ("vary: {train.ema: {float: [0, 1], step: 1}}\n", "`step:` only with int"),
        ("vary: {train.ema: [0.5, 0.5]}\n", "expected different values"),
        ("vary: {train.ema: [1, 1.0]}\n", "expected different values"),
        ("vary: {train.schedule: [{kind: constant}], train.schedule.kind: [cosine]}\n", "inside"),
        ("vary: {train.ema: {float: [0, 1]}}\n", "trials: required"),
        ("sampler: tpe\n" + RATE, "without `trials:` every combination is trained once"),
        ("seeds: [1, 1]\n" + RATE, "expected different integers"),
        ("seeds: [-1]\n" + RATE, "expected different integers"),
        ("trials: 0\n" + RATE, "greater than or equal to 1"),
        ("prune: {kind: halving, first: 6}\n" + RATE, "less than the 6 epochs"),
        ("prune: true\n" + RATE, "prune: expected keys with values, received true"),
        (
            "prune: {kind: halving}\nvary: {train.epochs: [2, 4]}\n",
            "not where train.epochs varies",
        ),
        ("name: a/b\n" + RATE, "name: "),
    ],
)
def test_what_is_wrong_is_said(text, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, text)


def test_all_faults_are_stated_at_once(tmp_path):
    text = """\
name: a/b
train: {ema: 0.9}
seeds: [1, a]
vary: {}
"""
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    for words in ("name: ", "s.sweep.yaml:3: train: a key of the config", "seeds[1]", "vary: "):
        assert words in str(caught.value)
    text = """\
seeds: [1, 1]
trials: 3
prune: {kind: halving, first: 9}
vary: {train.ema: 0.9, train.momentum: {float: [1, 0]}, seed: [1, 2]}
"""
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    for words in ("seeds: ", "prune.first: ", "train.ema: ", "momentum.float: ", "vary.seed can"):
        assert words in str(caught.value)


def test_a_base_that_is_not_there(tmp_path):
    path = sweeping.write(tmp_path, RATE)
    path.write_text(f"base: base\n{RATE}")
    with pytest.raises(ConfigError, match=r"no shipped config base; did you mean base\.yaml\?"):
        settings.read(path)
    path.write_text(f"base: smok.yaml\n{RATE}")
    with pytest.raises(
        ConfigError, match=r"s\.sweep\.yaml: base: .*there is: base\.yaml"
    ) as caught:
        settings.read(path)
    assert "sweep.yaml" not in str(caught.value).partition("there is: ")[2]


def test_the_name_of_the_file_must_be_one_of_a_folder(tmp_path):
    for name in ("...sweep.yaml", ".sweep.yaml", "my rates.yaml", f"{41 * 'x'}.yaml"):
        with pytest.raises(ConfigError, match=r"name: expected 1 to 40 letters.* State `name:`"):
            settings.read(sweeping.write(tmp_path, RATE).rename(tmp_path / name))


def test_the_name_without_the_suffix(tmp_path):
    for name in ("s.sweep.yaml", "s.sweep.yml", "s.yml", "s"):
        path = sweeping.write(tmp_path, RATE).rename(tmp_path / name)
        assert settings.read(path).name == "s"


def test_a_base_without_validation_images_is_refused(tmp_path):
    path = sweeping.write(tmp_path, RATE)
    base = tmp_path / "base.yaml"
    base.write_text(base.read_text().replace("limit: 200", "validation_fraction: 0"))
    with pytest.raises(ConfigError, match="holds out no validation images"):
        settings.read(path)


def test_a_sweep_with_an_unknown_key_is_not_begun(tmp_path):
    path = sweeping.write(tmp_path, "vary: {train.ema: [0.9], train.learning_rat: [0.1, 0.2]}\n")
    with pytest.raises(ConfigError, match=r"vary: train.learning_rat=0.2: .*; did you mean"):
        run_sweep(path, root=tmp_path / "runs", callbacks=[])
    assert not (tmp_path / "runs").exists()
    for vary in (
        "train.schedule.kind: [constant, cosine], train.schedule.end: [0.1, 0.2]",
        "train.learning_rate: [-1, 0.1], train.ema: [0.9, 7]",
    ):
        check.require_keys(read(tmp_path, f"vary: {{{vary}}}\n"))


def test_without_optuna_its_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match=r"pip install 'cifarnet\[sweep\]'"):
        run_sweep(sweeping.write(tmp_path, RATE), root=tmp_path / "runs", callbacks=[])
    assert not (tmp_path / "runs").exists()


def test_a_base_may_be_a_shipped_config(tmp_path):
    (tmp_path / "a.yaml").write_text(f"base: article\n{RATE}")
    found = settings.read(tmp_path / "a.yaml")
    assert (found.name, found.base.name, found.base.train.epochs) == ("a", "article", 10)


def test_a_check_counts_the_runs_and_builds_each_network(tmp_path):
    text = "trials: 5\nseeds: [0, 1]\nvary: {model.layers.1.Dense.units: {int: [10, 20]}}\n"
    found = check_sweep(sweeping.write(tmp_path, text), callbacks=[])
    assert (found.trials, found.runs, found.configs, found.networks) == (5, 10, 2, 2)
    assert found.seconds == pytest.approx(10 * found.seconds_per_run)
    assert found.seconds_per_run > 0


def test_a_check_counts_settings_once_and_states_all_faults(tmp_path):
    text = "vary: {train.learning_rate: [0.1, 0.2, 0.3]}\n"
    assert check_sweep(sweeping.write(tmp_path, text), callbacks=[]).configs == 3
    text = "vary: {train.learning_rate: [0.1, -2], train.batch_size: [10, -1]}\n"
    with pytest.raises(ConfigError, match=r"vary: train.learning_rate=-2: .*\n.*batch_size=-1: "):
        check_sweep(sweeping.write(tmp_path, text), callbacks=[])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "vary: {train.batch_size: [10, -1]}\n",
            r"(?s)train.batch_size=-1:.*greater than or equal",
        ),
        ("vary: {train.learning_rat: [0.1]}\n", "did you mean 'learning_rate'"),
        ("vary: {model.layers.7.Dense.units: [10]}\n", "there is no item"),
        ("vary: {model.layers.1.Dense.unit: [10]}\n", "unit"),
    ],
)
def test_a_check_tries_every_value(text, message, tmp_path):
    with pytest.raises(CifarnetError, match=message):
        check_sweep(sweeping.write(tmp_path, text), callbacks=[])
    assert not (tmp_path / "runs").exists()


def linear(path, classes: int) -> None:
    """Write a network of one dense layer."""
    import keras

    inputs = keras.Input((32, 32, 3))
    outputs = keras.layers.Dense(classes)(keras.layers.Flatten()(inputs))
    keras.Model(inputs, outputs).save(path)


def test_a_check_loads_each_teacher(tmp_path):
    for classes in (7, 10):
        linear(tmp_path / f"{classes}.keras", classes)
    one, other = (f"{{teacher: {tmp_path / name}.keras}}" for name in ("10", "7"))
    text = f"vary: {{train.distill: [{one}, {other}]}}\n"
    with pytest.raises(ConfigError, match=r"7\.keras has 7 classes, expected the 10"):
        check_sweep(sweeping.write(tmp_path, text), callbacks=[])


def test_the_estimate_includes_the_teacher(tmp_path, monkeypatch):
    from cifarnet.training import distillation

    linear(tmp_path / "teacher.keras", 10)
    path = sweeping.write(tmp_path, RATE)
    base = tmp_path / "base.yaml"
    taught = f"train: {{distill: {{teacher: {tmp_path / 'teacher.keras'}}}, "
    base.write_text(base.read_text().replace("train: {", taught))
    made, seen = distillation.trainer, []

    def noted(config, dataset, teacher, *rest):
        seen.append(teacher)
        return made(config, dataset, teacher, *rest)

    monkeypatch.setattr(distillation, "trainer", noted)
    assert check_sweep(path, callbacks=[]).seconds > 0
    assert seen[0].record.artifact == str(tmp_path / "teacher.keras")
