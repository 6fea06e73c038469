"""What callbacks receive from real jobs, and how they end a training."""

import contextlib
import io
import os
import sys

import pytest
from rich.console import Console
from rich.table import Table

import cifarnet
from cifarnet import config, runs
from cifarnet.callbacks import Callback, Callbacks, EpochResult, job
from cifarnet.callbacks.display import ProgressDisplay, TextConsole
from cifarnet.errors import CifarnetError, RunError
from cifarnet.runs import Run, RunRecord
from cifarnet.training.logs import TensorBoard

SETTINGS = config.parse(
    {
        "data": {"source": "synthetic", "limit": 200, "validation_fraction": 0.2},
        "model": {"layers": ["Flatten", {"Dropout": {"rate": 0.2}}, {"Dense": {"units": 10}}]},
        "train": {
            "epochs": 2,
            "batch_size": 40,
            "learning_rate": 0.01,
            "momentum": 0.9,
            "precision": "float32",
            "checkpoint": {"every_steps": 3},  # between two callbacks are at most as many steps
        },
    }
)


class Recorder(Callback):
    """Notes every call."""

    def __init__(self):
        self.calls = []

    def __getattribute__(self, name):
        if not name.startswith("on_"):
            return super().__getattribute__(name)
        return lambda *given, **named: self.calls.append((name, [*given, *named.values()]))

    def names(self):
        return [name for name, _ in self.calls]

    def given(self, name):
        return [values for called, values in self.calls if called == name]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of two epochs, and the calls of its training."""
    recorder = Recorder()
    run = cifarnet.train(SETTINGS, tmp_path_factory.mktemp("runs"), callbacks=[recorder])
    return run, recorder


def test_a_training_reports_its_begin_steps_epochs_and_end_in_order(trained):
    run, recorder = trained
    names = recorder.names()
    assert names[:5] == ["on_stage", "on_stage", "on_train_begin", "on_stage", "on_steps"]
    assert names[-2:] == ["on_train_end", "on_end"]
    assert names.count("on_epoch_end") == 2
    assert names.index("on_steps") < names.index("on_epoch_end")
    assert [text for (text,) in recorder.given("on_stage")] == [
        "loading the images",
        "building the network",
        "tracing and compiling the training step",
    ]
    later = {"on_train_begin", "on_steps", "on_epoch_end", "on_train_end", "on_end"}
    assert set(names) == {"on_stage", *later}
    ((begun_run, begun),) = recorder.given("on_train_begin")
    assert (begun_run, begun.status, begun.epochs_done) == (run, "running", None)
    ((ended_run, ended),) = recorder.given("on_train_end")
    assert (ended_run, ended.status, ended.epochs_done) == (run, "finished", 2)


def test_steps_and_epochs_have_the_figures_of_the_run(trained):
    run, recorder = trained
    last = recorder.given("on_steps")[-1][0]
    assert (last.epoch, last.epochs, last.step, last.steps) == (2, 2, 4, 4)
    assert last.seconds_left == 0
    results = [result for result, _ in recorder.given("on_epoch_end")]
    assert last.loss == pytest.approx(results[-1].loss)
    lines = run.history_file.read_text().splitlines()[1:]
    assert [float(line.split(",")[1]) for line in lines] == [one.loss for one in results]
    record = run.read_record()
    accuracies = [one.validation_accuracy for one in results]
    assert record.validation_accuracy == accuracies[record.selected_epoch - 1]
    best = [flag for _, flag in recorder.given("on_epoch_end")]
    assert best == [True, accuracies[1] > accuracies[0]]


def test_a_callback_stops_a_training_and_resuming_gives_the_same_bits(trained, tmp_path):
    class StopsInEpochTwo(Callback):
        seen = 0

        def on_steps(self, progress):
            self.seen = progress.epoch

        def stop_reason(self):
            return "two is enough" if self.seen == 2 else None

    ended = Recorder()
    run = cifarnet.train(SETTINGS, tmp_path, callbacks=[StopsInEpochTwo(), ended])
    record = run.read_record()
    assert (record.status, record.stop_reason) == ("stopped", "two is enough")
    assert 4 < record.steps_done < 8
    assert ended.given("on_train_end")[0][1].status == "stopped"
    assert ended.names()[-1] == "on_end"
    cifarnet.resume(run, callbacks=[])
    whole, _ = trained
    assert run.read_record().status == "finished"
    ours, expected = (runs.read_arrays(one.checkpoints()[-1]) for one in (run, whole))
    for name in expected.keys() - {"about"}:
        assert (ours[name] == expected[name]).all(), name


def test_an_exception_of_a_callback_fails_the_run_which_can_be_resumed(tmp_path):
    class Fails(Callback):
        def on_epoch_end(self, result, best):
            raise RuntimeError("no space on the dashboard")

        def on_error(self, error):
            raise ValueError("and no error page")

    recorder = Recorder()
    with pytest.raises(RuntimeError, match="no space on the dashboard"):
        cifarnet.train(SETTINGS, tmp_path, callbacks=[Fails(), recorder])
    ((error,),) = recorder.given("on_error")
    assert str(error) == "no space on the dashboard"
    assert "on_end" not in recorder.names()
    run = runs.open_run("latest", tmp_path)
    record = run.read_record()
    assert (record.status, record.steps_done) == ("failed", 4)
    assert record.stop_reason == "RuntimeError: no space on the dashboard"
    assert "no space on the dashboard" in run.log_file.read_text()
    cifarnet.resume(run, callbacks=[])
    assert run.read_record().status == "finished"


def test_a_job_that_cannot_start_reports_one_error(tmp_path):
    recorder = Recorder()
    with pytest.raises(CifarnetError, match="nowhere"):
        cifarnet.evaluate(tmp_path / "nowhere", callbacks=[recorder])
    assert recorder.names() == ["on_error"]
    with pytest.raises(RunError):
        cifarnet.resume(tmp_path / "nowhere", callbacks=[recorder])
    assert recorder.names() == ["on_error", "on_error"]


def test_a_callback_that_fails_at_the_end_does_not_turn_an_end_into_an_error():
    class Fails(Callback):
        def on_end(self):
            raise OSError("disk full")

    before, after = Recorder(), Recorder()
    with pytest.raises(OSError, match="disk full"), job([before, Fails(), after]):
        pass
    assert before.names() == after.names() == ["on_end"]


def test_evaluation_and_export_name_their_stages(trained):
    run, _ = trained
    for call in (
        lambda recorder: cifarnet.evaluate(run, split="validation", callbacks=[recorder]),
        lambda recorder: cifarnet.export(run, ["keras"], ["none"], callbacks=[recorder]),
    ):
        recorder = Recorder()
        call(recorder)
        assert set(recorder.names()) - {"on_result"} == {"on_stage", "on_end"}
        assert recorder.names()[-1] == "on_end"
        assert all(text for (text,) in recorder.given("on_stage"))


def test_the_first_reason_to_stop_is_taken():
    class Says(Callback):
        def __init__(self, reason):
            self.stop_reason = lambda: reason

    assert Callbacks([Says(None), Says("b"), Says("a")]).stop_reason() == "b"
    assert Callbacks([Says(None)]).stop_reason() is None


def test_nothing_is_shown_by_default_where_there_is_no_terminal(capsys):
    with job(None) as report:
        report.on_stage("evaluating")
    assert capsys.readouterr() == ("", "")


def test_a_terminal_shows_a_live_line_and_keeps_only_the_table(trained):
    run, recorder = trained
    screen = io.StringIO()
    display = ProgressDisplay(Console(file=screen, force_terminal=True, width=120, highlight=False))
    assert display.is_live
    for name, values in recorder.calls:
        getattr(display, name)(*values)
    text = screen.getvalue()
    assert "epoch 2/2  step 4/4" in text
    table = [line.split()[0] for line in text.splitlines() if "best" in line or "val acc" in line]
    assert table[0] == "epoch"
    assert "\x1b[2K" in text  # the live line is erased
    assert str(run.path) in text


def test_a_reason_that_is_no_text_fails_the_run_with_its_type(tmp_path):
    class SaysTrue(Callback):
        def stop_reason(self):
            return True

    with pytest.raises(TypeError, match="stop_reason: expected a text or None, received True"):
        cifarnet.train(SETTINGS, tmp_path, callbacks=[SaysTrue()])
    record = runs.open_run("latest", str(tmp_path)).read_record()
    assert (record.status, record.steps_done) == ("failed", 0)


# --- displays that fail ---------------------------------------------------------------


class Broken(io.StringIO):
    """A stream that fails after some writes, as the pipe of a reader that has gone."""

    def __init__(self, error: Exception, writes: int):
        super().__init__()
        self.error, self.left = error, writes

    def write(self, text):
        self.left -= 1
        if self.left < 0:
            raise self.error
        return super().write(text)

    def fileno(self):  # rich would replace this descriptor
        return os.open(os.devnull, os.O_WRONLY)


# Of the thread in which rich refreshes a live line.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("writes", [0, 2, 9])
@pytest.mark.parametrize(
    "error", [BrokenPipeError(), OSError(28, "No space left on device"), ValueError("closed")]
)
def test_a_display_that_fails_is_given_up_and_the_training_finishes(error, writes, tmp_path):
    screen = Broken(error, writes)
    with contextlib.redirect_stdout(screen):
        display = ProgressDisplay(Console(file=screen, force_terminal=writes > 0))
        run = cifarnet.train(SETTINGS, tmp_path, callbacks=[display])
        assert sys.stdout is screen  # which a live line replaces while it is shown
    assert run.read_record().status == "finished"
    assert "finished: all epochs done" in run.log_file.read_text()


def test_a_closed_or_absent_standard_output_is_no_terminal(monkeypatch):
    closed = io.StringIO()
    closed.close()
    for stream in (closed, None):
        monkeypatch.setattr(sys, "stdout", stream)
        assert not ProgressDisplay().is_interactive
        with job(None) as report:
            report.on_stage("evaluating")


def test_a_subclass_of_a_display_still_fails_its_job(tmp_path):
    class Fails(ProgressDisplay):
        def on_epoch_end(self, result, best):
            raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        cifarnet.train(SETTINGS, tmp_path, callbacks=[Fails(Console(file=io.StringIO()))])


def test_tensorboard_logs_that_cannot_be_written_are_given_up(tmp_path):
    logs = TensorBoard()
    run = Run(tmp_path)
    (tmp_path / "tensorboard").write_text("")
    logs.on_train_begin(run, RunRecord())
    logs.on_epoch_end(EpochResult(1, 1.0, 0.5, None, None, 0.1, 9.0, 1.0), True)
    logs.on_end()
    assert (tmp_path / "tensorboard").read_text() == ""


def test_names_are_text_on_a_console(capsys):
    console = TextConsole()
    table = Table("class [v1]")
    table.add_row("dog [v2]")
    table.add_row("[red]cat[/red] :smile: \x1b[31m\x07\u202e")
    console.print(table)
    console.print("[bold]a[/bold] \x1b]0;title\x07 \udcff")
    shown = capsys.readouterr().out
    assert "class [v1]" in shown and "dog [v2]" in shown
    assert r"[red]cat[/red] :smile: \x1b[31m\x07\u202e" in shown
    assert r"[bold]a[/bold] \x1b]0;title\x07 \udcff" in shown
    assert not any(mark in shown for mark in "\x1b\x07\u202e")
