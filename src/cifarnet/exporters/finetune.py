"""A run's training, gone on with for a few epochs at a lower rate before an export."""

from __future__ import annotations

from collections.abc import Callable

import keras

from cifarnet import config as cfg
from cifarnet.data import Dataset
from cifarnet.training.step import Trainer


def tune(
    trained: keras.Model,
    config: cfg.Config,
    dataset: Dataset,
    epochs: float,
    learning_rate: float | None,
    prepare: Callable[[Trainer], None],
) -> keras.Model:
    """A copy of a run's network, trained on.

    Args:
        trained: the run's saved model.
        config: the run's config, its precision chosen.
        dataset: the run's images.
        epochs: passes over the training images.
        learning_rate: the peak of a cosine to zero; None: a tenth of the run's.
        prepare: called with the trainer once it has the weights, before the first step.

    Raises:
        ConfigError, ModelError: as for `Trainer`.
    """
    train = config.train.model_copy(
        update={
            "epochs": epochs,
            "learning_rate": learning_rate or config.train.learning_rate / 10,
            "schedule": cfg.CosineSchedule(kind="cosine"),
            # Nothing that averages the weights or ends the training of some.
            "ema": None,
            "lookahead": None,
            "freeze": {},
        }
    )
    trainer = Trainer(config.model_copy(update={"train": train}), dataset)
    trainer.model.set_weights(trained.get_weights())
    prepare(trainer)
    while trainer.step < trainer.total_steps:
        in_epoch = trainer.step % trainer.steps_per_epoch
        left = trainer.total_steps - trainer.step
        trainer.steps(min(trainer.steps_per_epoch - in_epoch, left))
    return trainer.float32_model(trainer.model.get_weights())
