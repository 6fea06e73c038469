"""A training from its config, or from where it stopped."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cifarnet import config as cfg
from cifarnet import data, runs
from cifarnet.callbacks import Observer
from cifarnet.errors import ConfigError, RunError
from cifarnet.runs import RunDir
from cifarnet.training import checkpoint, precision
from cifarnet.training.checkpoint import Checkpoint
from cifarnet.training.description import describe, reopen
from cifarnet.training.history import Progress
from cifarnet.training.loop import Session
from cifarnet.training.step import Trainer

# Keys that a resumed run may change. All others decide the bits of what was already trained.
MAY_CHANGE = ("train.epochs", "train.checkpoint", "train.tensorboard", "data.path", "export")


def run(
    config: cfg.Config,
    root: Path = runs.RUNS,
    config_file: str | None = None,
    command: str | None = None,
    observer: Observer | None = None,
) -> RunDir:
    """Train a network in a new run directory.

    Args:
        config: all that decides the result.
        root: folder for the run directory.
        config_file, command: noted in the manifest.
        observer: told of the progress.

    Returns:
        The finished run, with its model saved.

    Raises:
        ConfigError, DataError, ModelError: before anything is written.
        TrainingError: the loss is no longer a number.
        Interrupted: stopped by the user; `resume` goes on.
    """
    observer = observer or Observer()
    _check_extras(config)
    dataset = data.load(config.data, config.seed, observer.fetching)
    measured: dict[str, Any] = {"chosen": config.train.precision}
    if config.train.precision == "auto":
        chosen, measured = precision.choose()
        train_config = config.train.model_copy(update={"precision": chosen})
        config = config.model_copy(update={"train": train_config})
    trainer = Trainer(config, dataset)
    about = describe(config, dataset, trainer) | {
        "config_file": config_file,
        "command": command,
        "precision": measured,
        "status": "running",
    }
    new = runs.create(config.name, root, {"config.yaml": cfg.dump(config)}, about)
    with runs.lock(new):
        return Session(new, config, trainer, Progress(), None, observer).run()


def resume(run: RunDir, overrides: Iterable[str] = (), observer: Observer | None = None) -> RunDir:
    """Go on with a run in its own directory, as if it had never stopped.

    Args:
        run: a run that is not finished, or one that is to go further.
        overrides: `key=value` texts for keys in `MAY_CHANGE`.
        observer: told of the progress, and of what differs from before.

    Raises:
        ConfigError: the config is damaged, or an override of another key.
        RunError: it has finished, another process is writing it, its checkpoints are damaged, or
            they are of another config, other data or other code.
        DataError, TrainingError, Interrupted: as for `run`.
    """
    observer = observer or Observer()
    with runs.lock(run):
        manifest = run.read_manifest()
        notes: list[str] = []
        saved = checkpoint.load_newest(run, notes.append)
        config, changed = _config_to_go_on(run, saved, overrides)
        notes += changed.values()
        if manifest.get("status") == "finished" and "train.epochs" not in changed:
            raise RunError(
                f"{run.path} has finished: {manifest.get('why')}. To go further, give more "
                f"epochs: cifarnet train --resume {run.path} -o train.epochs=N"
            )
        dataset = data.load(config.data, config.seed, observer.fetching)
        if dataset.digests() != manifest.get("data", {}).get("digests"):
            raise RunError(
                f"{run.path} was trained on other images than {config.data.source} gives now; "
                "restore them or start a new run"
            )
        trainer = Trainer(config, dataset)
        progress, selected = Progress(), None
        if saved is not None:
            _restore(run, trainer, saved)
            progress, selected = saved.progress, saved.selected
        with runs.changing(run, run.config):
            runs.write_text(run.config, cfg.dump(config))
        runs.forget(run, run.history, run.model)
        run.update_manifest(**reopen(manifest, describe(config, dataset, trainer), notes))
        return Session(run, config, trainer, progress, selected, observer).run()


def _config_to_go_on(
    run: RunDir, saved: Checkpoint | None, overrides: Iterable[str]
) -> tuple[cfg.Config, dict[str, str]]:
    """The run's config with the overrides, and by key, in words, what the checkpoint's had."""
    if saved is None:
        runs.check(run, run.config)
    config = cfg.load(run.config, overrides)
    changed = cfg.changes(cfg.load(run.config) if saved is None else saved.config, config)
    lines = {key: f"{key}: {old} -> {new}" for key, (old, new) in changed.items()}
    refused = [f"  {line}" for key, line in lines.items() if not key.startswith(MAY_CHANGE)]
    if refused:
        listed = "\n".join(refused)
        raise ConfigError(
            f"{run.path} was trained with another config than it is to go on with:\n{listed}\n"
            f"Only {', '.join(MAY_CHANGE)} may change. Put the others back, or start a new run."
        )
    return config, lines


def _restore(run: RunDir, trainer: Trainer, saved: Checkpoint) -> None:
    try:
        trainer.load_state(saved.state)
    except (KeyError, ValueError) as error:
        raise RunError(
            f"the checkpoint of {run.path} does not fit its network: {error}. It was written by "
            "another version of cifarnet or Keras; use that one, or start a new run."
        ) from None
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
