"""The training step: steps are gathered, augmented and taken in one graph execution.

`model.fit` feeds every batch from the host; `scripts/compare_training.py` measures the difference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from cifarnet import models
from cifarnet.backend import keras, tf
from cifarnet.config import Config, TrainConfig
from cifarnet.data import Dataset
from cifarnet.training import averages, losses, networks, optimizers, schedules
from cifarnet.training.examples import Batch, Examples
from cifarnet.training.feed import Draws
from cifarnet.training.freezing import freezes
from cifarnet.training.networks import Forward
from cifarnet.training.resolution import Resolution, resize
from cifarnet.training.team import Team
from cifarnet.training.validation import Validation

BuildOptimizer = Callable[[TrainConfig, keras.Model], keras.optimizers.Optimizer]
# targets float32 [B, K] and logits float32 [B, K] -> mean loss of the batch, float32 scalar
Loss = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
# images float32 [B, S, S, 3], targets float32 [B, K], a seed int32 [2] of this step and transform
# -> the images and targets to train on
BatchTransform = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], "tuple[tf.Tensor, tf.Tensor]"]


class Trainer:
    """A network, its optimizer and its data; `steps` trains, `validate` measures.

    All its results depend on the config and the data alone: not on when it was stopped and
    resumed, nor on how many steps an execution takes.

    Attributes:
        dataset: training and validation images.
        team: the workers that train together, perhaps this process alone.
        model: the network being trained, in the config's precision.
        eval_model: the network that is validated and saved: `model`, or its moving average.
        steps_per_epoch: whole batches in a pass; the images left over differ every epoch.
        total_steps: optimizer steps in the whole training.
        step: steps taken so far.
        resolution: the size of the images at each step.
        macs_trained: multiply-accumulates of the forward passes of all steps so far.
    """

    def __init__(
        self,
        config: Config,
        dataset: Dataset,
        team: Team | None = None,
        *,
        weights: list[np.ndarray] | None = None,
        optimizer: BuildOptimizer | None = None,
        loss: Loss | None = None,
        forward: Callable[[keras.Model], Forward] | None = None,
        transforms: Sequence[BatchTransform] = (),
    ) -> None:
        """Build the network, its optimizer and the training graph.

        Args:
            config, dataset: `train.precision` must not be `auto`.
            team: all its workers make this trainer and take the same steps. None: no others.
            weights: initial weights of the network; drawn from the seed if None.
            optimizer: builds the optimizer for the network; `optimizers.build` if None.
            loss: softmax cross-entropy if None. Regularization losses of the layers are added.
            forward: makes the training pass; that of the network itself if None.
            transforms: applied to each replica's augmented rows, with their targets, in order.

        Raises:
            ConfigError: a batch or keys that do not fit the images, the team or the network.
            ModelError: a layer list that does not build.
        """
        self._config, self.dataset, self.team = config, dataset, team or Team()
        self.team.check_batch(config.train.batch_size)
        images = len(dataset.train.labels)
        self.steps_per_epoch = schedules.steps_per_epoch(config.train.batch_size, images)
        self.total_steps = max(1, round(config.train.epochs * self.steps_per_epoch))
        self.step, self.macs_trained = 0, 0
        self.resolution = Resolution(config, len(dataset.classes), self.total_steps)
        with self.team.strategy.scope():
            self.model, self.eval_model = networks.build(config, dataset, self.team, weights)
            self._optimizer = (optimizer or optimizers.build)(config.train, self.model)
            self._optimizer.build(self.model.trainable_variables)
            self._average = averages.moving(config.train, self.eval_model, self.model)
            self._lookahead = averages.lookahead(config.train, self.model, self.total_steps)
        self._loss, self._transforms = loss or losses.cross_entropy, tuple(transforms)
        self._forwards = networks.passes(self.model, config, self.resolution.sizes, forward)
        steps = self.steps_per_epoch, self.total_steps
        self._rates = schedules.build(config.train, *steps)
        self._examples = Examples(config, dataset, *steps, self.team)
        self._validation = Validation(config, self.eval_model, dataset.validation, self.team)
        self._freezes = freezes(config, self.model)
        self._macs = models.total_macs(self.model)
        self._graph()

    @property
    def left(self) -> int:
        """Steps to the end of the epoch, or of the training if that is earlier."""
        in_epoch = self.step % self.steps_per_epoch
        return min(self.steps_per_epoch - in_epoch, self.total_steps - self.step)

    @property
    def builds_graph(self) -> bool:
        """Whether the next step begins with building a graph."""
        epoch = self.step // self.steps_per_epoch
        return self.resolution.size(self.step) not in self._traced or bool(self._over(epoch))

    def steps(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Take `count` steps, at most `left`.

        Returns:
            Loss and share of right answers of each step's batch, float32 [count] both.
        """
        parts, left = [], count
        while left:
            part = min(left, self.resolution.left(self.step) or left)
            parts.append(self._steps(part))
            left -= part
        if self._lookahead is not None and self.step == self.total_steps:
            self._lookahead.finish()
        batch_losses, accuracies = zip(*parts, strict=True)
        return np.concatenate(batch_losses), np.concatenate(accuracies)

    def _steps(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Take `count` steps, all within one epoch and with images of one size."""
        epoch, offset = divmod(self.step, self.steps_per_epoch)
        self._freeze(epoch)
        size = self.resolution.size(self.step)
        self._traced.add(size)
        feed = self._examples.feed
        order, draws = feed.epoch(epoch)
        # Of the whole epoch: a graph takes arrays of one shape.
        steps = np.arange(self.steps_per_epoch) + epoch * self.steps_per_epoch
        decays = (
            np.ones(len(steps)) if self._lookahead is None else self._lookahead.decays(steps + 1)
        )
        with self.team.watched():
            batch_losses, accuracies = self._run(
                size,
                tf.constant(offset),
                tf.constant(count),
                tf.constant(order),
                draws,
                tf.constant(self._rates(steps), tf.float32),
                tf.constant(decays, tf.float32),
                feed.batches(self.step, count),
            )
        macs = self.resolution.macs(self.step, self._macs)
        self.macs_trained += macs * count * self._config.train.batch_size
        self.step += count
        return batch_losses.numpy(), accuracies.numpy()

    def learning_rate(self) -> float:
        """Return the learning rate of the latest step."""
        return float(self._rates(np.asarray(max(0, self.step - 1))))

    def validate(self) -> tuple[float, float] | None:
        """Measure `eval_model` on the validation images, if any: mean loss (nats) and accuracy."""
        return self._validation.measure()

    def float32_model(self, weights: list[np.ndarray]) -> keras.Model:
        """Return a new stock model in float32 with these weights: the one to save."""
        model = networks.build_stock(self._config, self.dataset, "float32")
        model.set_weights(weights)
        return model

    def state(self) -> dict[str, np.ndarray]:
        """Return every number that later steps depend on, by name; `load_state` restores it."""
        values = {
            f"{group}/{i}": np.asarray(variable)
            for group, variables in self._variables().items()
            for i, variable in enumerate(variables)
        }
        # Only smaller images make it more than a function of the step.
        macs = {"macs": np.asarray(self.macs_trained)} if len(self._forwards) > 1 else {}
        return {**values, **macs, "step": np.asarray(self.step)}

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Continue from a `state`.

        Raises:
            KeyError, ValueError: it is not a state of this network and optimizer.
        """
        for group, variables in self._variables().items():
            for i, variable in enumerate(variables):
                variable.assign(state[f"{group}/{i}"])
        self.step = int(state["step"])
        done = self.step * self._config.train.batch_size * self._macs
        self.macs_trained = int(state["macs"]) if len(self._forwards) > 1 else done

    def share_state(self) -> None:
        """Continue from the chief's state, in all workers of the team."""
        if self.team.count > 1:
            self.load_state(self.team.share(self.state()))

    def compare(self) -> None:
        """Check that the state is the chief's, in all workers of the team.

        Raises:
            TrainingError: it is not.
        """
        if self.team.count > 1:
            self.team.compare(self.state(), self.step)

    def _variables(self) -> dict[str, list[Any]]:
        """Return what training changes; `model.variables` includes the layers' random seeds."""
        groups = {"model": self.model.variables, "optimizer": self._optimizer.variables}
        if self._average is not None:
            groups["average"] = self.eval_model.variables
        if self._lookahead is not None:
            groups["lookahead"] = self._lookahead.variables
        return groups

    def _graph(self) -> None:
        """Begin with new graphs, of the variables that are trainable now."""
        self._run = tf.function(self._steps_in_graph, reduce_retracing=True)
        self._traced: set[int] = set()

    def _freeze(self, epoch: int) -> None:
        """Stop training the layers whose epochs are over: no gradient is computed for them."""
        over = self._over(epoch)
        for layer in over:
            layer.trainable = False
        if over:
            self._graph()

    def _over(self, epoch: int) -> set[keras.Layer]:
        """Return the layers that are trained, and no longer from this epoch on."""
        return {layer for layer, epochs in self._freezes if epoch >= epochs and layer.trainable}

    def _steps_in_graph(
        self,
        size: int,
        first: tf.Tensor,
        count: tf.Tensor,
        order: tf.Tensor,
        draws: Draws,
        rates: tf.Tensor,
        decays: tf.Tensor,
        batches: Iterator[tf.Tensor] | None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        batch_losses = tf.TensorArray(tf.float32, count)
        accuracies = tf.TensorArray(tf.float32, count)
        for i in tf.range(count):
            at = first + i
            images = self._examples.feed.images(batches)
            of_step = (size, *images, draws, order[at], rates[at], decays[at])
            loss, accuracy = self.team.strategy.run(self._replica_step, args=of_step)
            batch_losses = batch_losses.write(i, self.team.first(loss))
            accuracies = accuracies.write(i, self.team.first(accuracy))
        return batch_losses.stack(), accuracies.stack()

    # Only the loop over steps needs autograph; translating the rest would delay the first step.
    @tf.autograph.experimental.do_not_convert
    def _replica_step(
        self,
        size: int,
        pixels: tf.Tensor,
        labels: tf.Tensor,
        draws: Draws,
        order: tf.Tensor,
        rate: tf.Tensor,
        decay: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        own = models.replicas.rows(order.shape[0])
        self._optimizer.learning_rate.assign(rate)
        loss, accuracy = self._step(size, self._examples.take(pixels, labels, draws, order, own))
        if self._lookahead is not None:
            self._lookahead.update(decay)
        if self._average is not None:
            self._average.update(tf.cast(self._optimizer.iterations.value, tf.float32))
        return loss, accuracy

    def _step(self, size: int, batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
        images, targets = batch.images, batch.targets
        if self._transforms:
            done = tf.cast(self._optimizer.iterations.value, tf.int32)
            of_step = tf.stack([self._config.seed, done])
            for i, transform in enumerate(self._transforms):
                images, targets = transform(images, targets, tf.random.fold_in(of_step, i))
        images = resize(images, size)
        variables = self.model.trainable_variables
        with tf.GradientTape() as tape:
            logits = tf.cast(self._forwards[size](images), tf.float32)
            loss = self._loss(targets, logits)
            loss += sum(tf.cast(penalty, tf.float32) for penalty in self.model.losses)
            # Summed over the replicas, the loss and its gradients are those of the whole batch.
            share = images.shape[0] / self._config.train.batch_size
            scaled = self._optimizer.scale_loss(loss * share)
        gradients = tape.gradient(scaled, [v.value for v in variables])
        right = batch.accuracy(logits)
        loss, accuracy, *summed = models.replicas.total([loss * share, right * share, *gradients])
        self._optimizer.apply(summed, variables)
        return loss, accuracy
