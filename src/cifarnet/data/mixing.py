"""Mixing of training images with others: mixup and CutMix, reproducible per (seed, epoch, index).

As for augmentations, the random numbers of an epoch are drawn at once on the host, a row per
image: which other image it is mixed with, and how. So the mixed image does not depend on the batch.
The published codes draw one share per batch, and mix the images of a batch with each other.

A new kind is its name in `config.schema` and one function here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cifarnet import config as cfg
from cifarnet.backend import tf

# Keeps the stream apart from those of data order (1) and augmentations (2).
_MIX = 3
_WIDTH = 3  # random numbers per image: the share, and where a box is


@dataclass(frozen=True)
class Mix:
    """How images are mixed.

    Attributes:
        kind: mixup or cutmix.
        alpha: of the symmetric beta distribution of the share.
    """

    kind: str
    alpha: float

    def draw(self, seed: int, epoch: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw what images 0 to count - 1 are mixed with in an epoch.

        Returns:
            The other image of each, a permutation, int32 [count]; and float32 [count, 3]: its own
            share, of the beta distribution, and two numbers in [0, 1).
        """
        random = np.random.default_rng([seed, epoch, _MIX])
        partners = random.permutation(count).astype(np.int32)
        shares = random.beta(self.alpha, self.alpha, (count, 1))
        return partners, np.hstack([shares, random.random((count, _WIDTH - 1))]).astype(np.float32)

    def apply(
        self, images: tf.Tensor, others: tf.Tensor, draws: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Mix a batch with another.

        Args:
            images, others: float32 [B, S, S, 3].
            draws: float32 [B, 3], rows of `draw`.

        Returns:
            float32 [B, S, S, 3]; and the share that is left of each of `images`, float32 [B].
        """
        return _KINDS[self.kind](images, others, draws)


def build(config: cfg.DataConfig) -> Mix | None:
    """Make the mixing of `data.mix`; None without it."""
    return None if config.mix is None else Mix(config.mix, config.mix_alpha)


def mixup(images: tf.Tensor, others: tf.Tensor, draws: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Average pixels: Zhang et al. 2018, arXiv 1710.09412."""
    shares = draws[:, 0]
    return others + shares[:, None, None, None] * (images - others), shares


def cutmix(images: tf.Tensor, others: tf.Tensor, draws: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Paste a box of the other image: Yun et al. 2019, arXiv 1905.04899, algorithm 1.

    The box has the center drawn, and sides of S sqrt(1 - share), cut off at the image's border.
    The share is then that of the pixels left.
    """
    side = images.shape[1]
    half = tf.cast(float(side) * tf.sqrt(1.0 - draws[:, 0]), tf.int32) // 2
    center = tf.cast(float(side) * draws[:, 1:], tf.int32)
    first = tf.maximum(center - half[:, None], 0)[:, :, None]
    end = tf.minimum(center + half[:, None], side)[:, :, None]
    at = tf.range(side)[None, None]
    inside = tf.cast((at >= first) & (at < end), tf.float32)  # [B, 2, S]: of rows and of columns
    box = (inside[:, 0, :, None] * inside[:, 1, None, :])[..., None]
    shares = 1.0 - tf.reduce_mean(box, axis=[1, 2, 3])
    return tf.where(box > 0.0, others, images), shares


_Mixer = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]
_KINDS: dict[str, _Mixer] = {"mixup": mixup, "cutmix": cutmix}
