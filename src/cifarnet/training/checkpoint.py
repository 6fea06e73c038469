"""Checkpoints: each one file with all that exact resume needs; the two newest stay."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from cifarnet import config as cfg
from cifarnet import runs
from cifarnet.errors import ConfigError, RunError
from cifarnet.runs import Run
from cifarnet.training.history import History

_ABOUT = "about"
_SELECTED = "selected/"
_GENERATIONS = 2


@dataclass(frozen=True)
class Checkpoint:
    """A training stopped between two steps.

    Attributes:
        config: what is trained.
        state: what `Trainer.state` gives.
        history: epochs, selection and stopping so far.
        selected: weights of the best epoch so far, or None while there is none.
    """

    config: cfg.Config
    state: dict[str, np.ndarray]
    history: History
    selected: list[np.ndarray] | None

    def save(self, run: Run) -> None:
        """Write the file, then remove all but the two newest.

        Raises:
            RunError: it cannot be written; the older checkpoints stay.
        """
        about = {"config": self.config.model_dump(mode="json"), "progress": self.history.to_json()}
        arrays = {**self.state, _ABOUT: np.frombuffer(json.dumps(about).encode(), np.uint8)}
        for i, weight in enumerate(self.selected or []):
            arrays[f"{_SELECTED}{i:04}"] = weight
        runs.write_arrays(run.checkpoint(int(self.state["step"])), arrays)
        for old in run.checkpoints()[:-_GENERATIONS]:
            old.unlink(missing_ok=True)


def load_newest(run: Run, note: Callable[[str], None]) -> Checkpoint | None:
    """Load the newest whole checkpoint, or None if there is none. Remove damaged newer ones.

    Args:
        run: a run whose lock is held.
        note: called with what is wrong with each damaged one.

    Raises:
        RunError: all are damaged.
    """
    damaged = []
    for path in reversed(run.checkpoints()):
        try:
            found = _read(runs.read_arrays(path))
        except (RunError, ConfigError, KeyError, ValueError, TypeError) as error:
            damaged.append(path)
            note(f"{error}; skipped")
            continue
        for broken in damaged:
            broken.unlink()
        return found
    if damaged:
        raise RunError(
            f"no checkpoint of {run.path} is whole: {', '.join(path.name for path in damaged)}. "
            f"Remove the folder {damaged[0].parent} to train it again from its start."
        )
    return None


def _read(arrays: dict[str, np.ndarray]) -> Checkpoint:
    about: dict[str, Any] = json.loads(arrays.pop(_ABOUT).tobytes())
    selected = [arrays.pop(name) for name in sorted(arrays) if name.startswith(_SELECTED)]
    config = cfg.parse(about["config"], "the config in the checkpoint")
    return Checkpoint(config, arrays, History.from_json(about["progress"]), selected or None)
