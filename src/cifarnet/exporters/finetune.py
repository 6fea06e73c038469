"""Fine-tune a run's network for a few epochs before an export."""

from __future__ import annotations

from collections.abc import Callable

from cifarnet import config as cfg
from cifarnet.backend import keras
from cifarnet.data import Dataset
from cifarnet.training.calibration import calibrate
from cifarnet.training.networks import Forward
from cifarnet.training.step import BuildOptimizer, Trainer


def fine_tune(
    trained: keras.Model,
    config: cfg.Config,
    dataset: Dataset,
    epochs: float,
    learning_rate: float | None = None,
    *,
    optimizer: BuildOptimizer | None = None,
    forward: Callable[[keras.Model], Forward] | None = None,
) -> keras.Model:
    """Fine-tune a copy of a run's network at a lower learning rate.

    Args:
        trained: the run's saved model.
        config: the run's config; `train.precision` must not be `auto`.
        dataset: the run's dataset.
        epochs: passes over the training images.
        learning_rate: peak of a cosine schedule to zero; None: a tenth of the run's.
        optimizer, forward: as for `Trainer`.

    Returns:
        A float32 model of Keras' own layers. Where the run is calibrated, so is this, anew.

    Raises:
        ConfigError, ModelError: as for `Trainer`.
        TrainingError, DataError: a calibrated run has no finite logits or no validation images.
    """
    train = _fine(config.train, epochs, learning_rate or config.train.learning_rate / 10)
    trainer = Trainer(
        config.model_copy(update={"train": train}),
        dataset,
        weights=trained.get_weights(),  # a temperature is a layer without any
        optimizer=optimizer,
        forward=forward,
    )
    _train(trainer)
    model = trainer.float32_model(trainer.model.get_weights())
    return calibrate(model, dataset.split("validation"))[0] if config.train.calibrate else model


def _fine(train: cfg.TrainConfig, epochs: float, rate: float) -> cfg.TrainConfig:
    """Return how to fine-tune what was trained by `train`."""
    muon = train.muon
    if muon is not None:
        lower = muon.learning_rate * rate / train.learning_rate
        muon = muon.model_copy(update={"learning_rate": lower})
    update: dict[str, object] = {
        "epochs": epochs,
        "learning_rate": rate,
        "muon": muon,
        "schedule": cfg.CosineSchedule(kind="cosine"),
        # Averages, frozen layers, smaller images and a teacher belong to the original schedule.
        "ema": None,
        "lookahead": None,
        "freeze": {},
        "resolution": (),
        "distill": None,
    }
    return train.model_copy(update=update)


def _train(trainer: Trainer) -> None:
    """Take all steps, each epoch's at once."""
    while trainer.step < trainer.total_steps:
        trainer.steps(trainer.left)
