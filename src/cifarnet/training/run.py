"""A training from its config, or from where it stopped."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cifarnet import config as cfg
from cifarnet import data, runs
from cifarnet.callbacks import Callback, Callbacks
from cifarnet.errors import ConfigError, RunError
from cifarnet.reporting import plots
from cifarnet.runs import Run, records
from cifarnet.runs.records import PrecisionRecord
from cifarnet.training import checkpoint, precision
from cifarnet.training.checkpoint import Checkpoint
from cifarnet.training.description import describe, reopen
from cifarnet.training.history import History
from cifarnet.training.logs import LogFile, TensorBoard
from cifarnet.training.loop import Loop
from cifarnet.training.step import Trainer

# Keys that a resumed run may change. All others decide the bits of what was already trained.
MAY_CHANGE = ("train.epochs", "train.checkpoint", "train.tensorboard", "data.path", "export")


def train(
    config: cfg.Config,
    root: Path = runs.RUNS,
    config_file: str | None = None,
    command: str | None = None,
    callbacks: Iterable[Callback] = (),
) -> Run:
    """Train a network in a new run directory.

    Args:
        config: all that decides the result.
        root: folder for the run directory.
        config_file, command: recorded in `run.json`.
        callbacks: told of the progress; may stop the training.

    Returns:
        The run, with its model and curves.

    Raises:
        ConfigError, DataError, ModelError: before anything is written.
        TrainingError: the loss is not finite.
        Interrupted: stopped by the user; `resume` continues.
    """
    told = _all(config, callbacks)
    with _reporting_errors(told):
        _check_extras(config)
        dataset = data.load(config.data, config.seed, told.on_fetch)
        measured = PrecisionRecord(chosen=config.train.precision)
        if config.train.precision == "auto":
            measured = precision.choose()
            chosen = config.train.model_copy(update={"precision": measured.chosen})
            config = config.model_copy(update={"train": chosen})
        trainer = Trainer(config, dataset)
        record = describe(config, dataset, trainer).model_copy(
            update={
                "config_file": config_file,
                "command": command,
                "precision": measured,
                "status": "running",
            }
        )
        new = runs.create(config.name, root, {"config.yaml": cfg.dump(config)}, record)
        with runs.lock(new):
            return _finish(Loop(new, config, trainer, History(), None, told).run())


def resume(run: Run, overrides: Iterable[str] = (), callbacks: Iterable[Callback] = ()) -> Run:
    """Resume a run in its own directory, to the bits it would have had without the stop.

    Args:
        run: a run that is not finished, or one that is to train for more epochs.
        overrides: `key=value` texts for keys in `MAY_CHANGE`.
        callbacks: told of the progress; may stop the training.

    Raises:
        ConfigError: the config is damaged, or an override of another key.
        RunError: it has finished, another process is writing it, its checkpoints are damaged, or
            they are of another config, other data or other code.
        DataError, TrainingError, Interrupted: as for `train`.
    """
    with runs.lock(run):
        record = run.read_record()
        notes: list[str] = []
        saved = checkpoint.load_newest(run, notes.append)
        config, changed = _resumed_config(run, saved, overrides)
        notes += changed.values()
        if record.status == "finished" and "train.epochs" not in changed:
            raise RunError(
                f"{run.path} has finished: {record.stop_reason}. To train further, give more "
                f"epochs: cifarnet train --resume {run.path} -o train.epochs=N"
            )
        told = _all(config, callbacks)
        with _reporting_errors(told):
            dataset = data.load(config.data, config.seed, told.on_fetch)
            if dataset.digests() != record.data.digests:
                raise RunError(
                    f"{run.path} was trained on other images than {config.data.source} gives now; "
                    "restore them or start a new run"
                )
            trainer = Trainer(config, dataset)
            history, selected = History(), None
            if saved is not None:
                _restore(run, trainer, saved)
                history, selected = saved.history, saved.selected
            with runs.changing(run, run.config_file):
                runs.write_text(run.config_file, cfg.dump(config))
            runs.forget(run, run.history_file, run.model_file)
            now = reopen(run.read_record(), describe(config, dataset, trainer), notes)
            records.write(run.record_file, now)
            return _finish(Loop(run, config, trainer, history, selected, told).run())


def _all(config: cfg.Config, callbacks: Iterable[Callback]) -> Callbacks:
    """The user's callbacks, and those that write into the run."""
    own: list[Callback] = [LogFile()]
    if config.train.tensorboard:
        own.append(TensorBoard())
    return Callbacks([*callbacks, *own])


@contextmanager
def _reporting_errors(callbacks: Callback) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        callbacks.on_error(error)
        raise


def _finish(run: Run) -> Run:
    plots.curves(run.history_file, run.plots_folder / "curves.png")
    return run


def _resumed_config(
    run: Run, saved: Checkpoint | None, overrides: Iterable[str]
) -> tuple[cfg.Config, dict[str, str]]:
    """Return the config with the overrides, and by key what differs from the checkpoint's."""
    if saved is None:
        runs.check(run, run.config_file)
    config = cfg.load(run.config_file, overrides)
    changed = cfg.changes(cfg.load(run.config_file) if saved is None else saved.config, config)
    lines = {key: f"{key}: {old} -> {new}" for key, (old, new) in changed.items()}
    refused = [f"  {line}" for key, line in lines.items() if not key.startswith(MAY_CHANGE)]
    if refused:
        listed = "\n".join(refused)
        raise ConfigError(
            f"{run.path} was trained with another config:\n{listed}\n"
            f"Only {', '.join(MAY_CHANGE)} may change. Put the others back, or start a new run."
        )
    return config, lines


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
            f"train.epochs: expected at least the {done:g} that {run.path} has behind it, "
            f"received {trainer.total_steps / trainer.steps_per_epoch:g}"
        )


def _check_extras(config: cfg.Config) -> None:
    if config.train.tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise ConfigError(
            "train.tensorboard: true needs the package tensorboard; install it with: "
            "pip install 'cifarnet[tensorboard]'"
        )
