"""Real trainings of a sweep that is killed: they end with the bits of undisturbed ones."""

import json
import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest
from helpers import crash, sweeping
from helpers.commands import forking

from cifarnet import runs
from cifarnet.sweeps import folder as folders
from cifarnet.sweeps import promote_trial, results, settings

pytestmark = pytest.mark.slow
RATES = [0.02, 0.03, 0.05, 0.08]


def begin(home: Path, epochs: int, **more: object) -> folders.SweepFolder:
    """Make a sweep of the network that has every state there is."""
    train = {**crash.CONFIG["train"], "epochs": epochs, "early_stopping": None}
    (home / "base.yaml").write_text(json.dumps({**crash.CONFIG, "train": train}))
    text = {"base": "base.yaml", "vary": {"train.learning_rate": RATES}, **more}
    (home / "real.sweep.yaml").write_text(json.dumps(text))
    return folders.begin_or_join(settings.read(home / "real.sweep.yaml"), "", home / "runs")


def started(path: Path, jobs: int = 1):
    process = forking().Process(target=sweeping.really_go_on, args=(path, jobs))
    process.start()
    return process


def undisturbed(run: runs.Run, home: Path) -> None:
    """The run has the bits of a training of its config, in a process of its own."""
    crash.whole(sweeping.really_train, run.config_file, home)
    crash.assert_same(crash.result(run), crash.result(runs.all_runs(home)[-1]))


def test_kills_of_sweeps_and_trainings(tmp_path):
    seed, chance = crash.seeds()
    folder = begin(tmp_path, 20, seeds=[0, 1])
    living = [started(folder.path) for _ in range(4)]
    for _ in range(6):
        time.sleep(chance.uniform(0.5, 8.0))
        victim = chance.randrange(4)
        if chance.random() < 0.5:
            kill_a_training(folder, chance)
            continue
        living[victim].kill()
        living[victim].join()
        living[victim] = started(folder.path)
    for process in living:
        process.join()
        assert process.exitcode == 0, seed
    sweeping.really_go_on(folder.path, 1)
    found = results.collect(folder, None).trials
    assert [(one.number, one.state) for one in found] == [(n, "complete") for n in range(4)]
    assert [one.values["train.learning_rate"] for one in found] == RATES
    made = runs.all_runs(folder.path)
    assert len(made) == 8
    assert sum(len(run.read_record().resumed) for run in made) > 0, "no kill came in time"
    for run in made:
        undisturbed(run, tmp_path / "alone")
        assert all(one.right is not False for one in runs.verify(run))


def kill_a_training(folder: folders.SweepFolder, chance: random.Random) -> None:
    running = [run for run in runs.all_runs(folder.path) if runs.status(run) == "running"]
    if running:
        with suppress(ProcessLookupError):
            os.kill(chance.choice(running).read_record().process.pid, signal.SIGKILL)


def test_a_pruned_trial_is_promoted_to_the_undisturbed_bits(tmp_path):
    folder = begin(tmp_path, 6, seeds=[0, 1], prune={"kind": "halving", "first": 2, "factor": 4})
    sweeping.really_go_on(folder.path, 1)
    pruned = [one for one in results.collect(folder, None).trials if one.state == "pruned"]
    assert pruned and all(one.epochs == 2 and list(one.runs) == ["0"] for one in pruned)
    found = promote_trial(folder.path, pruned[0].number, callbacks=[])
    assert found.state == "promoted" and found.epochs == 6
    for path in found.runs.values():
        undisturbed(runs.Run(Path(path)), tmp_path / "alone")


def test_jobs_divide_the_threads_and_who_continues_keeps_them(tmp_path):
    folder = begin(tmp_path, 20)
    process = started(folder.path, 2)
    while not any(run.checkpoints() for run in runs.all_runs(folder.path)):
        time.sleep(0.1)
    process.kill()
    process.join()
    sweeping.really_go_on(folder.path, 1)
    made = {run.read_record().name: run.read_record() for run in runs.all_runs(folder.path)}
    threads = [one.threads.intra_op for one in made.values()]
    cores = len(os.sched_getaffinity(0))
    assert threads == [max(1, cores // 2)] * 2 + [0, 0]
    for one in made.values():
        for resumed in one.resumed:
            assert not [note for note in resumed.notes if "threads" in note]
