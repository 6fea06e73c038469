"""The processes that train one network together, each with its rows of every batch."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import IntEnum
from typing import Any

import numpy as np

from cifarnet.backend import tf
from cifarnet.errors import ConfigError, TrainingError
from cifarnet.models import replicas
from cifarnet.training.workers import Workers

# What TensorFlow raises where another process of a training has ended or is silent.
_LOST = (
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
    tf.errors.UnavailableError,
    tf.errors.UnknownError,
)
# Of a digest; exact in float64.
_DIGEST_BYTES = 6


class Order(IntEnum):
    """What the chief, worker 0, tells the others to do next."""

    STEPS = 1  # so many training steps
    EPOCH = 2  # measure the validation images and compare the weights
    END = 3  # the training is over, or stopped by a callback
    STOP = 4  # it is interrupted, and can be resumed
    FAIL = 5  # the chief failed


class Team:
    """The workers of a training, seen from one of them; by default there is no other.

    Attributes:
        strategy: has the replicas of the network, in this process and others.
        index: of this worker; 0 is the chief, which has the run directory.
        names: of all workers.
        run: path of the run directory, where it is known.
    """

    def __init__(self, strategy: Any = None, workers: Workers | None = None) -> None:
        """Make the team of a strategy; None: TensorFlow's default one, of one replica."""
        self.strategy = strategy or tf.distribute.get_strategy()
        self._workers = workers
        self.index = workers.index if workers else 0
        self.names = workers.names if workers else ("",)
        self.run = "RUN"
        self._is_whole = True
        self._total = tf.function(self._total_in_graph, reduce_retracing=True)

    @property
    def count(self) -> int:
        """Number of workers."""
        return len(self.names)

    @property
    def replicas(self) -> int:
        """Number of replicas, in all workers."""
        return int(self.strategy.num_replicas_in_sync)

    @property
    def resuming(self) -> str:
        """The command that resumes the run with all workers."""
        run = shlex.quote(self.run)
        return self._workers.resuming(run) if self._workers else f"cifarnet train --resume {run}"

    def check_batch(self, batch: int) -> None:
        """Raise a ConfigError if a batch of `batch` images has none for some replica."""
        if batch < self.replicas:
            raise ConfigError(
                f"train.batch_size: expected at least {self.replicas}, an image for each replica "
                f"of the workers, received {batch}"
            )

    def rows(self, batch: int) -> slice:
        """Return the rows of this process in a batch of `batch` images."""
        first = self.index * (self.replicas // self.count)
        last = (self.index + 1) * (self.replicas // self.count)
        return slice(first * batch // self.replicas, last * batch // self.replicas)

    def place(self, values: np.ndarray) -> Any:
        """Return a constant that each replica of this process has on its device."""
        if self.replicas == self.count:
            return tf.constant(values)
        devices = self.strategy.extended.worker_devices

        def of_replica(context: Any) -> tf.Tensor:
            at = int(context.replica_id_in_sync_group) - self.index * len(devices)
            with tf.device(devices[at]):
                return tf.constant(values)

        return self.strategy.experimental_distribute_values_from_function(of_replica)

    def first(self, result: Any) -> tf.Tensor:
        """Return what `strategy.run` gave for the first replica of this process."""
        return self.strategy.experimental_local_results(result)[0]

    def sum(self, values: np.ndarray) -> np.ndarray:
        """Sum an array over the workers, which must all call this.

        Args:
            values: float64 or int64, of the same shape on each.
        """
        if self.count == 1:
            return values
        with self.watched():
            return self._total(tf.constant(values)).numpy()

    def share(self, state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the chief's arrays; those of the others must have the same names and shapes."""
        content = b"".join(np.ascontiguousarray(state[name]).tobytes() for name in sorted(state))
        # A sum of one number and zeros is exact.
        sent = np.frombuffer(content + bytes(-len(content) % 8), np.int64)
        received = self.sum(sent if self.index == 0 else np.zeros_like(sent)).tobytes()
        shared, start = {}, 0
        for name in sorted(state):
            old = state[name]
            part = np.frombuffer(received, old.dtype, old.size, start)
            shared[name] = part.reshape(old.shape)
            start += old.nbytes
        return shared

    def tell(self, order: Order = Order.STEPS, steps: int = 0, stop: bool = False) -> _Told:
        """Agree on what to do next: what the chief says.

        Args:
            order, steps: of the chief; of no meaning from others.
            stop: whether this worker was asked to stop.
        """
        if self.count == 1:
            return _Told(order, steps, ("",) if stop else ())
        slots = np.zeros(2 + self.count)
        if self.index == 0:
            slots[:2] = order, steps
        slots[2 + self.index] = stop
        said = self.sum(slots)
        if said[0] >= Order.END:  # the others leave
            self._is_whole = False
        stopped = tuple(n for n, flag in zip(self.names, said[2:], strict=True) if flag)
        return _Told(Order(int(said[0])), int(said[1]), stopped)

    def compare(self, state: dict[str, np.ndarray], step: int) -> None:
        """Check that all workers have the chief's state to the bit.

        Raises:
            TrainingError: some have not; names them.
        """
        digest = hashlib.sha256()
        for name in sorted(state):
            digest.update(np.ascontiguousarray(state[name]).tobytes())
        slots = np.zeros(self.count)
        slots[self.index] = int.from_bytes(digest.digest()[:_DIGEST_BYTES], "big")
        slots = self.sum(slots)
        wrong = [n for n, one in zip(self.names, slots, strict=True) if one != slots[0]]
        if wrong:
            self._is_whole = False  # all raise this
            raise TrainingError(
                f"after step {step} the weights of {', '.join(wrong)} differ from those of "
                f"{self.names[0]}. Workers need processors of one kind and the same versions; "
                f"resume with such ones: {self.resuming}"
            )

    def dismiss(self, order: Order) -> None:
        """Tell the other workers how the training ended; a lost one does not change that."""
        with suppress(TrainingError):
            self.tell(order)

    def fail(self) -> None:
        """Tell the other workers that the chief failed, if they wait for what it says."""
        if self.count > 1 and self.index == 0 and self._is_whole:
            self.dismiss(Order.FAIL)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Say which worker was lost, where TensorFlow says that one was.

        Raises:
            TrainingError: it was.
        """
        whole, self._is_whole = self._is_whole, False
        try:
            yield
            self._is_whole = whole
        except _LOST as error:
            if self.count == 1:
                raise
            found = {int(at) for at in re.findall(r"/task:(\d+)", str(error))} - {self.index}
            names = [self.names[at] for at in sorted(found) if at < self.count]
            raise TrainingError(
                f"lost {' or '.join(names) or 'a worker'}: it ended, is frozen or cannot be "
                f"reached. Resume with all workers: {self.resuming}"
            ) from error

    def _total_in_graph(self, values: tf.Tensor) -> tf.Tensor:
        local = self.replicas // self.count

        def of_replica(values: tf.Tensor) -> tf.Tensor:
            context = tf.distribute.get_replica_context()
            own = values if replicas.index() % local == 0 else tf.zeros_like(values)
            return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.identity(own))

        return self.first(self.strategy.run(of_replica, args=(values,)))


class _Told:
    """What the workers agreed on: the chief's order and steps, and who was asked to stop."""

    def __init__(self, order: Order, steps: int, stopped: tuple[str, ...]) -> None:
        self.order, self.steps, self.stopped = order, steps, stopped
