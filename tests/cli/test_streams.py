"""Displays never decide about a command's work: closed, full and broken standard streams."""

import os
import pty
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from helpers.commands import execute
from helpers.configs import ROOT
from PIL import Image

from cifarnet import runs

TRAIN = ["train", "--config", ROOT / "configs" / "smoke.yaml", "-o", "data.limit=200"]
TRAIN += ["-o", "train.epochs=2", "-o", "train.precision=float32"]
CLOSED = {0: "closed", 1: "closed", 2: "closed"}
FAULTS = [{1: "broken"}, {1: "full"}, {1: "closed"}, {2: "closed"}, CLOSED]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("place")
    assert execute(*TRAIN, cwd=folder).returncode == 0
    return folder


@pytest.mark.parametrize("streams", FAULTS, ids=str)
def test_a_training_whose_display_fails_finishes_and_logs_all(streams, tmp_path):
    done = execute(*TRAIN, cwd=tmp_path, streams=streams)
    assert done.returncode == 0, done.stderr
    (run,) = runs.all_runs(tmp_path / "runs")
    assert run.read_record().status == "finished"
    log = run.log_file.read_text()
    assert re.findall(r"^ +(\d) ", log, re.M) == ["1", "2"]
    assert log.endswith("finished: all epochs done\n")
    full = "note: standard output cannot be written: No space left on device\n"
    assert done.stderr == (full if streams == {1: "full"} else "")


@pytest.mark.parametrize(
    ("command", "streams"),
    [
        (["evaluate", "latest"], FAULTS[0]),
        (["evaluate", "latest"], FAULTS[2]),
        (["predict", "latest", "picture.png"], FAULTS[0]),
        (["export", "latest", "--format", "keras"], FAULTS[0]),
        (["benchmark", "latest", "--batch-size", "1"], FAULTS[0]),
        *[(["runs", "list"], one) for one in FAULTS],
        (["runs", "verify", "latest"], FAULTS[1]),
        (["data", "info", "--config", "smoke"], FAULTS[1]),
    ],
    ids=str,
)
def test_no_command_fails_for_its_display(command, streams, place):
    Image.new("RGB", (32, 32)).save(place / "picture.png")
    done = execute(*command, cwd=place, streams=streams)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("fault", ["broken", "full", "closed"])
def test_a_lost_document_is_an_error_but_the_run_is_finished(fault, tmp_path):
    done = execute(*TRAIN, "--json", cwd=tmp_path, streams={1: fault})
    assert done.returncode == 1
    assert "Error: standard output cannot be written: " in done.stderr
    (run,) = runs.all_runs(tmp_path / "runs")
    assert run.read_record().status == "finished"


def test_a_config_that_cannot_be_printed_is_an_error(tmp_path):
    for command in (["show", "smoke"], ["schema"]):
        done = execute("config", *command, cwd=tmp_path, streams={1: "full"})
        assert done.returncode == 1
        assert "standard output cannot be written: No space left" in done.stderr
        assert execute("config", *command, cwd=tmp_path, streams={1: "broken"}).returncode == 0


def test_a_reader_that_leaves_does_not_end_a_training(tmp_path):
    command = [sys.executable, "-m", "cifarnet", *map(str, TRAIN)]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout.readline().startswith(b"Training ")
    process.stdout.close()
    assert process.wait() == 0
    assert process.stderr.read() == b""
    process.stderr.close()
    (run,) = runs.all_runs(tmp_path / "runs")
    assert run.read_record().status == "finished"


# --- terminals ------------------------------------------------------------------------


def test_forced_colors_make_no_live_line_in_a_file(tmp_path, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    done = execute(*TRAIN, cwd=tmp_path)
    assert "\x1b" not in done.stdout + done.stderr
    assert done.stdout.startswith("Training ")


def test_a_terminal_has_a_live_line(tmp_path):
    main, terminal = pty.openpty()
    shown = bytearray()

    def read():
        try:
            while piece := os.read(main, 4096):
                shown.extend(piece)
        except OSError:  # the other end is closed
            return

    reader = threading.Thread(target=read)
    reader.start()
    command = [sys.executable, "-m", "cifarnet", *map(str, TRAIN), "-o", "name=live"]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "140"}
    done = subprocess.run(command, cwd=tmp_path, stdout=terminal, stderr=terminal, env=environment)
    os.close(terminal)
    reader.join()
    os.close(main)
    assert done.returncode == 0
    assert b"loading TensorFlow" in shown and b"\x1b[2K" in shown
    for stage in (b"loading the images", b"building the network", b"tracing and compiling"):
        assert stage in shown
    assert b"epoch 1/2  step " in shown


# --- signals --------------------------------------------------------------------------


def stopped_by(number: int, folder: Path, **options: object) -> subprocess.Popen:
    """Send a signal to a long training after its first epoch; return its ended process."""
    long = ["-o", "train.epochs=1000", "-o", "train.schedule={kind: constant}"]
    command = [sys.executable, "-m", "cifarnet", *map(str, TRAIN), *long]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True, **options)
    for line in process.stdout:
        if re.match(r" +1 ", line):
            process.send_signal(number)
            break
    if options:
        for line in process.stdout:  # the training continues
            if re.match(r" +3 ", line):
                process.send_signal(signal.SIGTERM)
                break
    process.stdout.close()
    process.wait()
    return process


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1], ids=str)
def test_a_scheduler_s_signal_stops_a_training_as_ctrl_c_does(number, tmp_path):
    assert stopped_by(number, tmp_path).returncode == 130
    (run,) = runs.all_runs(tmp_path / "runs")
    record = run.read_record()
    assert record.status == "interrupted"
    assert 1 <= record.epochs_done < 1000


def test_an_ignored_hangup_stays_ignored(tmp_path):
    """As under nohup."""

    def ignore():
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    assert stopped_by(signal.SIGHUP, tmp_path, preexec_fn=ignore).returncode == 130
    (run,) = runs.all_runs(tmp_path / "runs")
    assert run.read_record().epochs_done >= 3
