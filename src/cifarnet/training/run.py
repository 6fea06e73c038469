"""Train a config in a new run directory, and resume a run that stopped."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from pathlib import Path

from cifarnet import config as cfg
from cifarnet import data, runs
from cifarnet.backend import default_settings
from cifarnet.callbacks import Callback, Callbacks, job
from cifarnet.callbacks.tracking import MlflowTracker
from cifarnet.cost import Meter, Power
from cifarnet.errors import ConfigError, RunError
from cifarnet.reporting import page
from cifarnet.runs import CostRecord, Run, documents
from cifarnet.runs.records import PrecisionRecord
from cifarnet.training import checkpoint, distillation, precision, resuming
from cifarnet.training.checkpoint import Checkpoint
from cifarnet.training.description import describe, reopen
from cifarnet.training.distillation import Teacher
from cifarnet.training.history import History
from cifarnet.training.logs import LogFile, TensorBoard
from cifarnet.training.loop import Loop
from cifarnet.training.meeting import Meeting
from cifarnet.training.step import Trainer
from cifarnet.training.workers import Workers
from cifarnet.worker import Worker


@default_settings()
def train(
    config: cfg.Config | str | Path,
    root: str | Path | None = None,
    config_file: str | None = None,
    command: str | None = None,
    callbacks: Iterable[Callback] | None = None,
    power: Power | None = None,
    workers: Workers | None = None,
) -> Run:
    """Train a network in a new run directory.

    Args:
        config: a config, the name of a shipped one, or the path of a YAML file.
        root: folder of the new run directory; None: CIFARNET_RUNS, or `runs`.
        config_file, command: recorded in `run.json`.
        callbacks: receive the progress and may stop the training. None shows it on a terminal or
            in a notebook; an empty list shows nothing.
        power: of this machine, and its electricity, for the record's cost.
        workers: that train together, this process the first; the others call `join_training`.

    Returns:
        The run: `finished`, or `stopped` by a callback.

    Raises:
        ConfigError, DataError, ModelError: before anything is written.
        TrainingError: the loss is not finite; a worker is missing or lost.
        Interrupted: by Ctrl-C, SIGTERM, SIGHUP or SIGUSR1; `resume` continues.

    Example:
        run = cifarnet.train(cifarnet.load_config("article", ["train.epochs=3"]))
        print(run.path, run.read_record().validation_accuracy)
    """
    meter = Meter(power)
    with job(callbacks) as report, Meeting(workers, report) as meeting:
        if not isinstance(config, cfg.Config):
            config, config_file = cfg.load(config), config_file or str(config)
        _call_workers(config, meeting)
        file = distillation.open_teacher(config, report)
        report.on_stage("loading the images")
        dataset = data.load(config.data, config.seed, report.on_fetch)
        _check_validation(config, dataset)
        config, measured = _choose_precision(config, meeting.is_alone, report)
        config, teacher = distillation.prepare(config, dataset, file)
        trainer = _trainer(config, dataset, teacher, meeting, report)
        record = describe(config, dataset, trainer, teacher).replace(
            config_file=config_file, command=command, precision=measured, status="running"
        )
        run = runs.create(config.name, root, _files(config, dataset), record)
        with runs.lock(run):
            return _train(run, config, trainer, None, report, meter)


def _files(config: cfg.Config, dataset: data.Dataset) -> dict[str, str]:
    """Return the texts that a run begins with, by file name."""
    images = data.image_rows(dataset)
    listed = {"images.csv": runs.images_csv(images)} if images else {}
    return {"config.yaml": cfg.dump(config), **listed}


@default_settings()
def resume(
    run: Run | str | Path,
    overrides: Iterable[str] = (),
    callbacks: Iterable[Callback] | None = None,
    power: Power | None = None,
    workers: Workers | None = None,
) -> Run:
    """Resume a run in its own directory, to the bits it would have had without the stop.

    Args:
        run: a run, its path, its name or `latest`; not finished, or to train for more epochs, or
            to calibrate, or no longer, with `train.calibrate`, which trains nothing.
        overrides: `key=value` texts for keys in `resuming.MAY_CHANGE`.
        callbacks, power, workers: as for `train`; the record's cost is that of all sessions. The
            other workers need no copy of the run. Another number of workers gives other bits.

    Returns:
        The run: `finished`, or `stopped` by a callback.

    Raises:
        ConfigError: the config is damaged, or an override of another key.
        RunError: it has finished, another process is writing it, its checkpoints are damaged, or
            they are of another config, other data or other code.
        DataError, TrainingError, Interrupted: as for `train`.

    Example:
        run = cifarnet.resume("latest")
        run = cifarnet.resume(run, ["train.epochs=20"])
    """
    with job(callbacks) as report, Meeting(workers, report) as meeting:
        found = runs.open_run(run)
        with runs.lock(found):
            return _resume(found, overrides, report, power, meeting)


def _resume(
    run: Run, overrides: Iterable[str], report: Callbacks, power: Power | None, meeting: Meeting
) -> Run:
    """Resume a run whose lock is held."""
    record = run.read_record()
    # Earlier versions recorded no cost: that of their steps is unknown.
    meter = Meter(power, record.cost or (CostRecord() if record.steps_done else None))
    notes: list[str] = []
    saved = checkpoint.load_newest(run, notes.append)
    config, changed = resuming.changed_config(run, saved, overrides)
    notes += changed.values()
    if record.status == "finished":
        resuming.check_finished(run, record, saved, config)
    _call_workers(config, meeting)
    file = distillation.open_teacher(config, report)
    report.on_stage("loading the images")
    dataset = data.load_recorded(run, config, report.on_fetch, None)
    _check_validation(config, dataset)
    config, teacher = distillation.prepare(config, dataset, file)
    distillation.check_resumed(record.teacher, teacher)
    trainer = _trainer(config, dataset, teacher, meeting, report)
    if saved is not None:
        _restore(run, trainer, saved)
    with runs.changing(run, run.config_file):
        runs.write_text(run.config_file, cfg.dump(config))
    runs.forget(run, run.history_file, run.model_file)
    now = reopen(run.read_record(), describe(config, dataset, trainer, teacher), notes)
    documents.write(run.record_file, now)
    return _train(run, config, trainer, saved, report, meter)


def _trainer(
    config: cfg.Config,
    dataset: data.Dataset,
    teacher: Teacher | None,
    meeting: Meeting,
    report: Callbacks,
) -> Trainer:
    team = meeting.begin(config, dataset)
    report.on_stage("building the network")
    return distillation.trainer(config, dataset, teacher, team)


def _train(
    run: Run,
    config: cfg.Config,
    trainer: Trainer,
    saved: Checkpoint | None,
    report: Callbacks,
    meter: Meter,
) -> Run:
    """Train to the end, with the callbacks that write into the run before those of the caller."""
    trainer.share_state()
    history = History() if saved is None else saved.history
    selected = None if saved is None else saved.selected
    log = LogFile()
    own: list[Callback] = [log]
    if config.train.tensorboard:
        own.append(TensorBoard())
    if config.train.mlflow is not None:
        own.append(MlflowTracker(config.train.mlflow, Callbacks([log, report]).on_warning))
    with job(own) as logs:
        together = Callbacks([logs, report])
        with page.refreshed([run], together):
            return Loop(run, config, trainer, history, selected, together, meter).run()


def _choose_precision(
    config: cfg.Config, alone: bool, report: Callbacks
) -> tuple[cfg.Config, PrecisionRecord]:
    """Replace `precision: auto` by the fastest one."""
    if config.train.precision != "auto":
        return config, PrecisionRecord(chosen=config.train.precision)
    if alone:
        measured = precision.choose(report)
    else:  # workers cannot be connected once TensorFlow's devices are in use
        with Worker() as worker:
            measured = worker.call(precision.choose)
    train = config.train.model_copy(update={"precision": measured.chosen})
    return config.model_copy(update={"train": train}), measured


def _restore(run: Run, trainer: Trainer, saved: Checkpoint) -> None:
    try:
        trainer.load_state(saved.state)
    except (KeyError, ValueError) as error:
        raise RunError(
            f"the checkpoint of {run.path} does not fit its network: {error}. It was written by "
            "another version of cifarnet or Keras; use that one, or start a new run."
        ) from error
    if trainer.step > trainer.total_steps:
        done = trainer.step / trainer.steps_per_epoch
        raise ConfigError(
            f"train.epochs: expected at least the {done:g} that {run.path} has already trained, "
            f"received {trainer.total_steps / trainer.steps_per_epoch:g}"
        )


def _check_validation(config: cfg.Config, dataset: data.Dataset) -> None:
    if len(dataset.validation.labels) == 0:
        try:
            config.require_validation()
        except ValueError as error:
            raise ConfigError(f"{error}, or a folder val/ of images") from error


def _call_workers(config: cfg.Config, meeting: Meeting) -> None:
    """Tell the other workers what is trained, after checks that need nothing else."""
    _check_extras(config)
    if config.train.distill is not None and not meeting.is_alone:
        raise ConfigError(
            "train.distill: a teacher is for a training of one process. Leave out --workers"
        )
    meeting.call(config)


def _check_extras(config: cfg.Config) -> None:
    for name, wanted in (
        ("tensorboard", config.train.tensorboard),
        ("mlflow", config.train.mlflow is not None),
    ):
        if wanted and importlib.util.find_spec(name) is None:
            raise ConfigError(
                f"train.{name} needs the package {name}; install it with: "
                f"pip install 'cifarnet[{name}]'"
            )
