"""Run directories: made new, written whole, locked, found."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cifarnet import rundir
from cifarnet.errors import RunError
from cifarnet.rundir import RunDir


def make(root: Path, name: str, **manifest) -> RunDir:
    run = RunDir(root / name)
    run.path.mkdir(parents=True)
    run.update_manifest(**manifest)
    return run


def test_runs_of_one_second_get_directories_of_their_own(tmp_path):
    made = [rundir.create("a", tmp_path).path.name for _ in range(5)]
    assert len(set(made)) == 5
    assert all(len(name.split("-")[0]) == 8 and "-a" in name for name in made)


def test_many_processes_creating_at_once_get_directories_of_their_own(tmp_path):
    code = "import sys; from pathlib import Path; from cifarnet import rundir\n"
    code += "for _ in range(20): print(rundir.create('x', Path(sys.argv[1])).path)"
    started = [
        subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    made = [line for process in started for line in process.communicate()[0].split()]
    assert len(made) == len(set(made)) == 80


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "a.txt"
    rundir.write_text(path, "old")

    def half(file):
        file.write(b"ne")
        raise OSError(28, "No space left on device")

    with pytest.raises(RunError, match=r"a\.txt: No space left on device\. Make room"):
        rundir.write_atomic(path, half)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_writing_where_a_file_stands_in_the_way_is_a_stated_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot write"):
        rundir.write_text(tmp_path / "file" / "a.txt", "x")
    with pytest.raises(RunError, match="cannot write"):
        rundir.create("a", tmp_path / "file" / "runs")


def test_written_files_follow_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        rundir.write_text(tmp_path / "a", "x")
    finally:
        os.umask(old)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_find_takes_a_path_a_name_and_latest(tmp_path):
    names = ["20260101-000000-b", "20260101-000000-a", "20260101-000000-a-2", "20260102-000000-a"]
    for name in names:
        make(tmp_path, name)
    found = [rundir.find(text, tmp_path).path.name for text in (str(tmp_path / names[0]), names[1])]
    assert found == names[:2]
    assert rundir.find("latest", tmp_path).path.name == "20260102-000000-a"


def test_the_tenth_run_of_a_second_is_later_than_the_second(tmp_path):
    for number in ("", *(f"-{n}" for n in range(2, 12))):
        make(tmp_path, f"20260101-000000-smoke-cifar10{number}")
    assert rundir.find("latest", tmp_path).path.name == "20260101-000000-smoke-cifar10-11"


def test_find_says_what_there_is(tmp_path):
    make(tmp_path, "20260101-000000-a")
    with pytest.raises(RunError, match=r"received 'nope'.*20260101-000000-a.*runs list"):
        rundir.find("nope", tmp_path)
    with pytest.raises(RunError, match=r"received 'latest'.*none"):
        rundir.find("latest", tmp_path / "empty")


def test_a_second_process_is_refused_and_told_by_whom(tmp_path):
    run = make(tmp_path, "r", status="running")
    code = (
        "import sys; from pathlib import Path; from cifarnet.rundir import *\n"
        "with lock(RunDir(Path(sys.argv[1]))): print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, run.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout.readline() == b"held\n"
        assert rundir.status(run) == "running"
        with (
            pytest.raises(RunError, match=f"being written by process {holder.pid} on"),
            rundir.lock(run),
        ):
            pass
        with pytest.raises(RunError, match="in use"):
            rundir.remove(run)
    finally:
        holder.kill()
        holder.wait()
    assert rundir.status(run) == "killed"  # the lock died with its process
    with rundir.lock(run):
        assert run.read_manifest()["process"]["pid"] == os.getpid()


def test_status_of_a_damaged_manifest(tmp_path):
    run = make(tmp_path, "r", status="finished")
    assert rundir.status(run) == "finished"
    run.manifest.write_text("{")
    assert rundir.status(run) == "damaged"
    with pytest.raises(RunError, match=r"cannot read .*run\.json"):
        run.read_manifest()
    assert rundir.summary(run)["status"] == "damaged"


def test_summary_reads_the_test_accuracy_of_an_evaluation(tmp_path):
    run = make(tmp_path, "r", status="finished", validation_accuracy=0.5, seconds=3.0)
    assert rundir.summary(run)["test_accuracy"] is None
    rundir.write_json(run.evaluation / "test.json", {"accuracy": 0.75})
    summary = rundir.summary(run)
    assert (summary["test_accuracy"], summary["validation_accuracy"]) == (0.75, 0.5)


def test_remove_deletes_the_directory_only(tmp_path):
    run, other = make(tmp_path, "a"), make(tmp_path, "b")
    rundir.remove(run)
    assert not run.path.exists()
    assert json.loads(other.manifest.read_text()) == {}
