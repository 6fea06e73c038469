"""Training on what another network answers: knowledge distillation.

Hinton, Vinyals and Dean 2015, arXiv 1503.02531, section 2: the targets are the teacher's
probabilities at a temperature, and the student's logits are divided by it too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cifarnet import artifacts, models, runs
from cifarnet.artifacts import Artifact
from cifarnet.backend import keras, tf
from cifarnet.callbacks import Callback
from cifarnet.config import Config, DistillConfig
from cifarnet.data import Dataset
from cifarnet.errors import CifarnetError, ConfigError, RunError
from cifarnet.predictors import Predictor, keras_file
from cifarnet.predictors.gradients import Differentiable
from cifarnet.runs.records import TeacherRecord
from cifarnet.training import losses
from cifarnet.training.step import Trainer
from cifarnet.training.team import Team

# Probabilities are raised to this before their logarithm, which would be infinite.
_SMALLEST = 1e-37
_KEY = "train.distill.teacher"


@dataclass(frozen=True)
class TeacherFile:
    """The file of `train.distill.teacher`, loaded."""

    artifact: Artifact
    predictor: Predictor


@dataclass(frozen=True)
class Teacher:
    """A trained network whose answers are learned.

    Attributes:
        config: temperature, weight, and where the network is.
        logits: images float32 [B, S, S, 3], 0-255, to logits float32 [B, K] in the order of the
            student's classes, in a graph. Their softmax are the teacher's probabilities.
        record: what the run's record says of it.
    """

    config: DistillConfig
    logits: Callable[[tf.Tensor], tf.Tensor]
    record: TeacherRecord

    def transform(
        self, images: tf.Tensor, targets: tf.Tensor, seed: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Append the teacher's targets [B, K] for the images to [B, K]; a `BatchTransform`."""
        soft = tf.nn.softmax(self.logits(images) / self.config.temperature)
        return images, tf.concat([targets, soft], axis=1)

    def loss(self, targets: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        """Return the mean loss of targets [B, 2 K] of `transform` and logits [B, K], nats.

        (1 - weight) x the cross-entropy of the first K, and weight x temperature^2 x that of the
        teacher's targets: the factor keeps its gradients of one size.
        """
        hard, soft = tf.split(targets, 2, axis=1)
        temperature, weight = self.config.temperature, self.config.weight
        learned = temperature**2 * losses.cross_entropy(soft, logits / temperature)
        return (1.0 - weight) * losses.cross_entropy(hard, logits) + weight * learned


def open_teacher(config: Config, callback: Callback) -> TeacherFile | None:
    """Load the network of `train.distill`, if there is one, before images are read.

    Args:
        config: of the student.
        callback: is told that it is being loaded.

    Raises:
        ConfigError: there is no such network, it cannot be loaded, or it takes images of another
            size.
    """
    distill = config.train.distill
    if distill is None:
        return None
    callback.on_stage("loading the teacher")
    home = distill.teacher.startswith("~")
    path = str(Path(distill.teacher).expanduser()) if home else distill.teacher
    try:
        artifact = artifacts.resolve(path)
        predictor = artifact.load()
    except CifarnetError as error:
        raise ConfigError(
            f"{_KEY} ({distill.teacher}): {str(error).rstrip('.')}. Give the place of a run or "
            f"of a model file with -o {_KEY}=PATH"
        ) from error
    if predictor.size != config.data.image_size:
        raise ConfigError(
            f"{_KEY}: {artifact.path} takes images of {predictor.size} pixels, "
            f"expected the {config.data.image_size} of data.image_size"
        )
    return TeacherFile(artifact, predictor)


def columns(file: TeacherFile, classes: Sequence[str]) -> tuple[list[int], list[str]]:
    """Return the column of each class in the teacher's outputs, and what is assumed of it.

    Raises:
        ConfigError: it has other classes.
    """
    artifact, predictor = file.artifact, file.predictor
    names = predictor.class_names
    same = predictor.classes == len(classes) if names is None else set(names) == set(classes)
    if not same:
        theirs = "" if names is None else f" ({', '.join(names[:5])}, ...)"
        raise ConfigError(
            f"{_KEY}: {artifact.path} has {predictor.classes} classes{theirs}, expected the "
            f"{len(classes)} of the images ({', '.join(classes[:5])}, ...)"
        )
    return artifacts.class_order(predictor, classes)


def prepare(
    config: Config, dataset: Dataset, file: TeacherFile | None
) -> tuple[Config, Teacher | None]:
    """Make the teacher of `train.distill`, if there is one.

    Args:
        config: `train.precision` must not be `auto`.
        dataset: of the student.
        file: from `open_teacher`.

    Returns:
        The config with the teacher's absolute path; and the teacher.

    Raises:
        ConfigError: the teacher has other classes.
    """
    distill = config.train.distill
    if distill is None or file is None:
        return config, None
    artifact, predictor = file.artifact, file.predictor
    order, assumed = columns(file, dataset.classes)
    where = artifact.run.path if artifact.run and artifact.is_run_model else artifact.path
    distill = distill.model_copy(update={"teacher": str(where.absolute())})
    record = TeacherRecord(
        artifact=str(artifact.path.absolute()),
        sha256=runs.digest(artifact.path),
        runtime=predictor.runtime,
        # Without the option that would state it, which a training does not have.
        assumed=[text.partition(" (--")[0] for text in (*predictor.assumed, *assumed)],
    )
    if predictor.network is None:
        logits = _called(predictor, order)
    else:
        logits = _in_graph(predictor, order, config.train.precision)
    train = config.train.model_copy(update={"distill": distill})
    return config.model_copy(update={"train": train}), Teacher(distill, logits, record)


def trainer(
    config: Config, dataset: Dataset, teacher: Teacher | None, team: Team | None = None
) -> Trainer:
    """Make the trainer of a config, with the teacher of `prepare` if there is one."""
    if teacher is None:
        return Trainer(config, dataset, team)
    return Trainer(config, dataset, team, loss=teacher.loss, transforms=[teacher.transform])


def check_resumed(recorded: TeacherRecord | None, teacher: Teacher | None) -> None:
    """Check that a run is resumed with the teacher that it began with.

    Raises:
        RunError: it is not.
    """
    if teacher is None:
        return
    before = TeacherRecord() if recorded is None else recorded
    if before.sha256 != teacher.record.sha256:
        raise RunError(
            f"{_KEY}: the run began with {before.artifact or 'another one'} "
            f"(SHA-256 {before.sha256[:12]}), received {teacher.record.artifact} "
            f"({teacher.record.sha256[:12]}). If the file has moved, give its place with "
            f"-o {_KEY}=PATH; for another teacher, start a new run"
        )


def _in_graph(
    predictor: Predictor, columns: list[int], precision: str
) -> Callable[[tf.Tensor], tf.Tensor]:
    """Return the logits of a Keras file; of a network that cifarnet trained, computed as fast.

    That depends on the file alone, not on where it is: a resumed run must get the same bits.
    """
    if predictor.metadata and predictor.output_kind == "logits":  # exports give probabilities
        policy = models.POLICIES["bfloat16" if precision == "bfloat16" else "float32"]

        def cast(layer: keras.Layer) -> keras.Layer:
            return type(layer).from_config({**layer.get_config(), "dtype": policy})

        network = keras.models.clone_model(predictor.network, clone_function=cast)
        network.set_weights(predictor.network.get_weights())
        predictor = keras_file.from_model(models.fast.rewrite(network))
    return Differentiable(predictor, columns).logits


def _called(predictor: Predictor, columns: list[int]) -> Callable[[tf.Tensor], tf.Tensor]:
    """Return the logarithms of the probabilities of a file in another runtime, outside the graph.

    Its pixels are whole numbers, so augmented ones are rounded.
    """

    def probabilities(pixels: np.ndarray) -> np.ndarray:
        return predictor(pixels)[:, columns].astype(np.float32)

    def logits(images: tf.Tensor) -> tf.Tensor:
        pixels = tf.cast(tf.round(tf.clip_by_value(images, 0.0, 255.0)), tf.uint8)
        rows = tf.numpy_function(probabilities, [pixels], tf.float32)
        rows = tf.ensure_shape(rows, (images.shape[0], len(columns)))
        return tf.math.log(tf.maximum(rows, _SMALLEST))

    return logits
