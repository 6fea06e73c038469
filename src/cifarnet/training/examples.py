"""What a training step learns from: augmented images with their targets."""

from __future__ import annotations

from typing import NamedTuple

from cifarnet.backend import tf
from cifarnet.config import Config
from cifarnet.data import Dataset, augment
from cifarnet.training import losses
from cifarnet.training.feed import Feed
from cifarnet.training.team import Team


class Batch(NamedTuple):
    """The rows of a replica in a batch.

    Attributes:
        images: float32 [B, S, S, 3], augmented, 0-255.
        targets: float32 [B, K], a distribution over the classes.
        labels: int32 [B].
    """

    images: tf.Tensor
    targets: tf.Tensor
    labels: tf.Tensor

    def accuracy(self, logits: tf.Tensor) -> tf.Tensor:
        """Return the share of right answers among logits [B, K]."""
        return losses.accuracy(logits, self.labels)


class Examples:
    """The training images of a dataset, augmented as the config says.

    Attributes:
        feed: the images in the order of their steps.
    """

    def __init__(
        self, config: Config, dataset: Dataset, steps_per_epoch: int, total_steps: int, team: Team
    ) -> None:
        """Place the images; each process of the team has its rows of every batch."""
        self._augment = augment.build(config.data.augment, dataset.mean)
        self._targets = losses.targets_by_class(len(dataset.classes), config.train.label_smoothing)
        steps = steps_per_epoch, total_steps
        self.feed = Feed(config, dataset.train, self._augment, *steps, team)

    # Autograph has nothing to translate here, and would delay the first step.
    @tf.autograph.experimental.do_not_convert
    def take(
        self, pixels: tf.Tensor, labels: tf.Tensor, draws: tf.Tensor, order: tf.Tensor, own: slice
    ) -> Batch:
        """Return a replica's rows of a step, in a graph.

        Args:
            pixels, labels: of `Feed.images`.
            draws: of `Feed.epoch`.
            order: int32 [batch], the images of the step.
            own: the replica's rows of these.
        """
        rows = order[own]
        augmented = self._augment.apply(self.feed.rows(pixels, order, own), tf.gather(draws, rows))
        chosen = tf.gather(labels, rows)
        return Batch(tf.cast(augmented, tf.float32), tf.gather(self._targets, chosen), chosen)
