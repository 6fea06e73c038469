"""`cifarnet sweep` with real trainings."""

import json

import pytest
from helpers import crash
from helpers.commands import cifarnet
from helpers.configs import SMALL

from cifarnet import runs
from cifarnet.runs import Run

TEXT = """\
base: base.yaml
vary: {train.learning_rate: [0.04]}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of a sweep of one trial, run by the command, and what the command said."""
    home = tmp_path_factory.mktemp("command")
    (home / "base.yaml").write_text(json.dumps({**SMALL, "seed": 5}))
    (home / "one.sweep.yaml").write_text(TEXT)
    done = cifarnet("sweep", "run", "one.sweep.yaml", "--json", cwd=home)
    return home / "runs" / "sweeps" / "one", done


def test_a_run_of_a_sweep_has_the_bits_of_train(folder, tmp_path):
    path, _ = folder
    (run,) = runs.all_runs(path)
    base = ("--config", path.parents[2] / "base.yaml", "-o", "train.learning_rate=0.04")
    cifarnet("train", *base, cwd=tmp_path)  # in a process of its own: layers' names count up
    (alone,) = runs.all_runs(tmp_path / "runs")
    crash.assert_same(crash.result(run), crash.result(alone))
    record = run.read_record()
    assert record.command == f"cifarnet sweep run {path.relative_to(path.parents[2])}"
    assert record.config_file == str(path.parents[2] / "one.sweep.yaml")


def test_run_tells_each_trial_and_what_is_next(folder):
    path, done = folder
    document = json.loads(done.stdout)
    (trial,) = document["trials"]
    assert (trial["state"], trial["values"]) == ("complete", {"train.learning_rate": 0.04})
    assert (
        trial["value"]
        == Run(path / trial["runs"]["5"].rpartition("/")[2]).read_record().validation_accuracy
    )
    assert "runs/sweeps/one: 1 trial, 1 run, 1 at once; each loads TensorFlow" in done.stderr
    assert f"trial 0 complete, value {100 * trial['value']:.2f} %: train.learn" in done.stderr
    assert "Next: cifarnet sweep show runs/sweeps/one" in done.stderr
    assert document["cost"]["processor_seconds"] > 0


def test_show_writes_its_record_and_offers_fresh_seeds(folder):
    path, _ = folder
    home = path.parents[2]
    done = cifarnet("sweep", "show", "runs/sweeps/one", cwd=home)
    assert "in runs/sweeps/one/results.json; plots/: history.png, slices.png" in done.stdout
    command = "for seed in 6 7 8; do cifarnet train --config runs/sweeps/one/"
    assert f"Next: {command}" in done.stdout
    stored = json.loads((path / "results.json").read_text())
    assert (stored["best"], stored["importance"]) == (0, None)


def test_a_sweep_is_found_by_its_name_and_the_next_command_has_its_runs(folder, tmp_path):
    path, _ = folder
    home = path.parents[1]
    done = cifarnet("sweep", "show", "one", "--runs", home, cwd=tmp_path)
    assert (
        f"-o name=one-best --runs {home} && cifarnet evaluate latest --runs {home};" in done.stdout
    )


def test_what_cannot_be_done_is_said(folder):
    path, _ = folder
    home = path.parents[2]
    done = cifarnet("sweep", "promote", "runs/sweeps/one", 0, cwd=home, code=1)
    assert "received 0, which is complete. Pruned: none" in done.stderr
    done = cifarnet("sweep", "run", "two.yaml", cwd=home, code=1)
    assert "there is no sweep file two.yaml" in done.stderr
    done = cifarnet("sweep", "show", "runs", cwd=home, code=1)
    assert "expected the folder or the name of a sweep" in done.stderr
    done = cifarnet("sweep", "run", "one", "--jobs", "x", cwd=home, code=2)
    assert "'x' is not a valid integer." in done.stderr
    (home / "one.sweep.yaml").write_text(TEXT.replace("0.04", "0.05"))
    done = cifarnet("sweep", "run", "one.sweep.yaml", cwd=home, code=1)
    assert "is a sweep with other settings (vary)" in done.stderr
