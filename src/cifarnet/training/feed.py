"""The training images in the order of their steps: from memory, or read ahead from disk."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from cifarnet.backend import tf
from cifarnet.config import Config
from cifarnet.data import Images
from cifarnet.data.augment import Augment
from cifarnet.data.mixing import Mix
from cifarnet.data.stored_pixels import StoredPixels
from cifarnet.training.team import Team

# Keeps the stream of data orders apart from those of the augmentations.
_ORDER = 1
_AHEAD_BYTES = 64 << 20  # of batches that wait; at least two do
_READ_BYTES = 1 << 20  # of the batches that are read at once; at least one is
_READERS = 2  # batches that are read at a time: a disk answers several requests faster


class Draws(NamedTuple):
    """The random numbers of an epoch; each replica has them on its device.

    Attributes:
        augment: float32 [N, k], of the augmentation of each image.
        partners: int32 [N], the image that each is mixed with; None without `data.mix`.
        mix: float32 [N, 3], how; None without.
    """

    augment: Any
    partners: Any = None
    mix: Any = None


class Feed:
    """Batches of training images, which depend on seed and step alone.

    Args:
        config: its seed, and images per step.
        images: all training images.
        augment: draws the random numbers of their augmentation.
        steps_per_epoch, total_steps: of the training.
        team: each process has its rows of every batch; None: all.
        mix: draws with which image each is mixed, whose pixels are then read too; None: with none.
    """

    def __init__(
        self,
        config: Config,
        images: Images,
        augment: Augment,
        steps_per_epoch: int,
        total_steps: int,
        team: Team | None = None,
        mix: Mix | None = None,
    ) -> None:
        self._seed, self._batch = config.seed, config.train.batch_size
        self._augment, self._mix = augment, mix
        self._steps_per_epoch, self._total_steps = steps_per_epoch, total_steps
        self._team = team or Team()
        self._stored = images.pixels if isinstance(images.pixels, StoredPixels) else None
        self._pixels = self._team.place(np.asarray(images.pixels)) if self._stored is None else None
        self._count = len(images.labels)
        self._labels = self._team.place(images.labels.astype(np.int32))
        self._own = self._team.rows(self._batch)
        self._epoch: tuple[int, np.ndarray, Draws] | None = None
        self._reading: tuple[Iterator[tf.Tensor], int] | None = None

    def epoch(self, epoch: int) -> tuple[np.ndarray, Draws]:
        """Return data order int32 [steps, batch] and random numbers of an epoch."""
        if self._epoch is None or self._epoch[0] != epoch:
            drawn = [self._augment.draw(self._seed, epoch, self._count)]
            if self._mix is not None:
                drawn += self._mix.draw(self._seed, epoch, self._count)
            self._epoch = (epoch, self._order(epoch), Draws(*map(self._team.place, drawn)))
        return self._epoch[1:]

    def batches(self, step: int, count: int) -> Iterator[tf.Tensor] | None:
        """Return the batches from a step on, of images on disk; None of images in memory.

        Args:
            step: the next one.
            count: how many batches will be taken.

        Returns:
            An iterator of tensors uint8 [rows of this process, S, S, 3], also inside a graph; with
            a `mix`, of twice as many rows: the partners follow. It raises `tf.errors.OpError` if
            reading fails.
        """
        if self._stored is None:
            return None
        if self._reading is None or self._reading[1] != step:
            self._reading = (self._read_from(self._stored, step), step)
        self._reading = (self._reading[0], step + count)
        return self._reading[0]

    def images(self, batches: Iterator[tf.Tensor] | None) -> tuple[Any, Any]:
        """Return what `rows` takes pixels from in this step, and all labels int32 [N]."""
        return (self._pixels if batches is None else next(batches)), self._labels

    def rows(self, pixels: tf.Tensor, order: tf.Tensor, own: slice) -> tf.Tensor:
        """Return pixels uint8 [rows, S, S, 3] of a replica, in a graph.

        Args:
            pixels: of `images`.
            order: int32 [batch], the images of the step.
            own: the replica's rows of these.
        """
        if self._stored is None:
            return tf.gather(pixels, order[own])
        return pixels[own.start - self._own.start : own.stop - self._own.start]

    def partners(self, pixels: tf.Tensor, partners: tf.Tensor, own: slice) -> tf.Tensor:
        """Return pixels uint8 [rows, S, S, 3] of what a replica's rows are mixed with, in a graph.

        Args:
            pixels: of `images`.
            partners: int32 [rows], the images.
            own: the replica's rows of the step.
        """
        if self._stored is None:
            return tf.gather(pixels, partners)
        start = self._own.stop - 2 * self._own.start  # after the process' own rows
        return pixels[start + own.start : start + own.stop]

    def _order(self, epoch: int) -> np.ndarray:
        random = np.random.default_rng([self._seed, epoch, _ORDER])
        order = random.permutation(self._count)[: self._steps_per_epoch * self._batch]
        return order.reshape(self._steps_per_epoch, -1).astype(np.int32)

    def _read(self, epoch: int) -> np.ndarray:
        """Return the images that this process reads at each step, int32 [steps, rows]."""
        own = self._order(epoch)[:, self._own]
        if self._mix is None:
            return own
        partners, _ = self._mix.draw(self._seed, epoch, self._count)
        return np.hstack([own, partners[own]])

    def _read_from(self, pixels: StoredPixels, first: int) -> Iterator[tf.Tensor]:
        """Read batches in other threads, some steps ahead of their use."""
        count = (self._own.stop - self._own.start) * (1 if self._mix is None else 2)
        shape = (count, *pixels.shape[1:])
        order = functools.lru_cache(maxsize=2)(self._read)

        def read(steps: np.ndarray) -> np.ndarray:
            places = (divmod(step, self._steps_per_epoch) for step in steps.tolist())
            rows = np.concatenate([order(epoch)[offset] for epoch, offset in places])
            return pixels[rows].reshape(-1, *shape)

        def read_in_graph(steps: tf.Tensor) -> tf.Tensor:
            return tf.ensure_shape(tf.numpy_function(read, [steps], tf.uint8), (None, *shape))

        size = int(np.prod(shape))
        steps = tf.data.Dataset.range(first, self._total_steps)
        groups = steps.batch(max(1, _READ_BYTES // size))
        found = groups.map(read_in_graph, num_parallel_calls=_READERS, deterministic=True)
        return iter(found.unbatch().prefetch(max(2, _AHEAD_BYTES // size)))
