"""What MLflow receives of a training, and that a training never depends on it."""

import csv
import importlib.util
import shutil
import socket
import subprocess
import sys

import pytest

pytest.importorskip("mlflow")
from helpers.commands import execute
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

import cifarnet
from cifarnet import config, runs
from cifarnet.callbacks import Callback
from cifarnet.callbacks.mlflow_writer import EPOCH, OK, Mirror
from cifarnet.callbacks.tracking import MlflowTracker
from cifarnet.errors import ConfigError
from cifarnet.runs import Run, RunRecord
from cifarnet.runs.records import TrackerRecord

BASE = {
    "name": "tracked",
    "seed": 3,
    "data": {"source": "synthetic", "limit": 200, "validation_fraction": 0.2},
    "model": {"layers": ["Flatten", {"Dropout": {"rate": 0.2}}, {"Dense": {"units": 10}}]},
    "train": {"epochs": 2, "batch_size": 40, "learning_rate": 0.01, "precision": "float32"},
}
COLUMNS = (
    "loss",
    "accuracy",
    "validation_loss",
    "validation_accuracy",
    "learning_rate",
    "images_per_second",
    "seconds",
)


@pytest.fixture(scope="module", autouse=True)
def allowed():
    """The tests read file stores, which MLflow refuses without this."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        yield


def settings(uri: str | None, **train) -> config.Config:
    return config.parse({**BASE, "train": {**BASE["train"], "mlflow": uri, **train}})


@pytest.fixture(scope="module")
def tracked(tmp_path_factory):
    """A finished run, and the URI of a file store that received it."""
    folder = tmp_path_factory.mktemp("tracked")
    uri = (folder / "store").as_uri()
    return cifarnet.train(settings(uri), folder / "runs", callbacks=[]), uri


@pytest.fixture(scope="module")
def untracked(tmp_path_factory):
    return cifarnet.train(settings(None), tmp_path_factory.mktemp("untracked"), callbacks=[])


def received(uri: str, name: str = "tracked"):
    """The only MLflow run of the experiment, and its client."""
    client = MlflowClient(uri)
    (found,) = client.search_runs([client.get_experiment_by_name(name).experiment_id])
    return client, found


def metrics(client: MlflowClient, run_id: str) -> list[tuple[str, int, float]]:
    return sorted(
        (name, one.step, one.value)
        for name in client.get_run(run_id).data.metrics
        for one in client.get_metric_history(run_id, name)
    )


def rows(run: Run) -> list[tuple[str, int, float]]:
    with run.history_file.open() as file:
        return sorted(
            (name, int(row["epoch"]), float(row[name]))
            for row in csv.DictReader(file)
            for name in COLUMNS
        )


def same_weights(run: Run, other: Run) -> bool:
    ours, theirs = (runs.read_arrays(one.checkpoints()[-1]) for one in (run, other))
    return all((ours[name] == theirs[name]).all() for name in ours.keys() - {"about"})


# --- what it receives -----------------------------------------------------------------


def test_a_training_is_there_with_parameters_tags_and_every_metric(tracked):
    run, uri = tracked
    client, found = received(uri)
    assert (found.info.run_name, found.info.status) == (run.path.name, "FINISHED")
    parameters = found.data.params
    assert parameters["train.learning_rate"] == "0.01"
    assert parameters["train.nesterov"] == "false" and parameters["train.ema"] == "null"
    assert parameters["data.source"] == "synthetic" and parameters["seed"] == "3"
    assert parameters["train.mlflow"] == uri
    layers = '[{"Flatten": {}}, {"Dropout": {"rate": 0.2}}, {"Dense": {"units": 10}}]'
    assert parameters["model.layers"] == layers
    tags = found.data.tags
    assert tags["cifarnet.run"] == run.path.name
    assert tags["cifarnet.version"] == "0.1.0"
    assert tags["cifarnet.config_digest"] == config.recipe_digest(settings(None))
    assert len(rows(run)) == 14
    assert metrics(client, found.info.run_id) == rows(run)


def test_the_files_of_the_run_are_there_byte_for_byte(tracked, tmp_path):
    run, uri = tracked
    client, found = received(uri)
    folder = tmp_path / "artifacts"
    folder.mkdir()
    client.download_artifacts(found.info.run_id, "", str(folder))
    files = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
    assert set(files) == {
        *("config.yaml", "run.json", "history.csv", "log.txt", "model.keras"),
        *("report.html", "plots/curves.png"),
    }
    for name, content in files.items():
        assert content == (run.path / name).read_bytes(), name


def test_the_weights_have_the_same_bits_without_it(tracked, untracked):
    assert same_weights(tracked[0], untracked)
    assert all(verdict.right for verdict in runs.verify(tracked[0]))


def test_a_stopped_run_is_killed_and_resuming_continues_it_once(tmp_path):
    class StopsAfterOne(Callback):
        done = 0

        def on_epoch_end(self, result, best):
            self.done = result.epoch

        def stop_reason(self):
            return "enough" if self.done == 1 else None

    uri = (tmp_path / "store").as_uri()
    run = cifarnet.train(settings(uri), tmp_path / "runs", callbacks=[StopsAfterOne()])
    client, stopped = received(uri)
    assert stopped.info.status == "KILLED"
    assert {step for _, step, _ in metrics(client, stopped.info.run_id)} == {1}
    cifarnet.resume(run, ["train.epochs=3"], callbacks=[])
    _, found = received(uri)
    assert (found.info.run_id, found.info.status) == (stopped.info.run_id, "FINISHED")
    assert len(rows(run)) == 21
    assert metrics(client, found.info.run_id) == rows(run)
    assert found.data.params["train.epochs"] == "2.0"  # which MLflow never changes


# --- the copy, a step at a time -------------------------------------------------------


@pytest.fixture
def copied(tracked, tmp_path):
    """A copy of the run that MLflow has not seen, an empty file store, and its URI."""
    run = Run(tmp_path / tracked[0].path.name)
    shutil.copytree(tracked[0].path, run.path)
    run.tracker_file.unlink()
    return run, tmp_path / "store", (tmp_path / "store").as_uri()


def test_what_failed_is_made_up_for(copied):
    run, store, uri = copied
    store.write_text("no folder")
    mirror = Mirror(uri, run)
    with pytest.raises(OSError):
        mirror.update()
    store.unlink()
    mirror.update()
    client, found = received(uri)
    assert found.info.status == "RUNNING"
    assert metrics(client, found.info.run_id) == rows(run)


def test_nothing_is_sent_twice(copied):
    run, _, uri = copied
    whole = run.history_file.read_text()
    run.history_file.write_text("".join(whole.splitlines(keepends=True)[:2]))
    mirror = Mirror(uri, run)
    mirror.update()
    client, found = received(uri)
    first = metrics(client, found.info.run_id)
    assert {step for _, step, _ in first} == {1}
    client.log_batch(found.info.run_id, metrics=[Metric("loss", 7.0, 0, 2)])  # it arrived
    run.history_file.write_text(whole)
    Mirror(uri, run).update()
    expected = [row for row in rows(run) if row[:2] != ("loss", 2)]
    assert metrics(client, found.info.run_id) == sorted([*expected, ("loss", 2, 7.0)])


def test_a_request_that_failed_halfway_is_completed(copied):
    run, store, uri = copied
    whole = run.history_file.read_text()
    run.history_file.write_text("".join(whole.splitlines(keepends=True)[:2]))
    mirror = Mirror(uri, run)
    mirror.update()
    client, found = received(uri)
    run.history_file.write_text(whole)
    (metric,) = store.rglob("metrics/validation_accuracy")
    kept = metric.read_text()
    metric.unlink()
    metric.mkdir()
    with pytest.raises(MlflowException, match="directory"):
        mirror.update()
    metric.rmdir()
    metric.write_text(kept)
    assert {step for name, step, _ in metrics(client, found.info.run_id) if name == "loss"} == {
        1,
        2,
    }
    mirror.update()
    assert metrics(client, found.info.run_id) == rows(run)


def test_another_uri_or_a_lost_run_begins_another(copied, tmp_path):
    run, store, uri = copied
    Mirror(uri, run).update()
    first = received(uri)[1].info.run_id
    other = (tmp_path / "other").as_uri()
    Mirror(other, run).update()
    assert received(other)[1].info.run_id != first
    Mirror(uri, run).update()
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("tracked").experiment_id
    assert len(client.search_runs([experiment])) == 2
    before = runs.documents.read(run.tracker_file, TrackerRecord)
    assert before.uri == uri
    shutil.rmtree(store / experiment / before.run_id)
    Mirror(uri, run).update()
    after = runs.documents.read(run.tracker_file, TrackerRecord)
    assert after.run_id not in (first, before.run_id)
    assert metrics(client, after.run_id) == rows(run)


def test_long_values_many_keys_and_odd_names_fit(copied, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRUNCATE_LONG_VALUES", "false")  # as servers may have it
    run, _, uri = copied
    layers = [{"Dense": {"units": 10, "name": f"layer_{i}"}} for i in range(400)]
    freeze = {f"layer {i}: é#": 1 for i in range(150)}
    many = config.parse(
        {**BASE, "model": {"layers": layers}, "train": {**BASE["train"], "freeze": freeze}}
    )
    run.config_file.write_text(config.dump(many))
    Mirror(uri, run).update()
    parameters = received(uri)[1].data.params
    assert len(parameters["model.layers"]) == 6000
    assert parameters["train.freeze.layer 149_ é_"] == "1"
    assert len(parameters) > 190


def test_sqlite_is_a_store_too(copied, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where MLflow puts the files of a database
    run, _, _ = copied
    Mirror("sqlite:///mlflow.db", run).finish(killed=False)
    client, found = received("sqlite:///mlflow.db")
    assert found.info.status == "FINISHED"
    assert metrics(client, found.info.run_id) == rows(run)
    (model,) = (tmp_path / "mlruns").rglob("model.keras")
    assert model.read_bytes() == run.model_file.read_bytes()


@pytest.mark.parametrize(
    ("status", "expected"),
    [("finished", "FINISHED"), ("failed", "FAILED"), ("interrupted", "KILLED")],
)
def test_it_ends_as_the_run_ended(status, expected, copied):
    run, _, uri = copied
    run.update_record(status=status)
    Mirror(uri, run).finish(killed=False)
    assert received(uri)[1].info.status == expected
    Mirror(uri, run).update()
    assert received(uri)[1].info.status == "RUNNING"


def test_a_killed_training_is_killed_without_files(copied):
    run, _, uri = copied
    code = "import sys; from cifarnet.callbacks import mlflow_writer as w; w.main(*sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", code, uri, str(run.path)],
        input=EPOCH,  # and then its end, as of a process that has died
        capture_output=True,
        check=True,
    )
    assert set(done.stdout.decode().split()) == {OK}
    client, found = received(uri)
    assert found.info.status == "KILLED"
    assert metrics(client, found.info.run_id) == rows(run)
    assert client.list_artifacts(found.info.run_id) == []


# --- a tracker that fails -------------------------------------------------------------


class Warnings(Callback):
    def __init__(self):
        self.texts = []

    def on_warning(self, text):
        self.texts.append(text)


def test_a_server_that_is_down_costs_the_command_one_warning(untracked, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        uri = f"http://127.0.0.1:{server.getsockname()[1]}"
    (tmp_path / "mine.yaml").write_text(config.dump(settings(uri)))
    done = execute("train", "--config", "mine.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    warning = f"warning: MLflow at {uri} fails; the training continues: ConnectionRefusedError: "
    assert done.stdout.count(warning) == done.stdout.count("MLflow") == 1
    run = runs.open_run("latest", tmp_path / "runs")
    assert run.read_record().status == "finished"
    assert warning in run.log_file.read_text()
    assert same_weights(run, untracked)


def test_a_server_that_never_answers_costs_one_warning(untracked, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    seen = Warnings()
    with socket.create_server(("127.0.0.1", 0)) as server:  # the system accepts for it
        uri = f"http://127.0.0.1:{server.getsockname()[1]}"
        run = cifarnet.train(settings(uri), tmp_path, callbacks=[seen])
        server.accept()[0].close()  # it was asked
    assert seen.texts == [f"MLflow at {uri} fails; the training continues: TimeoutError: timed out"]
    assert run.read_record().status == "finished"
    assert same_weights(run, untracked)


def test_it_warns_again_only_after_it_has_worked():
    seen = []
    tracker = MlflowTracker("nothing://there", seen.append)
    for answer in ("one", "two", OK, OK, "three", "four"):
        assert tracker._takes(answer)
    assert [text.rpartition(" ")[2] for text in seen] == ["one", "three"]


def test_a_process_that_cannot_start_or_dies_costs_one_warning(tracked, monkeypatch):
    for executable, reason in (
        ("/nonexistent/python", "its process cannot start: "),
        (shutil.which("false"), "its process ended with exit code 1"),
    ):
        monkeypatch.setattr(sys, "executable", executable)
        seen = []
        tracker = MlflowTracker("nothing://there", seen.append)
        tracker.on_train_begin(tracked[0], RunRecord())
        tracker.on_end()
        tracker.on_error(RuntimeError())
        assert len(seen) == 1 and reason in seen[0]


# --- the config -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "uri",
    [
        "http://me:hunter2@127.0.0.1:5000",
        "postgresql://me:hunter2@db/mlflow",
        "mysql://db/mlflow?user=me&password=hunter2",
        "mssql+pyodbc://db?odbc_connect=UID%3Dme;PWD%3Dhunter2",
    ],
)
def test_a_password_is_refused_and_not_repeated(uri):
    with pytest.raises(ConfigError, match=r"train\.mlflow: expected a URI without a pass") as error:
        settings(uri)
    assert "hunter2" not in str(error.value)
    assert "MLFLOW_TRACKING_PASSWORD" in str(error.value)


@pytest.mark.parametrize("uri", ["", " ", "a\nb", "http://[::1", "\udcff"])
def test_what_is_no_uri_is_refused(uri):
    with pytest.raises(ConfigError, match=r"train\.mlflow: expected a URI of MLflow"):
        settings(uri)


@pytest.mark.parametrize(
    "uri", ["http://me@127.0.0.1:5000", "databricks://profile:prefix", "sqlite:///a%20b.db", "x y"]
)
def test_other_uris_are_kept(uri):
    assert settings(uri).train.mlflow == uri


def test_a_missing_package_is_an_error_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'cifarnet\[mlflow\]'"):
        cifarnet.train(settings("mlruns"), tmp_path / "runs", callbacks=[])
    assert list(tmp_path.iterdir()) == []
