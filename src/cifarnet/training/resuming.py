"""What resuming a run may change, and whether a finished one has anything left to do."""

from __future__ import annotations

from collections.abc import Iterable

from cifarnet import config as cfg
from cifarnet import runs
from cifarnet.errors import ConfigError, RunError
from cifarnet.formatting import difference
from cifarnet.runs import Run, RunRecord
from cifarnet.training.checkpoint import Checkpoint

# Keys that a resumed run may change. All others decide the bits of what was already trained, as
# `train.epochs` does where the schedule depends on it.
MAY_CHANGE = (
    "train.epochs",
    "train.early_stopping",
    "train.stop",
    "train.calibrate",
    "train.distill.teacher",  # to another place; that it is the same is checked
    "data.path",
    *cfg.UNTRAINED,
)


def changed_config(
    run: Run, saved: Checkpoint | None, overrides: Iterable[str]
) -> tuple[cfg.Config, dict[str, str]]:
    """Return the config with the overrides, and by key what differs from the checkpoint's."""
    if saved is None:
        runs.check(run, run.config_file)
    config = cfg.load(run.config_file, overrides)
    changed = cfg.changes(cfg.load(run.config_file) if saved is None else saved.config, config)
    lines = {key: difference(key, *values, " -> ") for key, values in changed.items()}
    refused = [f"  {line}" for key, line in lines.items() if not key.startswith(MAY_CHANGE)]
    if refused:
        listed = "\n".join(refused)
        raise ConfigError(
            f"{run.path} was trained with another config:\n{listed}\n"
            f"Only {', '.join(MAY_CHANGE)} may change. Put the others back, or start a new run."
        )
    return config, lines


def check_finished(
    run: Run, record: RunRecord, saved: Checkpoint | None, config: cfg.Config
) -> None:
    """Refuse to resume a run that, with its config as it is now, has nothing left to do."""
    # A checkpoint is older than a calibration by an earlier resume; the record is not.
    if saved is not None and config.train.calibrate != (record.calibration is not None):
        return
    before = cfg.load(run.config_file) if saved is None else saved.config
    all_done = saved is None or (record.steps_done or 0) >= record.steps
    if all_done and config.train.epochs == before.train.epochs:
        further = f"give more epochs: cifarnet train --resume {run.path} -o train.epochs=N"
    elif saved is not None and saved.history.stop_reason(config.train) is not None:
        further = "switch off what ended it: -o train.early_stopping=null -o train.stop=null"
    else:
        return
    raise RunError(f"{run.path} has finished: {record.stop_reason}. To train further, {further}")
