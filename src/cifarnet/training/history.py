"""The history of a training, and what selection and early stopping need of it."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import asdict, dataclass, field, fields

import numpy as np

from cifarnet import config as cfg
from cifarnet.callbacks import EpochResult
from cifarnet.errors import JsonObject

COLUMNS = tuple(field.name for field in fields(EpochResult))


@dataclass
class History:
    """Plain numbers, saved in the checkpoint beside the network's state.

    Attributes:
        rows: finished epochs.
        losses, accuracies: of each step of the unfinished epoch.
        seconds: of training so far, over all sessions.
        epoch_seconds: of the unfinished epoch.
        best_accuracy, best_epoch: highest validation accuracy and the epoch it came after.
        best_loss, waited: lowest validation loss that counted, and epochs since.
    """

    rows: list[EpochResult] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    accuracies: list[float] = field(default_factory=list)
    seconds: float = 0.0
    epoch_seconds: float = 0.0
    best_accuracy: float | None = None
    best_epoch: int | None = None
    best_loss: float = math.inf
    waited: int = 0

    def add_steps(self, losses: np.ndarray, accuracies: np.ndarray, seconds: float) -> None:
        """Add steps of the current epoch: float32 [n] each."""
        self.losses += [float(value) for value in losses]
        self.accuracies += [float(value) for value in accuracies]
        self.epoch_seconds += seconds
        self.seconds += seconds

    def end_epoch(
        self,
        validation: tuple[float, float] | None,
        learning_rate: float,
        images_per_second: float,
        min_delta: float,
    ) -> bool:
        """Close the epoch: add its row, and compare it with the best.

        Args:
            validation: loss and accuracy, or None without a validation set.
            learning_rate: of its last step.
            images_per_second: of its training steps.
            min_delta: fall of the validation loss that counts as better.

        Returns:
            Whether its validation accuracy is the best so far.
        """
        loss, accuracy = validation if validation is not None else (None, None)
        self.rows.append(
            EpochResult(
                epoch=len(self.rows) + 1,
                loss=float(np.mean(self.losses)),
                accuracy=float(np.mean(self.accuracies)),
                validation_loss=loss,
                validation_accuracy=accuracy,
                learning_rate=learning_rate,
                images_per_second=round(images_per_second, 1),
                seconds=round(self.epoch_seconds, 3),
            )
        )
        self.losses, self.accuracies, self.epoch_seconds = [], [], 0.0
        if loss is None or accuracy is None:
            return False
        improved = loss < self.best_loss - min_delta
        self.waited = 0 if improved else self.waited + 1
        self.best_loss = loss if improved else self.best_loss
        if self.best_accuracy is not None and accuracy <= self.best_accuracy:
            return False
        self.best_accuracy, self.best_epoch = accuracy, len(self.rows)
        return True

    def stop_reason(self, train: cfg.TrainConfig) -> str | None:
        """Return the reason to end before the last epoch, or None."""
        if not self.rows or self.losses:
            return None
        accuracy = self.rows[-1].validation_accuracy
        if train.stop and accuracy is not None and accuracy >= train.stop.validation_accuracy:
            return f"validation accuracy reached {train.stop.validation_accuracy}"
        if train.early_stopping and self.waited >= train.early_stopping.patience:
            return f"validation loss has not improved for {self.waited} epochs"
        return None

    def to_csv(self) -> str:
        """Return the rows as CSV with a header; an absent value is an empty field."""
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in self.rows)
        return text.getvalue()

    def to_json(self) -> JsonObject:
        """Return JSON-able values; `from_json` takes them back."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: JsonObject) -> History:
        """Restore a history.

        Raises:
            TypeError, KeyError: it is not one.
        """
        return cls(**{**value, "rows": [EpochResult(**row) for row in value["rows"]]})
