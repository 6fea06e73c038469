"""What a training step learns from: augmented images with their targets."""

from __future__ import annotations

from typing import NamedTuple

from cifarnet.backend import tf
from cifarnet.config import Config
from cifarnet.data import Dataset, augment, mixing
from cifarnet.training import losses
from cifarnet.training.feed import Draws, Feed
from cifarnet.training.team import Team


class Batch(NamedTuple):
    """The rows of a replica in a batch.

    Attributes:
        images: float32 [B, S, S, 3], augmented, 0-255.
        targets: float32 [B, K], a distribution over the classes.
        labels: int32 [B].
        others: int32 [B], labels of the images that these are mixed with; None without `data.mix`.
        shares: float32 [B], of each image in the mixture; None without.
    """

    images: tf.Tensor
    targets: tf.Tensor
    labels: tf.Tensor
    others: tf.Tensor | None = None
    shares: tf.Tensor | None = None

    def accuracy(self, logits: tf.Tensor) -> tf.Tensor:
        """Return the share of right answers among logits [B, K].

        An answer for a mixed image is right by the share of the image whose label it is.
        """
        if self.others is None or self.shares is None:
            return losses.accuracy(logits, self.labels)
        answers = tf.argmax(logits, axis=1, output_type=tf.int32)
        right = [tf.cast(tf.equal(answers, x), tf.float32) for x in (self.labels, self.others)]
        return tf.reduce_mean(self.shares * right[0] + (1.0 - self.shares) * right[1])


class Examples:
    """The training images of a dataset, augmented and mixed as the config says.

    Attributes:
        feed: the images in the order of their steps.
    """

    def __init__(
        self, config: Config, dataset: Dataset, steps_per_epoch: int, total_steps: int, team: Team
    ) -> None:
        """Place the images; each process of the team has its rows of every batch."""
        self._augment = augment.build(config.data.augment, dataset.mean)
        self._targets = losses.targets_by_class(len(dataset.classes), config.train.label_smoothing)
        self._mix = mixing.build(config.data)
        steps = steps_per_epoch, total_steps
        self.feed = Feed(config, dataset.train, self._augment, *steps, team, self._mix)

    # Autograph has nothing to translate here, and would delay the first step.
    @tf.autograph.experimental.do_not_convert
    def take(
        self, pixels: tf.Tensor, labels: tf.Tensor, draws: Draws, order: tf.Tensor, own: slice
    ) -> Batch:
        """Return a replica's rows of a step, in a graph.

        Args:
            pixels, labels: of `Feed.images`.
            draws: of `Feed.epoch`.
            order: int32 [batch], the images of the step.
            own: the replica's rows of these.
        """
        rows = order[own]
        chosen = tf.gather(labels, rows)
        images = self._augmented(self.feed.rows(pixels, order, own), draws, rows)
        targets = tf.gather(self._targets, chosen)
        if self._mix is None:
            return Batch(images, targets, chosen)
        partners = tf.gather(draws.partners, rows)
        others = tf.gather(labels, partners)
        mates = self._augmented(self.feed.partners(pixels, partners, own), draws, partners)
        images, shares = self._mix.apply(images, mates, tf.gather(draws.mix, rows))
        second = tf.gather(self._targets, others)
        targets = second + shares[:, None] * (targets - second)
        return Batch(images, targets, chosen, others, shares)

    def _augmented(self, pixels: tf.Tensor, draws: Draws, rows: tf.Tensor) -> tf.Tensor:
        augmented = self._augment.apply(pixels, tf.gather(draws.augment, rows))
        return tf.cast(augmented, tf.float32)
