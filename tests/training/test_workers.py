"""What `--workers` may say, and which processes that means."""

import json

import pytest

from cifarnet.errors import ConfigError
from cifarnet.training import Workers
from cifarnet.training.workers import expand_counts, expand_nodes


def test_addresses_need_the_number_of_this_process():
    workers = Workers.of("a:2222, b:2223", 1)
    assert workers.addresses == ("a:2222", "b:2223")
    assert (workers.index, workers.is_chief, workers.local) == (1, False, False)
    assert workers.names == ("worker 0 (a:2222)", "worker 1 (b:2223)")
    with pytest.raises(ConfigError, match="--worker 0"):
        Workers.of("a:2222,b:2223")
    with pytest.raises(ConfigError, match="--workers is slurm; leave out --worker"):
        Workers.of("slurm", 1)


def test_the_commands_that_resume_a_run_start_the_same_workers():
    assert Workers.of(3).resuming("r") == "cifarnet train --resume r --workers 3"
    assert Workers.of("a:1,b:2", 1).resuming("r") == (
        "cifarnet train --resume r --workers a:1,b:2 --worker 0, and with it "
        "cifarnet train --workers a:1,b:2 --worker 1"
    )
    assert Workers.of("a:1,b:2,c:3", 0).resuming("r").endswith("--worker N (1 to 2)")


@pytest.mark.parametrize(
    "text", ["a:0,b:1", "a:2222,b", "a:2222,b:x", "a:2222,a:2222", ":2222,b:1", "a:65536,b:1"]
)
def test_addresses_that_are_none_are_refused(text):
    with pytest.raises(ConfigError, match="workers"):
        Workers.of(text, 0)


def test_a_number_outside_the_workers_is_refused():
    for index in (2, -1):
        with pytest.raises(ConfigError, match="expected 0 to 1"):
            Workers.of("a:2222,b:2222", index)


def test_a_number_is_of_processes_on_this_machine():
    workers = Workers.of("3")
    assert workers.local and workers.is_chief
    assert len(set(workers.addresses)) == 3
    assert all(one.startswith("127.0.0.1:") for one in workers.addresses)
    for wrong in ("0", "999", "many"):
        with pytest.raises(ConfigError, match="expected"):
            Workers.of(wrong)


def test_tf_config_names_the_workers(monkeypatch):
    cluster = {"worker": ["b:1", "c:2"], "chief": ["a:3"]}
    task = {"type": "worker", "index": 1}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": task}))
    workers = Workers.of("env")
    assert (workers.addresses, workers.index) == (("a:3", "b:1", "c:2"), 2)
    assert workers.resuming("r") == "cifarnet train --resume r --workers env"
    for wrong in ("", "{}", '{"cluster": {"worker": ["a:1"]}, "task": {"type": "ps", "index": 0}}'):
        monkeypatch.setenv("TF_CONFIG", wrong)
        with pytest.raises(ConfigError, match="TF_CONFIG"):
            Workers.of("env")


def test_tasks_of_slurm_are_in_the_order_of_its_nodes(monkeypatch):
    variables = {
        "SLURM_STEP_NODELIST": "n[9-10]",
        "SLURM_STEP_TASKS_PER_NODE": "2,1",
        "SLURM_PROCID": "2",
        "SLURM_JOB_ID": "7",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    workers = Workers.of("slurm", patience=5.0)
    assert [one.split(":")[0] for one in workers.addresses] == ["n9", "n9", "n10"]
    first, second, third = (int(one.split(":")[1]) for one in workers.addresses)
    assert second == first + 1 and third == first
    assert (workers.index, workers.patience) == (2, 5.0)
    assert workers.resuming("r") == "srun cifarnet train --resume r --workers slurm"
    monkeypatch.setenv("SLURM_JOB_ID", "8")
    assert Workers.of("slurm").addresses[0] != workers.addresses[0]
    monkeypatch.delenv("SLURM_PROCID")
    with pytest.raises(ConfigError, match="srun"):
        Workers.of("slurm")


def test_lists_of_slurm():
    assert expand_nodes("n[01-03,7],login") == ["n01", "n02", "n03", "n7", "login"]
    assert expand_nodes("r[1-2]n[08-09]-x") == ["r1n08-x", "r1n09-x", "r2n08-x", "r2n09-x"]
    assert expand_counts("2(x3),1") == [2, 2, 2, 1]
    with pytest.raises(ValueError):
        expand_counts("2x3")
