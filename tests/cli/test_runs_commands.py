"""`cifarnet runs` and `--runs`: where runs are, in places that cannot be written too."""

import json
from pathlib import Path

import pytest
from helpers.commands import cifarnet
from helpers.configs import ROOT

from cifarnet import runs

TINY = ["-o", "data.limit=200", "-o", "train.epochs=1", "-o", "train.precision=float32"]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with a run in the folder `mine`."""
    folder = tmp_path_factory.mktemp("place")
    command = ["train", "--config", ROOT / "configs" / "smoke.yaml", *TINY]
    done = cifarnet(*command, "--runs", "mine", cwd=folder)
    assert (
        "schedule   1 epoch, " in done.stdout and "all epochs done, after 1 epoch\n" in done.stdout
    )
    assert "Next: cifarnet evaluate mine/" in done.stdout
    assert [path.name for path in folder.iterdir()] == ["mine"]
    return folder


def test_the_folder_of_runs_is_an_option_or_a_variable(place, monkeypatch):
    (run,) = runs.all_runs(place / "mine")
    for where in ("option", "variable"):
        option = ["--runs", "mine"] if where == "option" else []
        if where == "variable":
            monkeypatch.setenv("CIFARNET_RUNS", str(place / "mine"))
        listed = cifarnet("runs", "list", *option, cwd=place).stdout
        assert listed.startswith(f"runs in {place / 'mine'}\n") and run.path.name in listed
        shown = cifarnet("runs", "show", "latest", *option, "--json", cwd=place).stdout
        assert Path(json.loads(shown)["run"]).name == run.path.name
    # The option has precedence.
    assert "no runs in " in cifarnet("runs", "list", "--runs", "other", cwd=place).stdout


def test_names_are_whole_where_the_output_is_no_terminal(place, tmp_path):
    (run,) = runs.all_runs(place / "mine")
    name = f"{run.path.name}-{'long' * 30}"
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / name).symlink_to(run.path)
    assert f"│ {name} │" in cifarnet("runs", "list", cwd=tmp_path).stdout


def test_an_empty_list_says_where_it_looked(tmp_path):
    done = cifarnet("runs", "list", cwd=tmp_path)
    assert done.stdout.startswith(f"no runs in {tmp_path / 'runs'}; --runs DIR or CIFARNET_RUNS")
    assert list(tmp_path.iterdir()) == []
    error = cifarnet("runs", "show", "latest", cwd=tmp_path, code=1).stderr
    assert f"Newest runs in {tmp_path / 'runs'}: none" in error and "--runs DIR" in error


def test_a_read_only_place_is_listed_shown_and_verified(place):
    (run,) = runs.all_runs(place / "mine")
    record = run.read_record()
    run.update_record(status="running")  # a process of which nothing can be known from here
    paths = [run.path, run.path / ".lock"]
    modes = [path.stat().st_mode for path in paths]
    for path in paths:
        path.chmod(path.stat().st_mode & ~0o222)
    try:
        (one,) = json.loads(cifarnet("runs", "list", "--runs", "mine", "--json", cwd=place).stdout)
        shown = cifarnet("runs", "show", run.path, cwd=place).stdout
        verified = cifarnet("runs", "verify", run.path, cwd=place).stdout
    finally:
        for path, mode in zip(paths, modes, strict=True):
            path.chmod(mode)
        run.update_record(status=record.status)
    assert one["status"] == "unknown"
    assert "status      unknown" in shown
    assert "files with a checksum are what the record says" in verified


def test_what_a_record_does_not_have_is_shown_as_a_dash(tmp_path):
    run = runs.create("bare", tmp_path / "runs")
    run.update_record(status="failed")
    shown = cifarnet("runs", "show", "latest", cwd=tmp_path).stdout
    assert "None" not in shown
    rows = dict(line.split(maxsplit=1) for line in shown.splitlines() if len(line.split()) == 2)
    for name in ("command", "precision", "time", "machine", "commit", "test"):
        assert rows[name] == "-", name


@pytest.mark.parametrize("group", [[], ["runs"], ["data"], ["config"]], ids=" ".join)
def test_one_line_summaries_are_whole(group, tmp_path):
    listed = cifarnet(*group, "--help", cwd=tmp_path).stdout.split("Commands:")[1]
    assert "..." not in listed
    assert listed.rstrip().endswith(".")
