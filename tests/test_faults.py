"""A full disk, folders that cannot be written, images that are gone: an error, and nothing lost."""

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import execute
from PIL import Image

from cifarnet import runs
from cifarnet.runs import Run

CONFIG = """
name: fault
data: {source: directory, path: pictures, validation_fraction: 0.2, image_size: 16}
model: {layers: [Flatten, {Dense: {units: 40}}, {Dense: {units: 2}}]}
train: {epochs: 1, batch_size: 8, learning_rate: 0.01, momentum: 0.9, precision: float32}
"""
MORE = ["train", "--resume", "latest", "-o", "train.epochs=2"]


@pytest.fixture
def place(tmp_path):
    """A folder with a small data set and its config."""
    random = np.random.default_rng(0)
    for name in ("cats", "dogs"):
        folder = tmp_path / "pictures" / name
        folder.mkdir(parents=True)
        for i in range(20):
            Image.fromarray(random.integers(0, 256, (16, 16, 3), np.uint8)).save(
                folder / f"{i}.png"
            )
    (tmp_path / "fault.yaml").write_text(CONFIG)
    return tmp_path


def cifarnet(place: Path, *arguments: str, limit: int | None = None) -> subprocess.CompletedProcess:
    """Run a command with no file larger than `limit` bytes."""
    if limit == 0:  # a new interpreter: it cannot write while it imports TensorFlow either
        return subprocess.run(
            [sys.executable, "-m", "cifarnet", *arguments],
            cwd=place,
            capture_output=True,
            text=True,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)),
        )
    return execute(*arguments, cwd=place, file_limit=limit)


def stated(done: subprocess.CompletedProcess, *texts: str) -> None:
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr and "Error: unexpected" not in done.stderr, done.stderr
    for text in texts:
        assert text in done.stderr, done.stderr


def trained(place: Path) -> Run:
    done = cifarnet(place, "train", "--config", "fault.yaml")
    assert done.returncode == 0, done.stderr
    return runs.open_run("latest", place / "runs")


def assert_resumes(place: Path, run: Run) -> None:
    done = cifarnet(place, *MORE)
    assert done.returncode == 0, done.stderr
    record = run.read_record()
    assert (record.status, record.epochs_done) == ("finished", 2)
    assert {path.name for path in run.path.rglob(".*")} == {".lock"}
    assert all(one.right is not False for one in runs.verify(run))


@pytest.mark.parametrize(
    ("limit", "says"), [(0, "refused"), (20_000, "cannot write")], ids=["nothing", "small-files"]
)
def test_a_full_disk_keeps_the_last_checkpoint_and_training_resumes_later(place, limit, says):
    run = trained(place)
    kept = {path: path.read_bytes() for path in (*run.checkpoints(), run.model_file)}
    assert all(len(content) > 20_000 for content in kept.values())
    stated(cifarnet(place, *MORE, limit=limit), says, "Make room")
    assert all(path.read_bytes() == content for path, content in kept.items())
    json.loads(run.record_file.read_text())
    assert runs.status(run) in ("finished", "failed", "killed")
    assert_resumes(place, run)


def test_a_disk_full_from_the_start_leaves_no_run(place):
    stated(cifarnet(place, "train", "--config", "fault.yaml", limit=100), "cannot write")
    assert runs.all_runs(place / "runs") == []
    assert [path.name for path in (place / "runs").iterdir()] == [".lock"]


def test_a_folder_that_can_only_be_read_is_named(place):
    run = trained(place)
    place.chmod(0o555)
    (place / "runs").chmod(0o555)
    try:
        stated(cifarnet(place, "train", "--config", "fault.yaml"), "cannot write runs")
    finally:
        place.chmod(0o755)
        (place / "runs").chmod(0o755)
    assert runs.all_runs(place / "runs") == [run]


def test_a_run_that_lost_its_permission_resumes_with_it(place):
    run = trained(place)
    for mode in (0o555, 0o755):
        for folder in (run.path, run.path / "checkpoint"):
            folder.chmod(mode)
        if mode == 0o555:
            stated(cifarnet(place, *MORE), "cannot write", "Permission denied")
    assert_resumes(place, run)


def test_images_that_vanished_are_named_and_may_come_back_elsewhere(place):
    run = trained(place)
    shutil.move(place / "pictures", place / "elsewhere")
    stated(cifarnet(place, *MORE), "pictures")
    done = cifarnet(place, *MORE, "-o", "data.path=elsewhere")
    assert done.returncode == 0, done.stderr
    assert f"data.path: {place / 'pictures'} -> {place / 'elsewhere'}" in done.stdout
    assert run.read_record().epochs_done == 2


def test_other_images_in_their_place_are_refused(place):
    trained(place)
    picture = place / "pictures" / "cats" / "0.png"
    Image.new("RGB", (16, 16)).save(picture)
    stated(cifarnet(place, *MORE), "is not what", "1 of 15 test images changed")


def test_a_second_resume_is_refused_with_its_holder(place):
    run = trained(place)
    with runs.lock(run):
        stated(cifarnet(place, *MORE), f"is being written by process {os.getpid()} on ")
    assert_resumes(place, run)


def test_a_changed_byte_is_reported_by_every_command_that_would_use_it(place):
    run = trained(place)
    whole = run.model_file.read_bytes()
    run.model_file.write_bytes(whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:])
    for arguments in (["evaluate"], ["predict"], ["export"], ["benchmark"]):
        images = [str(place / "pictures" / "cats")] if arguments == ["predict"] else []
        formats = ["--format", "keras"] if arguments == ["export"] else []
        done = cifarnet(place, *arguments, "latest", *images, *formats)
        stated(done, "model.keras is damaged, missing or was replaced", "run.json")
    stated(cifarnet(place, "runs", "verify", "latest"), "is not what its record says: model.keras")
    run.model_file.write_bytes(whole)
    done = cifarnet(place, "runs", "verify", "latest", "--json")
    assert done.returncode == 0
    document = json.loads(done.stdout)
    assert {one["name"]: one["right"] for one in document["files"]} == {
        "config.yaml": True,
        "history.csv": True,
        "model.keras": True,
        "checkpoint/step-00000002.npz": True,
        "images.csv": True,
        str(place / "pictures"): True,
    }
    assert document["determinism"]["bit_deterministic"] is True
