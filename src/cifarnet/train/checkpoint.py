"""The checkpoint: one file with all that exact resume needs, replaced atomically."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cifarnet import rundir
from cifarnet.errors import RunError
from cifarnet.train.progress import Progress

_PROGRESS = "progress"
_SELECTED = "selected/"


@dataclass(frozen=True)
class Checkpoint:
    """A training stopped between two steps.

    Attributes:
        state: what `Trainer.state` gives.
        progress: history, selection and stopping so far.
        selected: weights of the best epoch so far, or None while there is none.
    """

    state: dict[str, np.ndarray]
    progress: Progress
    selected: list[np.ndarray] | None

    def save(self, path: Path) -> None:
        """Write the file.

        Raises:
            RunError: it cannot be written; the older checkpoint stays.
        """
        text = json.dumps(self.progress.to_dict())
        arrays: dict[str, Any] = {**self.state, _PROGRESS: np.asarray(text)}
        for i, weight in enumerate(self.selected or []):
            arrays[f"{_SELECTED}{i:04}"] = weight
        rundir.write_atomic(path, lambda file: np.savez(file, **arrays))


def load(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        RunError: there is none, or it is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        progress = Progress(**json.loads(str(arrays.pop(_PROGRESS))))
    except FileNotFoundError:
        raise RunError(
            f"{path.parent.parent} has no checkpoint: it stopped before its first epoch ended. "
            "Start it anew with `cifarnet train --config`."
        ) from None
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise RunError(f"the checkpoint {path} is damaged: {error}") from None
    selected = [arrays.pop(name) for name in sorted(arrays) if name.startswith(_SELECTED)]
    return Checkpoint(arrays, progress, selected or None)
