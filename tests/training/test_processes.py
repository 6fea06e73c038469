"""One training of two and three processes: equal bits, failures, signals, resume."""

import json
import re
import signal

import numpy as np
import pytest
import yaml
from helpers.logical import BASE, Remote
from helpers.team import ADDRESSES, Started, network, numbers
from PIL import Image

from cifarnet import runs

CONFIG = {
    **BASE,
    "name": "together",
    "data": {**BASE["data"], "limit": 600, "augment": [{"kind": "flip"}]},
    "train": {**BASE["train"], "epochs": 2, "precision": "float32", "select": "best", "ema": 0.9},
}
LONG = {**CONFIG, "train": {**CONFIG["train"], "epochs": 5000}}
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def inside():
    with network() as words:
        yield words


@pytest.fixture
def start(inside, tmp_path):
    """A function of the workers' arguments that starts them; the first trains in tmp_path."""
    started = []

    def begin(*commands, **variables):
        started.append(Started(tmp_path, inside, commands, **variables))
        return started[-1]

    yield begin
    for one in started:
        one.kill()


@pytest.fixture
def config_file(tmp_path):
    """A function that writes a config and returns its path."""

    def write(document):
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(document))
        return path

    return write


def commands(count: int, *chief: object) -> list[list[object]]:
    """Arguments of a chief and of others that ask it."""
    addresses = ["--workers", ",".join(ADDRESSES[:count]), "--patience", 100, "--worker"]
    return [[*chief, *addresses, 0], *([*addresses, i] for i in range(1, count))]


def changing(folder, code: str) -> dict[str, str]:
    """Variables with which Python runs some code before the command."""
    (folder / "changed").mkdir()
    (folder / "changed" / "sitecustomize.py").write_text(code)
    return {"PYTHONPATH": str(folder / "changed")}


def the_run(folder) -> runs.Run:
    (path,) = folder.glob("runs/2*")
    return runs.Run(path)


@pytest.fixture(scope="module")
def undisturbed(inside, tmp_path_factory):
    """The run of two processes that nothing stopped."""
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    workers = Started(folder, inside, commands(2, "--config", "config.yaml"))
    try:
        assert [code for code, _ in workers.ends()] == [0, 0]
    finally:
        workers.kill()
    return the_run(folder)


def test_two_processes_give_the_bits_of_two_replicas_in_one(undisturbed):
    remote = Remote(2)
    try:
        expected = remote.call("trained", yaml.safe_dump(CONFIG))
    finally:
        remote.close()
    found = numbers(undisturbed)
    assert expected.keys() == {name for name in found if not name.startswith("selected/")}
    for name, array in expected.items():
        np.testing.assert_array_equal(array, found[name], err_msg=name)
    record = undisturbed.read_record()
    assert (record.status, record.workers) == ("finished", 2)
    assert "2 workers" in record.determinism.needs


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("worker", [0, 1])
def test_a_stopped_training_resumes_to_the_undisturbed_bits(
    start, config_file, tmp_path, undisturbed, stop, worker
):
    every = ["-o", "train.checkpoint.every_steps=1"]
    workers = start(*commands(2, "--config", config_file(CONFIG), *every))
    workers.wait_for("runs/2*/checkpoint/step-*2.npz")
    workers.send(stop, worker)
    ends = workers.ends()
    run = the_run(tmp_path)
    if stop == signal.SIGTERM:
        assert [code for code, _ in ends] == [130, 130]
        assert run.read_record().status == "interrupted"
        addresses = ",".join(ADDRESSES[:2])
        resume = f"cifarnet train --resume {run.path.relative_to(tmp_path)} --workers {addresses}"
        assert resume in ends[0][1]
        assert all(f"--workers {addresses} --worker 1" in text for _, text in ends)
    else:
        code, text = ends[1 - worker]
        assert code == 1
        assert f"lost worker {worker}" in text and "cifarnet train --resume" in text
        assert runs.status(run) == ("failed" if worker == 1 else "killed")
    # The other worker has no copy of the run.
    again = start(*commands(2, "--resume", run.path))
    assert [code for code, _ in again.ends()] == [0, 0]
    left, right = numbers(run), numbers(undisturbed)
    assert left.keys() == right.keys()
    for name, array in left.items():
        np.testing.assert_array_equal(array, right[name], err_msg=name)
    assert run.read_record().workers == 2


@pytest.mark.parametrize("frozen", [0, 1, 2])
def test_a_frozen_worker_ends_the_others_of_three(start, config_file, tmp_path, frozen):
    workers = start(*commands(3, "--config", config_file(LONG)))
    workers.wait_for("runs/2*/checkpoint/step-*.npz")
    workers.send(signal.SIGSTOP, frozen)
    others = [worker for i, worker in enumerate(workers.processes) if i != frozen]
    for other in others:
        _, text = other.communicate(timeout=60)
        assert other.returncode == 1
        assert "lost" in text
    workers.kill()
    assert runs.status(the_run(tmp_path)) == ("killed" if frozen == 0 else "failed")
    assert the_run(tmp_path).checkpoints()


def test_a_missing_worker_or_chief_is_told_before_anything_is_written(start, config_file, tmp_path):
    chief, first, second = commands(3, "--config", config_file(CONFIG))
    few = ["--patience", 15]
    ends = start([*chief, *few], [*first, "--patience", 60]).ends()
    assert [code for code, _ in ends] == [1, 1]
    assert all(re.search(r"worker 2 \(\S+\) did not come within 15 s", text) for _, text in ends)
    ((code, text),) = start([*second, "--patience", 3]).ends()
    assert (code, "worker 0" in text and "did not call" in text) == (1, True)
    assert not list(tmp_path.glob("runs/2*"))


@pytest.mark.parametrize("worker", [0, 1])
def test_sigterm_before_the_training_stops_as_ctrl_c_does(start, config_file, tmp_path, worker):
    arguments = commands(2, "--config", config_file(CONFIG))[worker]
    started = start(arguments, **changing(tmp_path, WAITS))
    started.wait_for("waiting")
    started.send(signal.SIGTERM, 0)
    ((code, text),) = started.ends()
    assert (code, "Stopped: by SIGTERM" in text) == (130, True)
    assert not list(tmp_path.glob("runs/2*"))


WAITS = """
from pathlib import Path
from cifarnet.training import meeting
listener = meeting._listener

def touched(workers):
    Path("waiting").touch()
    return listener(workers)

meeting._listener = touched
"""
DIES = """
import os
from cifarnet.training import cluster
cluster.connect = lambda workers: os._exit(9)
"""
OTHER_BITS = """
import numpy as np
from cifarnet.training.step import Trainer
validate = Trainer.validate

def changed(trainer):
    if trainer.step > trainer.steps_per_epoch:
        bias = trainer.model.trainable_variables[-1]
        bias.assign(np.nextafter(np.asarray(bias), np.float32(9)))
    return validate(trainer)

Trainer.validate = changed
"""


def test_a_worker_that_ends_while_it_is_connected_ends_the_chief(start, config_file, tmp_path):
    chief, other = commands(2, "--config", config_file(CONFIG))
    leader = start([*chief, "--patience", 30])
    start(other, **changing(tmp_path, DIES))
    ((code, text),) = leader.ends()
    assert code == 1 and "Timeout (0:00:50)" in text
    assert not list(tmp_path.glob("runs/2*"))


def test_weights_that_differ_end_the_training_with_the_checkpoint_before(
    start, config_file, tmp_path, undisturbed
):
    chief, other = commands(2, "--config", config_file(CONFIG))
    leader = start(chief)
    follower = start(other, **changing(tmp_path, OTHER_BITS))
    for started in (leader, follower):
        ((code, text),) = started.ends()
        assert code == 1
        assert re.search(r"the weights of worker 1 \(\S+\) differ from those of worker 0", text)
    run = the_run(tmp_path)
    record = run.read_record()
    assert (record.status, record.epochs_done) == ("failed", 2)
    assert len(run.checkpoints()) == 1  # of the first epoch
    again = start(*commands(2, "--resume", run.path))
    assert [code for code, _ in again.ends()] == [0, 0]
    for name, array in numbers(undisturbed).items():
        np.testing.assert_array_equal(array, numbers(run)[name], err_msg=name)


def test_local_processes_and_those_of_slurm_and_tf_config_train(
    start, config_file, tmp_path, undisturbed
):
    path = config_file(CONFIG)
    # Of two cores each has one thread, without the variable that the others here have.
    ((code, text),) = start(["--config", path, "--workers", 2], TF_NUM_INTRAOP_THREADS="").ends()
    assert code == 0, text
    cluster = {"worker": list(ADDRESSES[:2])}
    started = []
    for i in range(2):
        task = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": i}})
        started.append(start(["--config", path, "--workers", "env"], TF_CONFIG=task))
    assert [code for one in started for code, _ in one.ends()] == [0, 0]
    slurm = {
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_STEP_TASKS_PER_NODE": "2",
        "SLURM_JOB_ID": "1",
    }
    started = [
        start(["--config", path, "--workers", "slurm"], **slurm, SLURM_PROCID=str(i))
        for i in range(2)
    ]
    assert [code for one in started for code, _ in one.ends()] == [0, 0]
    found = [runs.Run(path) for path in tmp_path.glob("runs/2*")]
    assert len(found) == 3
    for run in found:
        for name, array in numbers(undisturbed).items():
            np.testing.assert_array_equal(array, numbers(run)[name], err_msg=name)


def test_workers_that_read_images_from_disk_give_the_bits_of_those_in_memory(
    start, config_file, tmp_path
):
    random = np.random.default_rng(0)
    for label, name in enumerate(("red", "green", "blue")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(40):
            pixels = random.integers(0, 200, (12, 12, 3), np.uint8)
            pixels[:, :, label] += 55
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{i:02}.png")
    images = {"source": "directory", "path": str(tmp_path / "photos"), "image_size": 12}
    found = []
    for share in (0.0, 1.0):
        document = {
            **CONFIG,
            "name": f"share{share:.0f}",
            "data": {**images, "validation_fraction": 0.2, "memory_share": share},
            "model": {"layers": ["Flatten", {"Dense": {"units": 3}}]},
            "train": {**CONFIG["train"], "batch_size": 15},
        }
        path = config_file(document)
        home = {"CIFARNET_HOME": str(tmp_path / "home")}
        assert [code for code, _ in start(*commands(2, "--config", path), **home).ends()] == [0, 0]
        (run,) = tmp_path.glob(f"runs/*share{share:.0f}")
        found.append(numbers(runs.Run(run)))
    assert found[0].keys() == found[1].keys()
    for name, array in found[0].items():
        np.testing.assert_array_equal(array, found[1][name], err_msg=name)
