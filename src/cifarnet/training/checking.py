"""What a training needs of its network and teacher, checked without images."""

from __future__ import annotations

from cifarnet import models
from cifarnet.callbacks import Callback
from cifarnet.config import Config
from cifarnet.data import class_names
from cifarnet.models import LayerSummary
from cifarnet.training import distillation, optimizers
from cifarnet.training.freezing import freezes


def check(config: Config) -> list[LayerSummary]:
    """Build the network of a config, and check the keys that depend on it or on other files.

    Returns:
        The network's layers.

    Raises:
        ModelError: a layer that is unknown, refused or does not fit.
        ConfigError: sizes, a layer's name or an optimizer that do not fit the network, or a teacher
            that cannot be loaded.
    """
    names = class_names(config.data)
    network = models.check_sizes(config, len(names))[config.data.image_size]
    freezes(config, network)
    if config.train.muon is not None:
        optimizers.muon_kernels(network)
    teacher = distillation.open_teacher(config, Callback())
    if teacher is not None:
        distillation.columns(teacher, names)
    return models.summary(network)
