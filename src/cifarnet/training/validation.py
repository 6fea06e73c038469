"""Measuring the network on the validation images while it is trained."""

from __future__ import annotations

import numpy as np

from cifarnet.backend import keras, tf
from cifarnet.config import Config
from cifarnet.data import Images, images_per_batch
from cifarnet.data.stored_pixels import StoredPixels
from cifarnet.training import losses
from cifarnet.training.team import Team


class Validation:
    """Measures a network on images, whose batches the workers of a team divide."""

    def __init__(self, config: Config, model: keras.Model, images: Images, team: Team) -> None:
        """Copy the images, of which there may be none, into tensors, unless they stay on disk."""
        self._model = model
        is_stored = isinstance(images.pixels, StoredPixels)
        self._pixels = images.pixels if is_stored else tf.constant(images.pixels)
        self._labels = tf.constant(images.labels.astype(np.int32))
        self._batch_size = images_per_batch(config.data.image_size, config.evaluate.batch_size)
        self._team = team
        self._measure = tf.function(self._measure_in_graph, reduce_retracing=True)

    def measure(self) -> tuple[float, float] | None:
        """Return mean loss (nats) and accuracy; None without images. All workers call this."""
        count, size = len(self._labels), self._batch_size
        if count == 0:
            return None
        starts = range(0, count, size)
        sums = np.zeros((len(starts), 2))
        # Each sum is of one worker and zeros: the bits do not depend on their number.
        for batch in range(self._team.index, len(starts), self._team.count):
            part = slice(starts[batch], starts[batch] + size)
            measured = self._measure(self._pixels[part], self._labels[part])
            sums[batch] = [float(one) for one in measured]
        loss, correct = np.sum(self._team.sum(sums), axis=0) / count
        return float(loss), float(correct)

    def _measure_in_graph(
        self, pixels: tf.Tensor, labels: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        logits = tf.cast(self._model(tf.cast(pixels, tf.float32), training=False), tf.float32)
        each = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        right = losses.accuracy(logits, labels) * tf.cast(tf.size(labels), tf.float32)
        return tf.reduce_sum(each), right
