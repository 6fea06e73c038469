"""Running a sweep: each trial once, whoever trains it, whatever is killed."""

import multiprocessing
import os
import random
import signal
import threading
import time
from pathlib import Path

import pytest
from helpers import sweeping
from helpers.sweeping import hold, run_here
from optuna.samplers import RandomSampler
from optuna.study import create_study

from cifarnet import runs
from cifarnet.callbacks import Callback, Callbacks
from cifarnet.errors import Interrupted, RunError
from cifarnet.sweeps import process as processing
from cifarnet.sweeps import results, settings, trial
from cifarnet.sweeps import run as running
from cifarnet.sweeps.folder import begin_or_join
from cifarnet.sweeps.queue import Queue

GRID = """\
vary:
  train.learning_rate: [0.1, 0.2]
  train.batch_size: [10, 20]
"""
POINTS = [(0.1, 10), (0.1, 20), (0.2, 10), (0.2, 20)]


def trials(folder):
    return results.collect(folder, None).trials


def points(folder):
    return [tuple(one.values.values()) for one in trials(folder)]


def wait_until(condition):
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_processes_share_a_grid(tmp_path):
    folder = sweeping.begin(tmp_path, GRID)
    processes = [sweeping.started(folder.path) for _ in range(3)]
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert points(folder) == POINTS
    found = trials(folder)
    assert [one.state for one in found] == ["complete"] * 4
    # The stub's accuracy after its 6 epochs: the rate and six thousandths.
    assert [one.value for one in found] == [pytest.approx(rate + 0.006) for rate, _ in POINTS]
    made = sweeping.states(folder)
    assert len(made) == 4 and all(state == expected for state, expected in made.values())


@pytest.mark.parametrize("victim", ["sweep", "training"])
def test_a_killed_process_loses_nothing(victim, tmp_path):
    folder = sweeping.begin(tmp_path, "vary: {train.learning_rate: [0.1, 0.2]}\n")
    hold(folder.path).touch()
    process = sweeping.started(folder.path)
    wait_until(lambda: trials(folder) and trials(folder)[0].epochs >= 2)
    run = folder.runs()[folder.run_name(0, 0)]
    os.kill(process.pid if victim == "sweep" else run.read_record().process.pid, signal.SIGKILL)
    if victim == "sweep":
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert trials(folder)[0].state == "waiting"
    hold(folder.path).unlink()
    if victim == "sweep":
        run_here(folder)
    else:
        process.join()
        assert process.exitcode == 0
    found = trials(folder)
    assert [one.state for one in found] == ["complete"] * 2
    assert [one.taken_over for one in found] == [victim == "sweep", 0]
    assert folder.runs()[folder.run_name(0, 0)] == run
    made = sweeping.states(folder)
    assert len(made) == 2 and all(state == expected for state, expected in made.values())


def kill_at_random(folder, kills, processes, url=None):
    """Run processes and kill them at random instants, as often; let the last ones end."""
    seed = int(os.environ.get("CRASH_SEED", random.SystemRandom().randrange(2**32)))
    print(f"replay with CRASH_SEED={seed}")
    chance = random.Random(seed)
    living = [sweeping.started(folder.path, url) for _ in range(processes)]
    told = {}
    for _ in range(kills):
        time.sleep(chance.uniform(0.0, 0.7))
        victim = chance.randrange(processes)
        living[victim].kill()
        living[victim].join()
        for one in results.collect(folder, url).trials:
            if one.state == "complete":
                assert told.setdefault(one.number, one.value) == one.value
            else:
                assert one.number not in told
        living[victim] = sweeping.started(folder.path, url)
    for process in living:
        process.join()
        assert process.exitcode == 0
    sweeping.go_on(folder.path, url)  # whose process was killed while no other one looked
    made = sweeping.states(folder)
    assert all(state == expected for state, expected in made.values())
    return results.collect(folder, url).trials


def test_kills_at_random_instants(tmp_path):
    text = f"{GRID}  train.momentum: [0.03]\n"
    found = kill_at_random(sweeping.begin(tmp_path, text), kills=4, processes=2)
    assert [tuple(one.values.values())[:2] for one in found] == POINTS
    assert {one.state for one in found} == {"complete"}


@pytest.mark.slow
def test_many_kills_at_random_instants(tmp_path):
    rates = ", ".join(str(round(0.01 * n, 2)) for n in range(1, 41))
    folder = sweeping.begin(
        tmp_path, f"vary: {{train.learning_rate: [{rates}], train.momentum: [0.05]}}\n"
    )
    found = kill_at_random(folder, kills=40, processes=4)
    assert [one.values["train.learning_rate"] for one in found] == [
        round(0.01 * n, 2) for n in range(1, 41)
    ]
    assert {one.state for one in found} == {"complete"}


def test_the_objective_is_the_mean_over_the_seeds(tmp_path):
    folder = sweeping.begin(tmp_path, "vary: {train.learning_rate: [0.4]}\nseeds: [0, 1, 5]\n")
    run_here(folder)
    (one,) = trials(folder)
    assert one.accuracies == {"0": 0.406, "1": 0.407, "5": 0.411}
    assert one.value == pytest.approx(0.408)
    assert one.std == pytest.approx(0.0026457513, abs=1e-9)  # sqrt((4 + 1 + 9) / 2) thousandths
    assert list(one.runs) == ["0", "1", "5"]
    runs.remove(folder.runs()[folder.run_name(0, 5)])
    (left,) = trials(folder)
    assert (left.value, left.accuracies) == (one.value, one.accuracies)
    assert list(left.runs) == ["0", "1"]


def test_threads_are_divided_and_stay_with_a_trial(tmp_path, monkeypatch):
    monkeypatch.setattr(running.system, "usable_cores", lambda: 9)
    folder = sweeping.begin(tmp_path, "vary: {train.learning_rate: [0.1, 0.2, 0.3]}\n")
    queue = Queue(folder, None)
    dead = queue.claim([], threads=7)
    dead.lock.release()
    run_here(folder, jobs=2)
    assert [one.threads for one in trials(folder)] == [7, 4, 4]


def test_what_is_random_does_not_depend_on_the_processes(tmp_path):
    text = "trials: 3\nsampler: random\nvary: {train.learning_rate: {log: [0.01, 0.9]}}\n"
    folder = sweeping.begin(tmp_path, text)
    run_here(folder, jobs=2)
    for one in trials(folder):
        study = create_study(sampler=RandomSampler(seed=one.number))
        expected = study.ask().suggest_float("train.learning_rate", 0.01, 0.9, log=True)
        assert one.values == {"train.learning_rate": expected}
    assert len({one.value for one in trials(folder)}) == 3


def test_a_surplus_trial_of_another_machine_is_not_trained(tmp_path):
    """Two machines that do not see each other's locks may both begin the last trial."""
    folder = sweeping.begin(tmp_path, "vary: {train.learning_rate: [0.1, 0.2]}\n")
    queue = Queue(folder, None)
    before = queue.study.get_trials
    queue.study.get_trials = lambda **_: before()[:1]  # as it was a moment ago
    claims = [queue.claim([0, 1], 0) for _ in range(3)]
    assert [one and one.number for one in claims] == [0, 1, None]
    for one in claims[:2]:
        one.lock.release()
    run_here(folder)
    assert [(one.number, one.state) for one in trials(folder)] == [(0, "complete"), (1, "complete")]


def test_a_trial_of_another_folder_is_left_alone(tmp_path):
    folder = sweeping.begin(tmp_path, "vary: {train.learning_rate: [0.1, 0.2]}\n")
    queue = Queue(folder, None)
    claim = queue.claim([], 0)
    claim.trial.set_user_attr("folder", "of another machine")
    claim.lock.release()
    run_here(folder)
    assert [one.state for one in trials(folder)] == ["running", "complete"]


# --- failures -------------------------------------------------------------------------


def test_a_setting_that_cannot_be_trained_fails_alone(tmp_path):
    text = "vary: {train.learning_rate: [0.1], train.weight_decay: [1, 0]}\n"
    folder = sweeping.begin(tmp_path, text)
    run_here(folder)
    failed, good = trials(folder)
    assert (failed.state, failed.value) == ("failed", None)
    assert failed.reason == "the loss is not finite"
    assert good.state == "complete"


def test_values_that_do_not_go_together_fail_alone(tmp_path):
    text = "vary: {train.select: [last], data.augment: [[], [{kind: crop, pixels: 99}]]}\n"
    folder = sweeping.begin(tmp_path, text)
    run_here(folder)
    assert [one.state for one in trials(folder)] == ["complete", "failed"]
    assert "less than or equal to 16" in trials(folder)[1].reason


def test_a_machine_that_cannot_train_leaves_the_trial(tmp_path):
    text = "vary: {train.learning_rate: [0.1], train.weight_decay: [2, 0]}\n"
    folder = sweeping.begin(tmp_path, text)
    with pytest.raises(RunError, match=r"the images are not here\. The trial stays"):
        run_here(folder)
    assert [one.state for one in trials(folder)] == ["waiting"]
    run_here(folder)
    assert [one.state for one in trials(folder)] == ["complete"] * 2


def test_a_training_that_dies_again_and_again_fails(tmp_path):
    text = "vary: {train.learning_rate: [0.1], train.weight_decay: [3]}\n"
    folder = sweeping.begin(tmp_path, text)
    run_here(folder)
    assert trials(folder)[0].state == "complete"  # it died once
    text = "vary: {train.learning_rate: [0.1], train.epochs: [7]}\n"
    folder = sweeping.begin(tmp_path / "runs", text)
    with sweeping.forked_trainings():
        running.work_on(folder, None, 1, Callbacks([]), sweeping.dying)
    (one,) = trials(folder)
    assert (one.state, one.reason) == ("failed", "its process ended 3 times in a row: SIGKILL")


def test_sigterm_stops_a_sweep_that_then_goes_on(tmp_path):
    folder = sweeping.begin(tmp_path, "vary: {train.learning_rate: [0.1]}\n")
    hold(folder.path).touch()

    class Terminate(Callback):
        def on_stage(self, what):
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted, match="goes on with: cifarnet sweep run"):
        run_here(folder, callbacks=[Terminate()])
    assert trials(folder)[0].state == "waiting"
    assert runs.all_runs(folder.path)[0].read_record().stop_reason == "the sweep stopped"
    hold(folder.path).unlink()
    run_here(folder)
    assert trials(folder)[0].state == "complete"
    ((state, expected),) = sweeping.states(folder).values()
    assert state == expected


def test_the_second_ctrl_c_does_not_wait_and_says_how_to_go_on(tmp_path):
    folder = sweeping.begin(tmp_path, "vary: {train.learning_rate: [0.1]}\n")
    hold(folder.path).touch()

    class Press(Callback):
        stages = ()

        def on_stage(self, what):
            self.stages = (*self.stages, what)
            os.kill(os.getpid(), signal.SIGINT)

    press = Press()
    with pytest.raises(Interrupted, match=r"goes on with: cifarnet sweep run \S+ --jobs 2$"):
        run_here(folder, jobs=2, callbacks=[press])
    first, last = press.stages
    assert first == "training trial 0 (seed 0, loading TensorFlow, then epoch 1)"
    assert last.startswith("stopping after the current step: trial 0 (seed 0, ")
    hold(folder.path).unlink()
    run_here(folder)
    assert trials(folder)[0].state == "complete"


def test_a_process_that_is_signaled_at_its_start_and_hangs_at_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(processing, "_END_SECONDS", 0.1)
    monkeypatch.setattr(trial, "_MOST_DEATHS", 1)
    folder = sweeping.begin(tmp_path, "vary: {train.learning_rate: [0.1]}\n")

    class Signal(Callback):
        def on_stage(self, what):
            if "loading" in what:
                for child in multiprocessing.active_children():
                    os.kill(child.pid, signal.SIGTERM)
                    os.kill(child.pid, signal.SIGINT)

    running.work_on(folder, None, 1, Callbacks([Signal()]), sweeping.hanging)
    (one,) = trials(folder)
    assert (one.state, one.value) == ("complete", pytest.approx(0.106))


def test_a_storage_that_is_away_for_a_while(tmp_path, monkeypatch):
    """Its journal is moved away in the first epochs; the training continues, and all is told."""
    monkeypatch.setattr(running, "_AGAIN_SECONDS", 0.1)
    text = "vary: {train.learning_rate: [0.1, 0.2], train.momentum: [0.05]}\n"
    folder = sweeping.begin(tmp_path, text)
    away = folder.journal_file.with_suffix(".away")

    class Move(Callback):
        warnings = ()

        def on_stage(self, what):
            if folder.journal_file.exists() and not self.warnings:
                folder.journal_file.rename(away)
                threading.Timer(1.5, away.rename, [folder.journal_file]).start()

        def on_warning(self, text):
            self.warnings = (*self.warnings, text)

    move = Move()
    run_here(folder, callbacks=[move])
    assert len(move.warnings) == 2
    assert move.warnings[0].startswith("the storage is away: [Errno 2]")
    assert move.warnings[1] == "the storage is there again"
    stored = Queue(folder, None).trials()
    assert [one.value for one in stored] == [pytest.approx(0.106), pytest.approx(0.206)]
    assert [sorted(one.intermediate_values) for one in stored] == [[1, 2, 3, 4, 5, 6]] * 2
    made = sweeping.states(folder)
    assert all(state == expected for state, expected in made.values())


def test_a_sweep_of_other_settings_is_not_joined(tmp_path):
    sweeping.begin(tmp_path, GRID)
    with pytest.raises(RunError, match=r"other settings \(vary, trials\).*another `name:`"):
        sweeping.begin(tmp_path, "vary: {train.learning_rate: [0.1]}\n")


def test_a_new_version_with_more_keys_goes_on_with_a_sweep(tmp_path):
    """A key that it adds to the config changes the digest, not what the sweep trains."""
    folder = sweeping.begin(tmp_path, GRID)
    runs.write_json(folder.path / "sweep.json", {**folder.record.to_json(), "digest": "0"})
    assert sweeping.begin(tmp_path, GRID).record.folder_id == folder.record.folder_id
    swapped = "vary:\n  train.batch_size: [10, 20]\n  train.learning_rate: [0.1, 0.2]\n"
    with pytest.raises(RunError, match=r"other settings \(vary\)"):
        sweeping.begin(tmp_path, swapped)


def test_a_folder_of_images_is_part_of_a_sweep_and_not_of_its_study(tmp_path, monkeypatch):
    for machine in ("one", "two"):
        (tmp_path / machine).mkdir()
    made = [sweeping.begin(tmp_path / name, GRID, images="photos") for name in ("one", "two")]
    assert made[0].record.study == made[1].record.study
    monkeypatch.chdir(tmp_path / "two")
    path = sweeping.write(Path("../one"), GRID, images="photos")
    assert begin_or_join(settings.read(path), "", tmp_path / "one/runs") == made[0]
    path = sweeping.write(Path("../one"), GRID, images="others")
    with pytest.raises(RunError, match=r"other settings \(base data.path: .*photos -> .*others"):
        begin_or_join(settings.read(path), "", tmp_path / "one/runs")


def test_a_journal_that_is_gone_is_not_begun_anew(tmp_path):
    folder = sweeping.begin(tmp_path, GRID)
    folder.journal_file.unlink()
    with pytest.raises(RunError, match=r"cannot open the storage .*journal.log"):
        run_here(folder)
    assert not folder.journal_file.exists()


def test_a_half_written_line_of_the_journal_is_dropped(tmp_path):
    folder = sweeping.begin(tmp_path, "vary: {train.learning_rate: [0.1, 0.2]}\n")
    Queue(folder, None).claim([], 0).lock.release()
    with folder.journal_file.open("a") as file:
        file.write('{"op_code": 4, "worker')
    run_here(folder)
    assert [one.state for one in trials(folder)] == ["complete"] * 2
