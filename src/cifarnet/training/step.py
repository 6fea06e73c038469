"""The training step: steps are gathered, augmented and taken in one graph execution.

`model.fit` feeds every batch from the host; `scripts/compare_training.py` measures the difference.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from cifarnet import models
from cifarnet.backend import keras, tf
from cifarnet.config import Config, TrainConfig
from cifarnet.data import Dataset, augment, images_per_batch
from cifarnet.training import losses, optimizers, schedules
from cifarnet.training.averages import Lookahead, MovingAverage
from cifarnet.training.feed import Feed
from cifarnet.training.freezing import freezes
from cifarnet.training.team import Team
from cifarnet.training.validation import Validation

# images float32 [B, S, S, 3] -> logits [B, K], in training mode
Forward = Callable[[tf.Tensor], tf.Tensor]
BuildOptimizer = Callable[[TrainConfig, keras.Model], keras.optimizers.Optimizer]
# targets float32 [B, K] and logits float32 [B, K] -> mean loss of the batch, float32 scalar
Loss = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
# images float32 [B, S, S, 3], targets float32 [B, K], a seed int32 [2] of this step and transform
# -> the images and targets to train on
BatchTransform = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], "tuple[tf.Tensor, tf.Tensor]"]
# As in Jordan 2024's code for arXiv 2404.00498.
_WHITENING_IMAGES = 5_000


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
            ConfigError: a batch larger than the training set.
            ModelError: a layer list that does not build.
        """
        self._config = config
        self.dataset = dataset
        self.team = team or Team()
        images = len(dataset.train.labels)
        self.steps_per_epoch = schedules.steps_per_epoch(config.train.batch_size, images)
        self.total_steps = max(1, round(config.train.epochs * self.steps_per_epoch))
        self.step = 0
        with self.team.strategy.scope():
            self.model, self.eval_model = self._models(weights)
            self._optimizer = (optimizer or optimizers.build)(config.train, self.model)
            self._optimizer.build(self.model.trainable_variables)
            self._average, self._lookahead = self._averages()
        self._loss = loss or losses.cross_entropy
        self._forward = (forward or _training_pass)(self.model)
        self._transforms = tuple(transforms)
        self._rates = schedules.build(config.train, self.steps_per_epoch, self.total_steps)
        self._augment = augment.build(config.data.augment, dataset.mean)
        self._feed, self._validation = self._data()
        self._targets = losses.targets_by_class(len(dataset.classes), config.train.label_smoothing)
        self._freezes = freezes(config, self.model)
        self._run = self._graph()

    def _data(self) -> tuple[Feed, Validation]:
        config, images = self._config, self.dataset
        steps = self.steps_per_epoch, self.total_steps
        size = images_per_batch(config.data.image_size, config.evaluate.batch_size)
        feed = Feed(config, images.train, self._augment, *steps, self.team)
        return feed, Validation(self.eval_model, images.validation, size, self.team)

    def _models(self, weights: list[np.ndarray] | None) -> tuple[keras.Model, keras.Model]:
        """Build the network to train and the one to validate."""
        keras.utils.set_random_seed(self._config.seed)
        count = images_per_batch(self._config.data.image_size, _WHITENING_IMAGES)
        images = self.dataset.train.pixels[:count]
        stock = self._build(self._config.train.precision, images)
        if weights is not None:
            stock.set_weights(weights)
        model = models.fast.rewrite(stock)
        if self.team.replicas > 1:
            models.replicas.share_noise(model, self._config.train.batch_size)
        return model, model if self._config.train.ema is None else models.fast.rewrite(stock)

    def _averages(self) -> tuple[MovingAverage | None, Lookahead | None]:
        train = self._config.train
        average = lookahead = None
        if train.ema is not None:
            average = MovingAverage(self.eval_model, self.model, train.ema)
        if train.lookahead is not None:
            lookahead = Lookahead(self.model, train.lookahead, self.total_steps)
        return average, lookahead

    def steps(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Take `count` steps, all within one epoch.

        Returns:
            Loss and share of right answers of each step's batch, float32 [count] both.
        """
        epoch, offset = divmod(self.step, self.steps_per_epoch)
        self._freeze(epoch)
        order, draws = self._feed.epoch(epoch)
        steps = np.arange(self.step, self.step + count)
        decays = np.ones(count) if self._lookahead is None else self._lookahead.decays(steps + 1)
        with self.team.watched():
            batch_losses, accuracies = self._run(
                tf.constant(order[offset : offset + count]),
                draws,
                tf.constant(self._rates(steps), tf.float32),
                tf.constant(decays, tf.float32),
                self._feed.batches(self.step, count),
            )
        self.step += count
        if self._lookahead is not None and self.step == self.total_steps:
            self._lookahead.finish()
        return batch_losses.numpy(), accuracies.numpy()

    def learning_rate(self) -> float:
        """Return the learning rate of the latest step."""
        return float(self._rates(np.asarray(max(0, self.step - 1))))

    def validate(self) -> tuple[float, float] | None:
        """Measure `eval_model` on the validation images, if any: mean loss (nats) and accuracy."""
        return self._validation.measure()

    def float32_model(self, weights: list[np.ndarray]) -> keras.Model:
        """Return a new stock model in float32 with these weights: the one to save."""
        model = self._build("float32")
        model.set_weights(weights)
        return model

    def state(self) -> dict[str, np.ndarray]:
        """Return every number that later steps depend on, by name; `load_state` restores it."""
        values = {
            f"{group}/{i}": np.asarray(variable)
            for group, variables in self._variables().items()
            for i, variable in enumerate(variables)
        }
        return {**values, "step": np.asarray(self.step)}

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Continue from a `state`.

        Raises:
            KeyError, ValueError: it is not a state of this network and optimizer.
        """
        for group, variables in self._variables().items():
            for i, variable in enumerate(variables):
                variable.assign(state[f"{group}/{i}"])
        self.step = int(state["step"])

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

    def _build(self, precision: str, images: np.ndarray | None = None) -> keras.Model:
        size, dataset = self._config.data.image_size, self.dataset
        statistics = dataset.mean, dataset.std
        return models.build(
            self._config.model, size, len(dataset.classes), *statistics, precision, images
        )

    def _graph(self) -> Any:
        """Return the training graph, of the variables that are trainable when it first runs."""
        return tf.function(self._steps_in_graph, reduce_retracing=True)

    def _freeze(self, epoch: int) -> None:
        """Stop training the layers whose epochs are over: no gradient is computed for them."""
        over = {layer for layer, epochs in self._freezes if epoch >= epochs and layer.trainable}
        for layer in over:
            layer.trainable = False
        if over:
            self._run = self._graph()

    def _steps_in_graph(
        self,
        order: tf.Tensor,
        draws: tf.Tensor,
        rates: tf.Tensor,
        decays: tf.Tensor,
        batches: Iterator[tf.Tensor] | None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        count = tf.shape(order)[0]
        batch_losses = tf.TensorArray(tf.float32, count)
        accuracies = tf.TensorArray(tf.float32, count)
        for i in tf.range(count):
            images = self._feed.images(batches)
            of_step = (*images, draws, order[i], rates[i], decays[i])
            loss, accuracy = self.team.strategy.run(self._replica_step, args=of_step)
            batch_losses = batch_losses.write(i, self.team.first(loss))
            accuracies = accuracies.write(i, self.team.first(accuracy))
        return batch_losses.stack(), accuracies.stack()

    # Only the loop over steps needs autograph; translating the rest would delay the first step.
    @tf.autograph.experimental.do_not_convert
    def _replica_step(
        self,
        pixels: tf.Tensor,
        labels: tf.Tensor,
        draws: tf.Tensor,
        order: tf.Tensor,
        rate: tf.Tensor,
        decay: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        own = models.replicas.rows(order.shape[0])
        self._optimizer.learning_rate.assign(rate)
        loss, accuracy = self._step(
            self._feed.rows(pixels, order, own),
            tf.gather(labels, order[own]),
            tf.gather(draws, order[own]),
        )
        if self._lookahead is not None:
            self._lookahead.update(decay)
        if self._average is not None:
            self._average.update(tf.cast(self._optimizer.iterations.value, tf.float32))
        return loss, accuracy

    def _step(
        self, pixels: tf.Tensor, labels: tf.Tensor, draws: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        images = tf.cast(self._augment.apply(pixels, draws), tf.float32)
        targets = tf.gather(self._targets, labels)
        if self._transforms:
            done = tf.cast(self._optimizer.iterations.value, tf.int32)
            of_step = tf.stack([self._config.seed, done])
            for i, transform in enumerate(self._transforms):
                images, targets = transform(images, targets, tf.random.fold_in(of_step, i))
        variables = self.model.trainable_variables
        with tf.GradientTape() as tape:
            logits = tf.cast(self._forward(images), tf.float32)
            loss = self._loss(targets, logits)
            loss += sum(tf.cast(penalty, tf.float32) for penalty in self.model.losses)
            # Summed over the replicas, the loss and its gradients are those of the whole batch.
            share = pixels.shape[0] / self._config.train.batch_size
            scaled = self._optimizer.scale_loss(loss * share)
        gradients = tape.gradient(scaled, [v.value for v in variables])
        right = losses.accuracy(logits, labels)
        loss, accuracy, *summed = models.replicas.total([loss * share, right * share, *gradients])
        self._optimizer.apply(summed, variables)
        return loss, accuracy


def _training_pass(model: keras.Model) -> Forward:
    return functools.partial(model, training=True)
