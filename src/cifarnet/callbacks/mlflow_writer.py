"""The process that copies a run to MLflow: parameters, metrics of `history.csv`, files.

It reads the run directory, compares it with what MLflow has, and sends the rest. So what failed is
made up for at the next epoch, a resumed run continues its MLflow run, and nothing is sent twice.
"""

from __future__ import annotations

import json
import os
import queue
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

from cifarnet import config as cfg
from cifarnet import runs
from cifarnet.formatting import printable
from cifarnet.runs import Run, documents
from cifarnet.runs.records import TrackerRecord

EPOCH, END = b".", b"E"  # what it is told; a stream that ends without END: the training was killed
OK = "ok"  # what it answers; any other line says what failed
WAIT_SECONDS = 60.0  # after the end of the training

_STATUS = {"finished": "FINISHED", "failed": "FAILED", "stopped": "KILLED", "interrupted": "KILLED"}
# A request is not repeated: it may have arrived, and the next epoch finds out.
_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_ALLOW_FILE_STORE": "true",  # deprecated since MLflow 3.7, refused since 3.13
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
_REQUEST_SECONDS = "10"  # unless MLFLOW_HTTP_REQUEST_TIMEOUT is set
# The limits of MLflow's REST API; its client keeps those of the numbers per request.
_MAX_NAME = 250
_MAX_VALUE = 6000


class Mirror:
    """A run in MLflow."""

    def __init__(self, uri: str, run: Run) -> None:
        self._uri = uri
        self._run = run
        self._client: Any = None
        self._id = ""
        self._sent: set[tuple[str, int]] = set()  # metrics, by name and step

    def update(self) -> None:
        """Send what MLflow does not have: parameters, tags, metrics of finished epochs."""
        from mlflow.entities import Metric

        if not self._id:
            self._open()
        now = int(1000 * time.time())
        metrics = [
            Metric(name, value, now, step)
            for name, value, step in _metrics(self._run)
            if (name, step) not in self._sent
        ]
        run_id, self._id = self._id, ""  # until it has worked; else what is there is asked anew
        self._client.log_batch(run_id, metrics=metrics)
        self._sent |= {(metric.key, metric.step) for metric in metrics}
        self._id = run_id

    def finish(self, killed: bool) -> None:
        """Send the last metrics, the status and, unless the training was killed, the files."""
        self.update()
        status = "KILLED" if killed else _STATUS.get(self._run.read_record().status, "KILLED")
        self._client.set_terminated(self._id, status)
        for path in [] if killed else _files(self._run):
            folder = path.parent.relative_to(self._run.path).as_posix()
            self._client.log_artifact(self._id, str(path), None if folder == "." else folder)

    def _open(self) -> None:
        """Find or create the MLflow run, and what it has."""
        from mlflow.entities import Param, RunTag
        from mlflow.tracking import MlflowClient

        self._client = client = MlflowClient(self._uri)
        config = cfg.load(self._run.config_file)
        found = self._find() or client.create_run(
            self._experiment(config.name), run_name=self._run.path.name
        )
        run_id = found.info.run_id
        documents.write(self._run.tracker_file, TrackerRecord(uri=self._uri, run_id=run_id))
        if found.info.status != "RUNNING":
            client.update_run(run_id, status="RUNNING")
        tags = {
            "cifarnet.version": version("cifarnet"),
            "cifarnet.run": self._run.path.name,
            "cifarnet.config_digest": cfg.recipe_digest(config),
        }
        parameters = [
            Param(name, value)
            for name, value in _parameters(config)
            if name not in found.data.params  # which MLflow never changes
        ]
        client.log_batch(run_id, params=parameters, tags=[RunTag(*tag) for tag in tags.items()])
        self._sent = {
            (name, metric.step)
            for name in found.data.metrics
            for metric in client.get_metric_history(run_id, name)
        }
        self._id = run_id

    def _find(self) -> Any:
        """Return the MLflow run of an earlier session, or None."""
        from mlflow.exceptions import MlflowException

        if not self._run.tracker_file.exists():
            return None
        stored = documents.read(self._run.tracker_file, TrackerRecord)
        try:
            return self._client.get_run(stored.run_id)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise

    def _experiment(self, name: str) -> str:
        """Return the id of the experiment of this name, which is created if there is none."""
        from mlflow.exceptions import MlflowException

        found = self._client.get_experiment_by_name(name)
        if found is None:
            try:
                return str(self._client.create_experiment(name))
            except MlflowException:  # another training may have created it meanwhile
                found = self._client.get_experiment_by_name(name)
                if found is None:
                    raise
        return str(found.experiment_id)


def _parameters(config: cfg.Config) -> Iterator[tuple[str, str]]:
    for name, value in cfg.leaves(config):
        text = value if isinstance(value, str) else json.dumps(value)
        yield re.sub(r"[^\w\-./ ]", "_", name)[:_MAX_NAME], text[:_MAX_VALUE]


def _metrics(run: Run) -> Iterator[tuple[str, float, int]]:
    """Yield the name, value and epoch of each number of `history.csv`."""
    for row in runs.read_history(run):
        epoch = int(row.pop("epoch"))
        for name, value in row.items():
            yield name, value, epoch


def _files(run: Run) -> Iterator[Path]:
    """Yield what the training wrote, without checkpoints."""
    for path in (
        run.config_file,
        run.record_file,
        run.history_file,
        run.images_file,
        run.log_file,
        run.model_file,
        run.report_file,
        *sorted(run.plots_folder.glob("*.png")),
    ):
        if path.is_file():
            yield path


# --- the process ----------------------------------------------------------------------


def main(uri: str, folder: str) -> None:
    """Send after each EPOCH on standard input, and all at its end; answer on standard output."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # MLflow prints
    os.environ.update(_ENVIRONMENT)
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", _REQUEST_SECONDS)
    told: queue.Queue[bytes] = queue.Queue()
    threading.Thread(target=_listen, args=(told,), daemon=True).start()
    mirror = Mirror(uri, Run(Path(folder)))
    message, failed_late = EPOCH, False
    while message == EPOCH:
        works = _attempt(mirror.update, answers)
        failed_late = not works and not told.empty()
        message = _latest(told)
    if not failed_late:  # else the user would wait for another time-out
        _attempt(lambda: mirror.finish(killed=message != END), answers)


def _listen(told: queue.Queue[bytes]) -> None:
    """Pass on each message, then an empty one; end the process when its time is over."""
    while message := sys.stdin.buffer.read(1):
        told.put(message)
    told.put(b"")
    time.sleep(WAIT_SECONDS)
    os._exit(1)


def _latest(told: queue.Queue[bytes]) -> bytes:
    """Wait for a message; of several, return the last EPOCH or what comes after it."""
    message = told.get()
    while message == EPOCH and not told.empty():
        message = told.get()
    return message


def _attempt(action: Callable[[], None], answers: IO[str]) -> bool:
    """Call, answer how it went, and return whether it worked."""
    answer = OK
    try:
        action()
    except Exception as error:
        answer = _reason(error)
    with suppress(OSError):  # the training has ended
        print(answer, file=answers, flush=True)
    return answer == OK


def _reason(error: BaseException) -> str:
    """Describe an error on one line: by its cause, if that is of the system or the network."""
    cause = error
    while (deeper := cause.__cause__ or cause.__context__) is not None:
        cause = deeper
    told = cause if isinstance(cause, OSError) else error
    first = (str(told).strip().splitlines() or [""])[0]
    return printable(f"{type(told).__name__}: {first}")[:300]
