"""`cifarnet config list` and `copy`, and names of shipped configs on the command line."""

import json

import pytest
from click.testing import CliRunner

from cifarnet import config
from cifarnet.cli import main


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(*arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == code, done.output
    return done.output


def test_list_shows_every_shipped_config_with_what_was_measured():
    shown = run("config", "list")
    for one in config.shipped():
        for text in (one.name, one.purpose, *one.commands, one.accuracy, one.time, one.measured):
            assert f"{text}\n" in shown
    assert "Next: cifarnet config copy NAME" in shown


def test_list_json_is_one_document():
    document = json.loads(CliRunner().invoke(main, ["config", "list", "--json"]).stdout)
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


def test_copy_writes_a_file_to_edit_and_overwrites_nothing(tmp_path):
    assert "Next: cifarnet train --config article.yaml" in run("config", "copy", "article")
    assert config.load("article.yaml") == config.load("article")
    assert "article.yaml exists already" in run("config", "copy", "article", code=1)
    done = CliRunner().invoke(main, ["config", "copy", "smoke-cifar10", "mine.yaml", "--json"])
    assert json.loads(done.stdout) == {"name": "smoke-cifar10", "file": "mine.yaml"}
    assert config.load("mine.yaml") == config.load("smoke-cifar10")
    assert "Did you mean 'smoke'?" in run("config", "copy", "smoek", code=1)


def test_show_takes_a_shipped_name():
    shown = run("config", "show", "smoke-cifar10", "-o", "seed=3")
    assert shown == config.dump(config.load("smoke-cifar10", ["seed=3"]))
    assert "Did you mean 'baseline'?" in run("config", "show", "basline", code=1)


def test_check_takes_a_shipped_name():
    assert "article is valid: article, " in run("config", "check", "article")


def test_data_info_takes_a_shipped_name():
    document = json.loads(
        CliRunner()
        .invoke(main, ["data", "info", "--config", "smoke", "-o", "data.limit=100", "--json"])
        .stdout
    )
    assert sum(document["splits"]["train"]["per_class"].values()) == 90
