"""Shipped configs are found by name in any folder, described by their comments, and copied."""

import dataclasses
from pathlib import Path

import pytest
import yaml
from helpers.configs import ROOT, refused

from cifarnet import config
from cifarnet.errors import ConfigError

NAMES = [
    "accurate",
    "airbench94",
    "article",
    "baseline",
    "fast94",
    "smoke",
    "smoke-cifar10",
    "tiny",
]
MINIMAL = "model: {layers: [Flatten]}\ntrain: {epochs: 3, learning_rate: 0.1}\n"


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_every_shipped_config_says_what_it_is_for_and_what_was_measured():
    found = config.shipped()
    assert [one.name for one in found] == NAMES
    for one in found:
        assert one.path.read_text() == (ROOT / "configs" / f"{one.name}.yaml").read_text()
        assert one.purpose.endswith(".")
        assert one.commands[0] == f"cifarnet train --config {one.name}"
        assert one.commands[1].startswith("cifarnet evaluate latest")
        assert " % on test images, " in one.accuracy
        assert one.time[0].isdigit()
        assert one.measured.startswith("on 2 ")
        assert "TensorFlow 2." in one.measured
    article = config.shipped()[NAMES.index("article")]
    assert article.purpose.startswith("The network of the article: two convolutions")
    assert article.accuracy.startswith("63.52 % on test images, seed 0")
    with pytest.raises(dataclasses.FrozenInstanceError):
        article.name = "x"


@pytest.mark.parametrize("name", NAMES)
def test_a_name_loads_what_the_file_loads(name):
    loaded = config.load(name, ["seed=7"])
    assert loaded == config.load(ROOT / "configs" / f"{name}.yaml", ["seed=7"])
    assert (loaded.name, loaded.seed) == (name, 7)


def test_a_base_may_be_a_shipped_name(tmp_path):
    (tmp_path / "in").mkdir()
    file = tmp_path / "in" / "mine.yaml"
    file.write_text("base: article\ntrain: {epochs: 3}\n")
    loaded = config.load(file)
    assert loaded.model == config.load("article").model
    assert (loaded.name, loaded.train.epochs, loaded.train.batch_size) == ("article", 3, 32)


def test_a_file_comes_before_the_shipped_config_of_its_name(tmp_path):
    (tmp_path / "in").mkdir()
    for folder, seed in ((tmp_path, 5), (tmp_path / "in", 6)):
        (folder / "article").write_text(MINIMAL + f"seed: {seed}\n")
        (folder / "mine.yaml").write_text("base: article\n")
    assert config.load("article").seed == 5
    assert config.load("mine.yaml").seed == 5
    assert config.load("in/mine.yaml").seed == 6
    (tmp_path / "smoke").mkdir()
    assert "smoke is a folder; expected a YAML file" in refused("smoke")


@pytest.mark.parametrize("name", ["./x/article", "x/article", "article.yaml", "/article"])
def test_a_path_or_file_name_is_not_a_shipped_name(name):
    message = refused(name)
    assert f"there is no config file {Path(name)}. Give a YAML file or the name of a " in message
    assert f"Did you mean 'article'? Shipped configs: {', '.join(NAMES)}" in message


def test_unknown_names_list_the_known_ones(tmp_path):
    known = f"Shipped configs: {', '.join(NAMES)}"
    assert refused("artcle").endswith(f"shipped config. Did you mean 'article'? {known}")
    assert refused("zzz") == (
        "there is no config file zzz. Give a YAML file or the name of a shipped config. " + known
    )
    (tmp_path / "mine.yaml").write_text("seed: 1\nbase: artcle\n")
    message = refused("mine.yaml")
    assert "artcle, which mine.yaml names as its base. Give a YAML file or" in message
    assert "shipped config. Did you mean 'article'? " in message
    assert message.endswith(". In . there is: mine.yaml")
    assert refused("mine") == "there is no config file mine. In . there is: mine.yaml"
    assert refused("zzz.yaml").endswith(". In . there is: mine.yaml")
    with pytest.raises(ConfigError, match=r"no shipped config artcle. Did you mean 'article'\?"):
        config.copy_shipped("artcle")
    with pytest.raises(ConfigError, match=r"no shipped config '\.\./article\\n'"):
        config.copy_shipped("../article\n")


def test_an_error_in_an_override_of_a_shipped_config_names_what_was_given():
    with pytest.raises(ConfigError, match=r"^article is not a valid config:\n  -o seed=x: seed: "):
        config.load("article", ["seed=x"])


@pytest.mark.parametrize("name", NAMES)
def test_a_copy_loads_anywhere_and_trains_itself(name, tmp_path):
    path = config.copy_shipped(name)
    assert path == Path(f"{name}.yaml")
    text = path.read_text()
    assert "$schema" not in text
    assert f"#   cifarnet train --config {name}.yaml\n" in text
    assert config.load(path) == config.load(name)
    (tmp_path / "in").mkdir()
    other = config.copy_shipped(name, tmp_path / "in" / "my own.yaml")
    assert f"--config '{other}'\n" in other.read_text()
    assert config.load(other) == config.load(name)
    body = [line for line in text.splitlines() if not line.startswith("#")]
    shipped = (ROOT / "configs" / path).read_text().splitlines()
    assert body == [line for line in shipped if not line.startswith("#")]


def test_a_copy_overwrites_nothing(tmp_path):
    Path("article.yaml").write_text("mine")
    with pytest.raises(ConfigError, match=r"article.yaml exists already and is not overwritten"):
        config.copy_shipped("article")
    assert Path("article.yaml").read_text() == "mine"
    Path("link.yaml").symlink_to("absent.yaml")
    for target in (tmp_path, "link.yaml"):
        with pytest.raises(ConfigError, match="exists already"):
            config.copy_shipped("article", target)
    for target in ("no/such/folder.yaml", "a\0b"):
        with pytest.raises(ConfigError, match="cannot write"):
            config.copy_shipped("article", target)


def test_a_file_name_of_several_lines_does_not_leave_the_comment():
    path = config.copy_shipped("article", "a\nseed: 3\n.yaml")
    assert config.load(path) == config.load("article")
    assert yaml.safe_load(path.read_text()) == yaml.safe_load(
        (ROOT / "configs" / "article.yaml").read_text()
    )


def test_the_schema_of_the_checkout_is_beside_the_shipped_configs():
    for one in config.shipped():
        first = one.path.read_text().splitlines()[0]
        assert first == "# yaml-language-server: $schema=schema.json"
        assert (one.path.parent / "schema.json").is_file()
