"""Sweeps whose trainings are stubs: real processes and run directories, no TensorFlow.

A stub has a state that each epoch hashes again, so that a training that was killed and resumed has
the state of the undisturbed one only if no epoch was lost or done twice.
"""

import hashlib
import json
import os
import signal
import threading
import time
import unittest.mock
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cifarnet import config as cfg
from cifarnet import runs
from cifarnet.callbacks import Callback, Callbacks, EpochResult
from cifarnet.errors import DataError, TrainingError
from cifarnet.runs import Run, RunRecord
from cifarnet.sweeps import folder as folders
from cifarnet.sweeps import process, settings, storage
from cifarnet.sweeps.folder import SweepFolder
from cifarnet.sweeps.process import Ended, Job, Link, find_run, outcome
from cifarnet.sweeps.run import work_on
from helpers.commands import forking

BASE = """\
name: base
data: {source: synthetic, limit: 200}
model: {layers: [Flatten, {Dense: {units: 10}}, {Dense: {units: 10}}]}
train: {epochs: 6, batch_size: 20, learning_rate: 0.5, precision: float32}
"""
HEADER = "epoch,loss,accuracy,validation_loss,validation_accuracy,learning_rate,a,b\n"


def write(folder: Path, text: str, name: str = "s", images: str = "") -> Path:
    """Write a sweep file and its base, which trains stubs for 6 epochs."""
    source = f"source: directory, path: {images}" if images else "source: synthetic, limit: 200"
    (folder / "base.yaml").write_text(BASE.replace("source: synthetic, limit: 200", source))
    path = folder / f"{name}.sweep.yaml"
    path.write_text(f"base: base.yaml\n{text}")
    return path


def begin(folder: Path, text: str, url: str | None = None, images: str = "") -> SweepFolder:
    """Make the folder of a sweep, or join it, with its runs in `folder`."""
    return folders.begin_or_join(
        settings.read(write(folder, text, images=images)),
        storage.without_password(url),
        folder / "runs",
    )


# --- the stub -------------------------------------------------------------------------


def accuracy(config: cfg.Config, epoch: int) -> float:
    """The validation accuracy: the learning rate, and a thousandth per epoch and per seed."""
    return round(config.train.learning_rate + 0.001 * epoch + 0.001 * config.seed, 6)


def final_state(config: cfg.Config) -> str:
    """The state of an undisturbed training."""
    state = _first(config)
    for epoch in range(1, int(config.train.epochs) + 1):
        state = _next(state, epoch)
    return state


def train(job: Job, link: Link) -> Ended:
    """Train a stub: `momentum` is seconds per epoch, `weight_decay` what goes wrong, if above 0.

    After epoch 2 it waits while `hold` is in the folder, or until it is asked to stop.
    """
    run = find_run(job.folder, job.config.name)
    if run is None:
        record = RunRecord(name=job.config.name, seed=job.config.seed, status="running")
        files = {"config.yaml": cfg.dump(job.config), "history.csv": HEADER}
        run = runs.create(job.config.name, job.folder, files, record)
    while runs.is_locked(run):  # by a stub whose sweep was killed
        time.sleep(0.01)
    with runs.lock(run):
        state, epoch = _load(run, job.config)
        _write_history(run, job.config, epoch)
        link.on_train_begin(run, run.read_record())
        run.update_record(status="running", stop_reason=None)
        while epoch < job.config.train.epochs:
            while epoch == 2 and hold(job.folder).exists() and link.stop_reason() is None:
                time.sleep(0.01)
            if (reason := link.stop_reason()) is not None:
                run.update_record(status="stopped", stop_reason=reason)
                return outcome(run)
            _fail(run, job.config, epoch)
            time.sleep(job.config.train.momentum)
            epoch += 1
            state = _next(state, epoch)
            runs.write_json(run.path / "state.json", {"state": state, "epoch": epoch})
            _write_history(run, job.config, epoch)
            link.on_epoch_end(_row(job.config, epoch), False)
        value = accuracy(job.config, epoch)
        run.update_record(status="finished", validation_accuracy=value)
    return outcome(run)


def hold(folder: Path) -> Path:
    """The file that keeps stubs from their third epoch."""
    return folder / "hold"


def dying(job: Job, link: Link) -> Ended:
    """Die at once."""
    os.kill(os.getpid(), signal.SIGKILL)
    return Ended("stopped")


def hanging(job: Job, link: Link) -> Ended:
    """Train a stub in a process that does not end."""
    threading.Thread(target=threading.Event().wait).start()
    return train(job, link)


def _fail(run: Run, config: cfg.Config, epoch: int) -> None:
    """Fail after epoch 2, in the way that the weight decay says: 1 always, the others once."""
    kind, flag = config.train.weight_decay, run.path / "failed"
    if epoch != 2 or not kind or (kind > 1 and flag.exists()):
        return
    flag.touch()
    if kind == 1:
        raise TrainingError("the loss is not finite")
    if kind == 2:
        raise DataError("the images are not here.")
    os.kill(os.getpid(), signal.SIGKILL)


def _first(config: cfg.Config) -> str:
    return hashlib.sha256(f"{config.seed} {config.train.learning_rate}".encode()).hexdigest()


def _next(state: str, epoch: int) -> str:
    return hashlib.sha256(f"{state} {epoch}".encode()).hexdigest()


def _load(run: Run, config: cfg.Config) -> tuple[str, int]:
    path = run.path / "state.json"
    if not path.exists():
        return _first(config), 0
    found = json.loads(path.read_text())
    return found["state"], found["epoch"]


def _write_history(run: Run, config: cfg.Config, epochs: int) -> None:
    rows = [f"{n},0,0,0,{accuracy(config, n)},0,0,0\n" for n in range(1, epochs + 1)]
    runs.write_text(run.history_file, HEADER + "".join(rows))


def _row(config: cfg.Config, epoch: int) -> EpochResult:
    return EpochResult(epoch, 0.0, 0.0, 0.0, accuracy(config, epoch), 0.0, 0.0, 0.0)


# --- processes ------------------------------------------------------------------------


@contextmanager
def forked_trainings() -> Iterator[None]:
    """Fork the stubs that this process starts: a new interpreter takes half a second."""
    context = forking()
    with unittest.mock.patch.object(process.multiprocessing, "get_context", lambda _: context):
        yield


def run_here(folder: SweepFolder, jobs: int = 1, callbacks: Iterable[Callback] = ()) -> None:
    """Run a sweep with stubs in this process."""
    with forked_trainings():
        work_on(folder, None, jobs, Callbacks(callbacks), train)


def go_on(path: Path, url: str | None = None, jobs: int = 1) -> None:
    """Run the sweep of a folder with stubs."""
    work_on(SweepFolder(path), url, jobs, Callbacks([]), train)


def started(path: Path, url: str | None = None, jobs: int = 1) -> Any:
    """Return a process that runs the sweep of a folder with stubs."""
    started = forking().Process(target=go_on, args=(path, url, jobs))
    started.start()
    return started


def really_go_on(path: Path, jobs: int) -> None:
    """Run the sweep of a folder."""
    from cifarnet.sweeps import run_sweep

    run_sweep(path, jobs, callbacks=[])


def really_train(config: Path, home: Path) -> None:
    """Train the config of a run in another folder of runs."""
    from cifarnet import training

    training.train(cfg.load(config), home, callbacks=[])


def states(folder: SweepFolder) -> dict[str, tuple[str, str]]:
    """The state of each finished run and that of its undisturbed training, by the run's name."""
    found = {}
    for run in runs.all_runs(folder.path):
        config = cfg.load(run.config_file)
        state = json.loads((run.path / "state.json").read_text())["state"]
        assert run.read_record().status == "finished"
        assert config.name not in found
        found[config.name] = state, final_state(config)
    return found
