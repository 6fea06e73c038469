"""Run directories: made new, written whole, locked, found."""

import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from datetime import datetime, timezone
from pathlib import Path

import filelock
import numpy as np
import pytest

from cifarnet import runs
from cifarnet.errors import ArtifactError, RunError
from cifarnet.runs import Run, RunRecord, RunSummary
from cifarnet.runs.records import FileRecord, ProcessRecord


def evaluation(accuracy) -> dict:
    """The document of an evaluation."""
    numbers = dict.fromkeys(["count", "loss", "top5_accuracy", "expected_calibration_error"], 1)
    lists = ["calibration", "per_class", "classes", "confusion_matrix", "mistakes"]
    interval = {"accuracy_interval": [0.4, 0.6]}
    return {**numbers, **{key: [] for key in lists}, **interval, "accuracy": accuracy}


def make(root: Path, name: str, **values) -> Run:
    run = Run(root / name)
    run.path.mkdir(parents=True)
    run.update_record(**values)
    return run


def test_runs_of_one_second_get_directories_of_their_own(tmp_path):
    made = [runs.create("a", tmp_path).path.name for _ in range(5)]
    assert len(set(made)) == 5
    assert all(len(name.split("-")[0]) == 8 and "-a" in name for name in made)


def test_many_processes_creating_at_once_get_directories_of_their_own(tmp_path):
    code = "import sys; from pathlib import Path; from cifarnet import runs\n"
    code += "for _ in range(20): print(runs.create('x', Path(sys.argv[1])).path)"
    started = [
        subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    made = [line for process in started for line in process.communicate()[0].split()]
    assert len(made) == len(set(made)) == 80


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "a.txt"
    runs.write_text(path, "old")

    def half(file):
        file.write(b"ne")
        raise OSError(28, "No space left on device")

    with pytest.raises(RunError, match=r"a\.txt: No space left on device\. Make room"):
        runs.write_atomic(path, half)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_writing_where_a_file_stands_in_the_way_is_a_stated_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot write"):
        runs.write_text(tmp_path / "file" / "a.txt", "x")
    with pytest.raises(RunError, match="cannot write"):
        runs.create("a", tmp_path / "file" / "runs")


def test_written_files_follow_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        runs.write_text(tmp_path / "a", "x")
    finally:
        os.umask(old)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_find_takes_a_path_a_name_and_latest(tmp_path):
    names = ["20260101-000000-b", "20260101-000000-a", "20260101-000000-a-2", "20260102-000000-a"]
    for name in names:
        make(tmp_path, name)
    found = [
        runs.open_run(text, tmp_path).path.name for text in (str(tmp_path / names[0]), names[1])
    ]
    assert found == names[:2]
    assert runs.open_run("latest", tmp_path).path.name == "20260102-000000-a"


def test_the_tenth_run_of_a_second_is_later_than_the_second(tmp_path):
    for number in ("", *(f"-{n}" for n in range(2, 12))):
        make(tmp_path, f"20260101-000000-smoke-cifar10{number}")
    assert runs.open_run("latest", tmp_path).path.name == "20260101-000000-smoke-cifar10-11"


def test_find_says_what_there_is(tmp_path):
    make(tmp_path, "20260101-000000-a")
    with pytest.raises(RunError, match=r"received 'nope'.*20260101-000000-a.*runs list"):
        runs.open_run("nope", tmp_path)
    with pytest.raises(RunError, match=r"received 'latest'.*none"):
        runs.open_run("latest", tmp_path / "empty")


def test_a_second_process_is_refused_with_the_holder(tmp_path):
    run = make(tmp_path, "r", status="running")
    code = (
        "import sys; from pathlib import Path; from cifarnet.runs import *\n"
        "with lock(Run(Path(sys.argv[1]))): print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, run.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout.readline() == b"held\n"
        assert runs.status(run) == "running"
        with (
            pytest.raises(RunError, match=f"being written by process {holder.pid} on"),
            runs.lock(run),
        ):
            pass
        with pytest.raises(RunError, match="in use"):
            runs.remove(run)
    finally:
        holder.kill()
        holder.wait()
    assert runs.status(run) == "killed"  # the lock died with its process
    with runs.lock(run):
        assert run.read_record().process.pid == os.getpid()


def test_status_of_a_damaged_record(tmp_path):
    run = make(tmp_path, "r", status="finished")
    assert runs.status(run) == "finished"
    run.record_file.write_text("{")
    assert runs.status(run) == "damaged"
    with pytest.raises(RunError, match=r"cannot read .*run\.json"):
        run.read_record()
    assert runs.summary(run).status == "damaged"


def test_summary_reads_the_test_accuracy_of_an_evaluation(tmp_path):
    run = make(tmp_path, "r", status="finished", validation_accuracy=0.5, seconds=3.0)
    assert runs.summary(run).test_accuracy is None
    runs.write_json(run.evaluation_folder / "test.json", evaluation(0.75))
    summary = runs.summary(run)
    assert (summary.test_accuracy, summary.validation_accuracy) == (0.75, 0.5)


def test_remove_deletes_the_directory_only(tmp_path):
    run, other = make(tmp_path, "a"), make(tmp_path, "b")
    before = other.record_file.read_text()
    runs.remove(run)
    assert not run.path.exists()
    assert other.record_file.read_text() == before


# --- leftovers ------------------------------------------------------------------------


def test_what_a_dead_process_left_is_cleared_away_by_the_next_holder(tmp_path):
    run = make(tmp_path, "r", status="running")
    (run.path / "exports").mkdir()
    (run.path / "exports" / ".12.tmp.onnx").mkdir()
    (run.path / "exports" / ".12.tmp.onnx" / "half").write_text("")
    (run.path / ".12.tmp.history.csv").write_text("")
    (run.path / ".hidden").write_text("the user's own")
    moved = run.path / "exports" / ".12.old.keras"  # between two renames
    moved.mkdir()
    (moved / "model.keras").write_text("whole")
    replaced = run.path / "exports" / ".12.old.litert"  # after them
    replaced.mkdir()
    (run.path / "exports" / "litert").mkdir()
    with runs.lock(run):
        pass
    left = {str(path.relative_to(run.path)) for path in run.path.rglob("*")}
    assert left == {
        ".hidden",
        ".lock",
        "run.json",
        "exports",
        "exports/keras",
        "exports/keras/model.keras",
        "exports/litert",
    }


def test_a_new_run_clears_away_a_half_made_one_but_nothing_inside_runs(tmp_path):
    half = tmp_path / ".7.tmp.20260101-000000-a"
    half.mkdir()
    (half / "run.json").write_text("{}")
    other = make(tmp_path, "b")
    (other.path / ".7.tmp.x").write_text("another command's")
    assert runs.all_runs(tmp_path) == [other]
    run = runs.create("a", tmp_path, {"config.yaml": "x: é\n"}, RunRecord(status="running"))
    assert not half.exists()
    assert (other.path / ".7.tmp.x").exists()
    assert run.config_file.read_text(encoding="utf-8") == "x: é\n"
    record = run.read_record()
    digest = hashlib.sha256("x: é\n".encode()).hexdigest()
    assert record.status == "running"
    assert record.files == {"config.yaml": FileRecord(bytes=6, sha256=digest)}


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "deep" / "folder"
    with runs.replace_folder(path) as new:
        (new / "a").write_text("old")
        assert not path.exists()
    with pytest.raises(RuntimeError), runs.replace_folder(path) as new:
        (new / "a").write_text("half")
        raise RuntimeError
    assert (path / "a").read_text() == "old"
    with runs.replace_folder(path) as new:
        (new / "b").write_text("new")
    assert [file.name for file in path.iterdir()] == ["b"]
    assert [file.name for file in path.parent.iterdir()] == ["folder"]
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(RunError, match=r"cannot write .*file.x: "),
        runs.replace_folder(tmp_path / "file" / "x"),
    ):
        pass


def test_a_link_that_is_left_over_is_removed_and_not_followed(tmp_path):
    run, elsewhere = make(tmp_path / "runs", "r"), tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").write_text("")
    (run.path / ".1.tmp.x").symlink_to(elsewhere)
    runs.remove_leftovers(run.path)
    assert not (run.path / ".1.tmp.x").is_symlink()
    assert (elsewhere / "kept").exists()


# --- waiting --------------------------------------------------------------------------


def test_a_lock_can_be_waited_for(tmp_path):
    run = make(tmp_path, "r", process=ProcessRecord(pid=4, host="h"))
    held = filelock.FileLock(run.path / ".lock", thread_local=False)
    held.acquire()
    with pytest.raises(RunError, match=r"by process 4 on h\. Wait"), runs.lock(run):
        pass
    with pytest.raises(RunError, match="is in use"):
        runs.remove(run)
    threading.Timer(0.2, held.release).start()
    with runs.lock(run, wait=60.0):
        process = run.read_record().process
    assert process == ProcessRecord(pid=os.getpid(), host=socket.gethostname())


def test_a_look_whether_a_run_is_locked_does_not_stop_who_begins_to_write_it(tmp_path, monkeypatch):
    monkeypatch.setattr(runs.directory, "_PROBE_SECONDS", 60.0)
    run = make(tmp_path, "r")
    probe = filelock.FileLock(run.path / ".lock", thread_local=False)  # as `is_locked` holds it
    probe.acquire()
    threading.Timer(0.1, probe.release).start()
    with runs.lock(run):
        assert runs.is_locked(run)


def test_who_holds_a_run_with_a_damaged_record_is_not_known(tmp_path):
    run = make(tmp_path, "r")
    run.record_file.write_text("[")
    with (
        filelock.FileLock(run.path / ".lock"),
        pytest.raises(RunError, match=r"process \? on \?"),
        runs.lock(run),
    ):
        pass


# --- checksums ------------------------------------------------------------------------


@pytest.fixture
def checked(tmp_path) -> Run:
    """A finished run with an evaluation, all of it in the record."""
    run = runs.create("a", tmp_path, {"config.yaml": "x"}, RunRecord(status="finished"))
    with (
        runs.lock(run),
        runs.changing(run, run.history_file, run.model_file, run.evaluation_folder),
    ):
        runs.write_text(run.history_file, "epoch")
        runs.write_text(run.model_file, "weights")
        runs.write_text(run.evaluation_folder / "test.json", "{}")
        assert set(run.read_record().files) == {"config.yaml"}
    return run


def verdicts(run: Run) -> dict[str, bool | None]:
    return {one.name: one.right for one in runs.verify(run)}


def test_a_run_is_what_its_record_says(checked):
    right = dict.fromkeys(
        ["config.yaml", "evaluation/test.json", "history.csv", "model.keras"], True
    )
    assert verdicts(checked) == right
    digest = hashlib.sha256(b"weights").hexdigest()
    assert checked.read_record().files["model.keras"] == FileRecord(bytes=7, sha256=digest)
    found = {one.name: one.found for one in runs.verify(checked)}
    assert found["model.keras"] == f"SHA-256 {digest}"
    for unrecorded in ("log.txt", "plots/curves.png", "tensorboard/x", "exports/onnx.failed/y"):
        runs.write_text(checked.path / unrecorded, "")
    assert verdicts(checked) == right


def test_changed_missing_and_new_files_are_reported(checked):
    checked.model_file.write_text("weightS")
    checked.history_file.unlink()
    runs.write_text(checked.path / "exports" / "onnx" / "model.onnx", "")
    found = {one.name: (one.right, one.found) for one in runs.verify(checked)}
    assert found["model.keras"][0] is False
    assert found["model.keras"][1] == (
        f"expected SHA-256 {hashlib.sha256(b'weights').hexdigest()}, "
        f"received {hashlib.sha256(b'weightS').hexdigest()}"
    )
    assert found["history.csv"] == (False, "No such file or directory")
    assert found["exports/onnx/model.onnx"] == (None, "not in run.json")
    assert found["evaluation/test.json"][0] is True
    runs.check(checked, checked.evaluation_folder)
    runs.check(checked, checked.exports_folder)  # unknown files are no fault
    with pytest.raises(ArtifactError, match=r"model\.keras is damaged, missing or was replaced"):
        runs.check(checked, checked.model_file)
    (checked.evaluation_folder / "test.json").write_text("{ }")
    with pytest.raises(ArtifactError, match=r"test\.json is damaged"):
        runs.check(checked, checked.evaluation_folder)


def test_a_finished_run_needs_its_history_and_model_in_the_record(checked):
    files = dict(checked.read_record().files)
    for name in ("history.csv", "model.keras"):
        del files[name]
    checked.update_record(files=files)
    found = {one.name: (one.right, one.found) for one in runs.verify(checked)}
    assert found["model.keras"] == found["history.csv"] == (False, "not in run.json")
    checked.update_record(status="interrupted")
    assert verdicts(checked)["model.keras"] is None


def test_checkpoints_carry_their_own_checksums(checked):
    for step in (1, 2):
        runs.write_arrays(checked.checkpoint(step), {"step": np.asarray(step)})
    checked.checkpoint(2).write_bytes(b"")
    found = {one.name: (one.right, one.found) for one in runs.verify(checked)}
    assert found["checkpoint/step-00000001.npz"] == (True, "has its own SHA-256")
    assert found["checkpoint/step-00000002.npz"][0] is False
    assert "step-00000002.npz is damaged" in found["checkpoint/step-00000002.npz"][1]
    assert len(found) == 6


def test_the_weights_of_a_run_without_their_checksum_are_those_of_the_file(checked):
    stated = runs.weights_digest(checked)
    runs.forget(checked, checked.model_file)  # as while it is resumed
    assert runs.weights_digest(checked) == stated == runs.digest(checked.model_file) != ""
    assert runs.is_current(checked, stated) and not runs.is_current(checked, 64 * "0")
    checked.model_file.unlink()
    assert runs.weights_digest(checked) == ""


def test_a_change_that_fails_leaves_the_old_checksums(checked):
    before = checked.read_record().files
    with pytest.raises(RuntimeError), runs.changing(checked, checked.evaluation_folder):
        assert set(checked.read_record().files) == set(before) - {"evaluation/test.json"}
        raise RuntimeError
    assert checked.read_record().files == before


def test_a_name_that_only_begins_alike_is_another_file(checked):
    runs.write_text(checked.path / "evaluation2" / "x", "")
    with runs.changing(checked, checked.path / "evaluation2"):
        pass
    with runs.changing(checked, checked.path / "eval"):
        assert {"evaluation/test.json", "evaluation2/x"} <= set(checked.read_record().files)
    large = checked.path / "large"
    large.write_bytes(bytes(3_000_000))
    with runs.changing(checked, large):
        pass
    expected = hashlib.sha256(bytes(3_000_000)).hexdigest()
    assert checked.read_record().files["large"] == FileRecord(bytes=3_000_000, sha256=expected)


# --- documents from outside -----------------------------------------------------------

EXPORT = {
    "artifact": "model.onnx",
    "format": "onnx",
    "quantization": "none",
    "bytes": 10,
    "compressed_bytes": 9,
    "parity": {
        "runtime": "x",
        "split": "validation",
        "images": 5,
        "max_difference": 0.0,
        "agreement": 1.0,
        "accuracy": 0.5,
        "reference_accuracy": 0.5,
        "seconds": 0.1,
    },
}


def test_exports_are_listed_by_name_without_failed_and_half_written_ones(tmp_path):
    run = make(tmp_path, "r")
    for name in ("onnx", "litert", "keras.failed", ".1.tmp.c"):
        runs.write_json(run.exports_folder / name / "export.json", EXPORT)
    found = runs.exports(run)
    assert [one.name for one in found] == ["litert", "onnx"]
    assert [one.name for one in runs.exports(run, failed=True)] == ["keras.failed"]
    assert found[1].path == run.exports_folder / "onnx" / "model.onnx"
    document = found[1].to_json()
    newer = dict.fromkeys(
        ("loss", "reference_loss", "calibration_error", "reference_calibration_error")
    )
    expected = {**EXPORT, "parity": {**EXPORT["parity"], **newer}}
    assert {key: document[key] for key in EXPORT} == expected
    assert (document["name"], document["path"]) == ("onnx", str(found[1].path))


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({**EXPORT, "artifact": "../../secret"}, "'artifact': .*inside the run"),
        ({**EXPORT, "artifact": "/etc/passwd"}, "'artifact': .*inside the run"),
        ({**EXPORT, "artifact": "a\\b"}, "'artifact': .*inside the run"),
        ({**EXPORT, "artifact": "a\0b"}, "'artifact': .*inside the run"),
        ({**EXPORT, "artifact": ""}, "'artifact': .*inside the run"),
        ({**EXPORT, "bytes": -1}, "'bytes': "),
        ({**EXPORT, "bytes": "1"}, "'bytes': "),
        ({**EXPORT, "parity": {**EXPORT["parity"], "accuracy": 1e16}}, "'parity.accuracy': "),
        ({key: value for key, value in EXPORT.items() if key != "parity"}, "'parity': .*required"),
    ],
    ids=["up", "absolute", "backslash", "nul", "empty", "negative", "text", "huge", "missing"],
)
def test_an_export_json_of_another_form_is_a_stated_error(document, says, tmp_path):
    run = make(tmp_path, "r")
    runs.write_json(run.exports_folder / "onnx" / "export.json", document)
    with pytest.raises(RunError, match=rf"cannot read .*onnx.export\.json: {says}"):
        runs.exports(run)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "Expecting value"),
        (b"[1]", "expected a JSON object"),
        (b'{"seconds": NaN}', "NaN is not a number of JSON"),
        (b'{"seconds": Infinity}', "Infinity is not"),
        (b'{"seconds": 1e999}', "'seconds': "),
        (b'{"seed": true}', "'seed': "),
        (b'{"status": 3}', "'status': "),
        (b'{"files": {"../x": {"bytes": 1, "sha256": "0"}}}', "inside the run"),
        (b'{"a": ' * 100_000, "nested too deeply"),
        (b'{"a": "\xff"}', "invalid start byte"),
        (b'{"a": "' + b"x" * 20_000_000, "more than 20,000,000 bytes"),
        (b'{"a": ' + b"9" * 5000 + b"}", "Exceeds the limit"),
    ],
    ids=[
        "empty",
        "list",
        "nan",
        "infinity",
        "too-large",
        "boolean",
        "number",
        "path",
        "deep",
        "bytes",
        "long",
        "digits",
    ],
)
def test_a_record_of_another_form_is_a_stated_error(content, says, tmp_path):
    run = make(tmp_path, "20260101-000000-r")
    run.record_file.write_bytes(content)
    with pytest.raises(RunError, match=rf"cannot read .*run\.json: .*{says}"):
        run.read_record()
    assert runs.status(run) == "damaged"
    assert runs.summary(run) == RunSummary(
        name="20260101-000000-r",
        status="damaged",
        config=None,
        epochs=None,
        validation_accuracy=None,
        test_accuracy=None,
        seconds=None,
    )


def test_a_summary_has_what_the_files_say(tmp_path):
    run = make(
        tmp_path,
        "r",
        status="finished",
        config_file="a.yaml",
        epochs_done=2.0,
        seconds=3.5,
        validation_accuracy=0.25,
        unknown={"kept": True},
    )
    assert runs.summary(run) == RunSummary(
        name="r",
        status="finished",
        config="a.yaml",
        epochs=2.0,
        validation_accuracy=0.25,
        test_accuracy=None,
        seconds=3.5,
    )
    assert run.read_record().model_extra == {"unknown": {"kept": True}}
    runs.write_json(run.evaluation_folder / "test-mirror.json", evaluation(0.5))
    assert runs.summary(run).test_accuracy == 0.5
    runs.write_json(run.evaluation_folder / "test.json", evaluation("high"))
    assert runs.summary(run).test_accuracy == 0.5
    runs.write_json(run.evaluation_folder / "test.json", evaluation(0.75))
    assert runs.summary(run).test_accuracy == 0.75


def test_names_that_no_run_can_have_are_not_found(tmp_path):
    for text in ("x" * 5000, "a\0b", "../nothing", "\x1b[31m", ""):
        with pytest.raises(RunError, match="expected a run"):
            runs.open_run(text, tmp_path)


def test_the_three_newest_are_named(tmp_path):
    for day in range(1, 6):
        make(tmp_path, f"2026010{day}-000000-a")
    with pytest.raises(RunError) as caught:
        runs.open_run("b", tmp_path)
    newest = "20260103-000000-a, 20260104-000000-a, 20260105-000000-a"
    assert f"Newest runs in {tmp_path}: {newest}. See all" in str(caught.value)


def test_removing_what_cannot_be_removed_is_a_stated_error(tmp_path, monkeypatch):
    run = make(tmp_path, "r")

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(runs.directory.shutil, "rmtree", refuse)
    with pytest.raises(RunError, match=r"cannot remove .*Permission denied"):
        runs.remove(run)
    assert run.path.exists()


# --- formats --------------------------------------------------------------------------


def test_a_record_of_a_newer_format_is_refused_with_its_writer(tmp_path):
    run = runs.create("a", tmp_path, {"config.yaml": "x"}, RunRecord(status="finished"))
    record = json.loads(run.record_file.read_text())
    assert record["format_version"] == RunRecord.VERSION
    assert record["written_by"].startswith("cifarnet ")
    newer = {**record, "format_version": RunRecord.VERSION + 1, "written_by": "cifarnet 9.9"}
    run.record_file.write_text(json.dumps(newer))
    expected = (
        r"format_version 2, written by cifarnet 9\.9; this cifarnet \S+ reads up to 1\. Upgrade"
    )
    with pytest.raises(RunError, match=expected):
        run.read_record()
    before = run.record_file.read_bytes()
    with pytest.raises(RunError, match=expected):
        run.update_record(status="failed")
    assert run.record_file.read_bytes() == before


def test_keys_that_are_not_known_are_kept(tmp_path):
    run = runs.create("a", tmp_path, {"config.yaml": "x"}, RunRecord(status="running"))
    record = json.loads(run.record_file.read_text())
    run.record_file.write_text(json.dumps({**record, "laboratory": {"room": 3}}))
    run.update_record(status="finished")
    written = json.loads(run.record_file.read_text())
    assert (written["status"], written["laboratory"]) == ("finished", {"room": 3})


# --- order and place ------------------------------------------------------------------


def test_a_new_run_is_named_in_utc_in_every_time_zone(tmp_path, monkeypatch):
    for zone in ("Asia/Tokyo", "America/Los_Angeles"):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        before = datetime.now(timezone.utc).replace(microsecond=0)
        name = runs.create("a", tmp_path).path.name
        made = datetime.strptime(name[:15] + "+0000", "%Y%m%d-%H%M%S%z")
        assert before <= made <= datetime.now(timezone.utc), zone
    monkeypatch.undo()
    time.tzset()


def test_the_latest_run_is_the_one_that_started_last_whatever_its_name(tmp_path):
    """Names of older versions are local times."""
    starts = {
        "20260102-080000-tokyo": "2026-01-01T23:00:00+00:00",
        "20260101-160000-angeles": "2026-01-02T00:00:00+00:00",
        "20260101-183000-kolkata": "2026-01-01T18:30:00+05:30",
        "20260101-233000-damaged": None,
    }
    for name, started in starts.items():
        run = make(tmp_path, name, started=started)
        if started is None:
            run.record_file.write_text("{")
    found = [run.path.name.split("-")[-1] for run in runs.all_runs(tmp_path)]
    assert found == ["kolkata", "tokyo", "damaged", "angeles"]
    assert runs.open_run("latest", tmp_path).path.name == "20260101-160000-angeles"


def test_the_folder_of_runs_is_the_given_one_or_the_environments(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert runs.create("a").path.parent == Path("runs")
    monkeypatch.setenv("CIFARNET_RUNS", "elsewhere")
    run = runs.create("a")
    assert run.path.parent == Path("elsewhere")
    assert runs.open_run("latest") == run
    assert runs.all_runs("runs") != runs.all_runs() == [run]
    monkeypatch.setenv("CIFARNET_RUNS", "")
    assert runs.root_folder() == Path("runs")


def test_a_run_whose_lock_cannot_be_opened_is_in_an_unknown_state(tmp_path):
    run = make(tmp_path, "r", status="running")
    (run.path / ".lock").mkdir()  # no user may open it
    assert runs.is_locked(run) is None
    assert runs.status(run) == "unknown"
    with pytest.raises(RunError, match=r"cannot remove .*/r: .*Check the permissions"):
        runs.remove(run)
    (run.path / ".lock").rmdir()
    assert runs.status(run) == "killed"
    with runs.lock(run):
        assert runs.status(run) == "running"
