"""Fine-tune a run's network for a few epochs at a lower rate before an export."""

from __future__ import annotations

from typing import Any

from cifarnet import config as cfg
from cifarnet.backend import keras
from cifarnet.data import Dataset
from cifarnet.training.step import Trainer


def fine_tune(
    trained: keras.Model,
    config: cfg.Config,
    dataset: Dataset,
    epochs: float,
    learning_rate: float | None = None,
    **parts: Any,
) -> keras.Model:
    """Fine-tune a copy of a run's network.

    Args:
        trained: the run's saved model.
        config: the run's config, with the precision that was chosen.
        dataset: the run's images.
        epochs: passes over the training images.
        learning_rate: peak of a cosine to zero; None: a tenth of the run's.
        parts: other parts of the training step, as for `Trainer`.

    Returns:
        A float32 model of Keras' own layers.

    Raises:
        ConfigError, ModelError: as for `Trainer`.
    """
    train = config.train.model_copy(
        update={
            "epochs": epochs,
            "learning_rate": learning_rate or config.train.learning_rate / 10,
            "schedule": cfg.CosineSchedule(kind="cosine"),
            # Weight averages and frozen layers belong to the original schedule.
            "ema": None,
            "lookahead": None,
            "freeze": {},
        }
    )
    fine = config.model_copy(update={"train": train})
    trainer = Trainer(fine, dataset, weights=trained.get_weights(), **parts)
    while trainer.step < trainer.total_steps:
        in_epoch = trainer.step % trainer.steps_per_epoch
        left = trainer.total_steps - trainer.step
        trainer.steps(min(trainer.steps_per_epoch - in_epoch, left))
    return trainer.float32_model(trainer.model.get_weights())
