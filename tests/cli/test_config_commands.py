"""`cifarnet config list` and `copy`, and names of shipped configs on the command line."""

import json

import pytest
from helpers.commands import cifarnet

from cifarnet import config


@pytest.fixture
def run(tmp_path):
    """A function that runs a command in an empty folder and returns what it prints."""

    def output(*arguments: str, code: int = 0) -> str:
        done = cifarnet(*arguments, cwd=tmp_path, code=code)
        return done.stdout if code == 0 else done.stderr

    return output


def test_list_shows_every_shipped_config_with_what_was_measured(run):
    shown = run("config", "list")
    for one in config.shipped():
        for text in (one.name, one.purpose, *one.commands, one.accuracy, one.time, one.measured):
            assert f"{text}\n" in shown
    assert "Next: cifarnet config copy NAME" in shown


def test_list_json_is_one_document(run):
    document = json.loads(run("config", "list", "--json"))
    article = next(one for one in document if one["name"] == "article")
    assert set(article) == {
        "name",
        "purpose",
        "commands",
        "accuracy",
        "time",
        "measured",
        "path",
    }
    assert article["commands"][0] == "cifarnet train --config article"


def test_copy_writes_a_file_to_edit_and_overwrites_nothing(run, tmp_path):
    assert "Next: cifarnet train --config article.yaml" in run("config", "copy", "article")
    assert config.load(tmp_path / "article.yaml") == config.load("article")
    assert "article.yaml exists already" in run("config", "copy", "article", code=1)
    copied = run("config", "copy", "smoke-cifar10", "mine.yaml", "--json")
    assert json.loads(copied) == {"name": "smoke-cifar10", "file": "mine.yaml"}
    assert config.load(tmp_path / "mine.yaml") == config.load("smoke-cifar10")
    assert "Did you mean 'smoke'?" in run("config", "copy", "smoek", code=1)


def test_show_takes_a_shipped_name(run):
    shown = run("config", "show", "smoke-cifar10", "-o", "seed=3")
    assert shown == config.dump(config.load("smoke-cifar10", ["seed=3"]))
    assert "Did you mean 'baseline'?" in run("config", "show", "basline", code=1)


def test_check_takes_a_shipped_name(run):
    assert "article is valid: article, " in run("config", "check", "article")


def test_data_info_takes_a_shipped_name(run):
    options = ["--config", "smoke", "-o", "data.limit=100", "--json"]
    document = json.loads(run("data", "info", *options))
    assert sum(document["splits"]["train"]["per_class"].values()) == 90
