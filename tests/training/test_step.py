"""The parts of the training step that a caller may replace: optimizer, loss, pass, transforms."""

from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

from cifarnet import config, data, models
from cifarnet.data.images import ImageFile
from cifarnet.training import losses, networks
from cifarnet.training.step import Trainer
from cifarnet.training.team import Team

SETTINGS = config.parse(
    {
        "seed": 5,
        "data": {
            "source": "synthetic",
            "limit": 200,
            "validation_fraction": 0.2,
            "augment": [{"kind": "flip"}],
        },
        "model": {"layers": ["Flatten", {"Dense": {"units": 10, "kernel_regularizer": "l2"}}]},
        "train": {
            "epochs": 2,
            "batch_size": 40,
            "learning_rate": 0.01,
            "momentum": 0.9,
            "precision": "float32",
        },
    }
)


@pytest.fixture(scope="module")
def dataset():
    return data.load(SETTINGS.data, SETTINGS.seed)


@pytest.fixture
def trainer(dataset):
    """A function that makes a trainer with some parts replaced."""
    return lambda **parts: Trainer(SETTINGS, dataset, **parts)


def test_whitening_sees_images_of_all_classes_where_these_are_sorted(dataset, monkeypatch):
    """As those of a folder are."""
    rows = np.argsort(dataset.train.labels, kind="stable")
    files = tuple(ImageFile(f"{row}.png", "") for row in rows)
    ordered = replace(dataset, train=replace(dataset.train.take(rows), files=files))
    monkeypatch.setattr(networks, "_WHITENING_IMAGES", 20)
    whitening = {"filters": 6, "kernel_size": 1, "kernel_initializer": "whitening"}
    layers = [{"Conv2D": whitening}, "Flatten", {"Dense": {"units": 10}}]
    settings = SETTINGS.model_copy(update={"model": config.ModelConfig(layers=layers)})
    model, _ = networks.build(settings, ordered, Team(), None)
    seen = ordered.train.spread(20)
    assert set(seen.labels) == set(range(10))
    statistics = (dataset.mean, dataset.std)
    expected = models.build(settings.model, 32, 10, *statistics, images=seen.pixels)
    kernels = [one.weights[3].numpy() for one in (model, expected)]
    np.testing.assert_array_equal(*kernels)


def weights(trainer: Trainer) -> list[np.ndarray]:
    return [w.numpy() for w in trainer.model.trainable_weights]


def test_an_optimizer_takes_the_place_of_sgd(trainer):
    built = []

    def adam(settings, model):
        built.append((settings, model))
        return keras.optimizers.Adam(settings.learning_rate)

    ours = trainer(optimizer=adam)
    assert built == [(SETTINGS.train, ours.model)]
    before = weights(ours)
    ours.steps(1)
    # The first step of Adam has the length of the learning rate in every coordinate (Kingma
    # 2015, algorithm 1), but for gradients as small as its epsilon.
    moved = np.concatenate([abs(a - b).ravel() for a, b in zip(before, weights(ours), strict=True)])
    assert np.median(moved) == pytest.approx(0.01, rel=1e-3)
    assert moved.max() <= 0.01 * (1 + 1e-3)
    # Adam has two moments per weight, and they are part of the state.
    names = [name for name in ours.state() if name.startswith("optimizer/")]
    assert len(names) == 2 + 2 * len(before)


def test_a_loss_takes_the_place_of_cross_entropy_and_keeps_the_regularizers(trainer):
    def squared(targets, logits):
        return tf.reduce_mean((logits - targets) ** 2)

    ours = trainer(loss=squared)
    penalty = float(sum(ours.model.losses))
    assert penalty > 0
    seen = trainer(loss=lambda targets, logits: squared(targets, logits) + 1.0)
    (loss,), _ = ours.steps(1)
    (shifted,), _ = seen.steps(1)
    assert shifted == pytest.approx(loss + 1.0, rel=1e-5)
    nothing = trainer(loss=lambda targets, logits: 0.0 * tf.reduce_sum(logits))
    assert nothing.steps(1)[0][0] == pytest.approx(penalty, rel=1e-5)


def test_a_forward_pass_takes_the_place_of_the_networks(trainer):
    def halved(model):
        return lambda images: model(images, training=True) / 2

    ours, other = trainer(forward=halved), trainer(loss=lambda t, z: losses.cross_entropy(t, z / 2))
    ours.steps(4), other.steps(4)
    for a, b in zip(weights(ours), weights(other), strict=True):
        np.testing.assert_array_equal(a, b)


def test_given_weights_are_trained_from(trainer):
    start = [w + 1 for w in trainer().model.get_weights()]
    ours = trainer(weights=start)
    for a, b in zip(ours.model.get_weights(), start, strict=True):
        np.testing.assert_array_equal(a, b)


def mixup(images, targets, seed):
    """Mix each image and its target with those of another one (Zhang 2018, arXiv 1710.09412)."""
    share = tf.random.stateless_uniform([], seed)
    partner = tf.argsort(
        tf.random.stateless_uniform([tf.shape(images)[0]], tf.random.fold_in(seed, 1))
    )
    mixed = [share * x + (1 - share) * tf.gather(x, partner) for x in (images, targets)]
    return mixed[0], mixed[1]


def looker(seen: list, factor: float = 1.0):
    """A transform that notes its arguments and multiplies the images."""

    def look(images, targets, seed):
        given = [images, targets, seed]
        tf.py_function(lambda *values: seen.append([v.numpy() for v in values]), given, [])
        return images * factor, targets

    return look


def test_a_batch_transform_sees_augmented_images_and_their_targets(trainer):
    seen = []
    trainer(transforms=[looker(seen)]).steps(3)
    assert [images.shape for images, _, _ in seen] == [(40, 32, 32, 3)] * 3
    assert all(images.min() >= 0 and 200 < images.max() <= 255 for images, _, _ in seen)
    for _, targets, _ in seen:
        assert np.isin(targets, (0, 1)).all() and (targets.sum(axis=1) == 1).all()


def test_transforms_run_in_order_and_each_step_of_each_has_its_own_seed(trainer):
    first, second = [], []
    trainer(transforms=[looker(first, factor=0.5), looker(second)]).steps(3)
    for before, after in zip(first, second, strict=True):
        np.testing.assert_array_equal(before[0] / 2, after[0])
    seeds = {tuple(seed) for *_, seed in (*first, *second)}
    assert len(seeds) == 6
    again = []
    trainer(transforms=[looker(again)]).steps(1)
    np.testing.assert_array_equal(again[0][2], first[0][2])


def test_a_transformed_training_resumes_to_the_same_bits(trainer):
    whole = trainer(transforms=[mixup])
    plain = trainer()
    assert not np.array_equal(whole.steps(4)[0], plain.steps(4)[0])
    whole.steps(4)
    first, rest = trainer(transforms=[mixup]), trainer(transforms=[mixup])
    first.steps(3)
    rest.load_state(first.state())
    rest.steps(1), rest.steps(2), rest.steps(2)
    for a, b in zip(weights(whole), weights(rest), strict=True):
        np.testing.assert_array_equal(a, b)


def changed(**sections) -> config.Config:
    """`SETTINGS` with keys of some sections replaced."""
    document = SETTINGS.model_dump(mode="json")
    for name, keys in sections.items():
        document[name] |= keys
    return config.parse(document)


def test_validation_in_batches_is_that_of_all_images_at_once(dataset):
    assert len(dataset.validation.labels) == 40
    whole = Trainer(SETTINGS, dataset).validate()
    # The last batch has 4 images.
    parts = Trainer(changed(evaluate={"batch_size": 12}), dataset).validate()
    assert parts == pytest.approx(whole, rel=1e-6)


@pytest.mark.parametrize(("epochs", "steps"), [(0.01, 1), (0.5, 2), (1.5, 6), (1.6, 6), (1.7, 7)])
def test_epochs_are_rounded_to_steps_and_one_at_least(dataset, epochs, steps):
    ours = Trainer(changed(train={"epochs": epochs}), dataset)
    assert (ours.step, ours.steps_per_epoch, ours.total_steps) == (0, 4, steps)


def test_a_batch_may_be_the_whole_training_set_and_what_is_left_over_is_left_out(dataset):
    for batch, steps in ((160, 1), (159, 1), (80, 2), (79, 2), (53, 3)):
        assert Trainer(changed(train={"batch_size": batch}), dataset).steps_per_epoch == steps


def test_the_learning_rate_is_that_of_the_latest_step(dataset):
    ours = Trainer(changed(train={"schedule": {"kind": "step", "at": [1], "factor": 0.5}}), dataset)
    rates = [ours.learning_rate()]
    for _ in range(8):
        ours.steps(1)
        rates.append(ours.learning_rate())
        assert float(ours._optimizer.learning_rate) == pytest.approx(rates[-1])
    assert rates == pytest.approx([0.01] * 5 + [0.005] * 4)


def test_whitening_looks_at_the_first_5000_training_images():
    settings = config.parse(
        {
            "data": {"source": "synthetic", "validation_fraction": 0.0},
            "model": {
                "layers": [
                    {
                        "Conv2D": {
                            "filters": 24,
                            "kernel_size": 2,
                            "kernel_initializer": "whitening",
                        }
                    },
                    "Flatten",
                    {"Dense": {"units": 10}},
                ]
            },
            "train": {"epochs": 1, "batch_size": 100, "learning_rate": 1, "precision": "float32"},
        }
    )
    images = data.load(settings.data, 0)
    kernel = Trainer(settings, images).model.get_weights()[0]
    for count, equal in ((5000, True), (4999, False), (5001, False)):
        given = models.build(
            settings.model, 32, 10, images.mean, images.std, "float32", images.train.pixels[:count]
        )
        assert np.array_equal(kernel, given.get_weights()[0]) == equal


def test_the_average_is_of_every_step_also_in_a_group(dataset):
    settings = changed(train={"ema": 0.3})
    together, apart = Trainer(settings, dataset), Trainer(settings, dataset)
    together.steps(4)
    average = apart.model.get_weights()
    for step in range(1, 5):
        apart.steps(1)
        # From step 3 on, (1 + n) / (10 + n) is above 0.3.
        decay = min(0.3, (1 + step) / (10 + step))
        now = apart.model.get_weights()
        average = [decay * a + (1 - decay) * w for a, w in zip(average, now, strict=True)]
    for ours, expected in zip(together.eval_model.get_weights(), average, strict=True):
        np.testing.assert_allclose(ours, expected, atol=1e-6)


def test_the_state_has_both_averages(dataset):
    options = {"ema": 0.9, "lookahead": {"every": 3}}
    whole, first, rest = (Trainer(changed(train=options), dataset) for _ in range(3))
    whole.steps(4)
    first.steps(2)
    rest.load_state(first.state())
    assert rest.step == 2
    rest.steps(2)
    groups = {name.split("/")[0] for name in first.state()}
    assert groups == {"model", "optimizer", "average", "lookahead", "step"}
    for name, value in whole.state().items():
        np.testing.assert_array_equal(value, rest.state()[name], err_msg=name)
