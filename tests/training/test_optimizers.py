"""Muon: singular values by NumPy's SVD, steps by hand, bits across stops."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from cifarnet import config, data
from cifarnet.errors import ConfigError
from cifarnet.exporters import finetune
from cifarnet.exporters.finetune import fine_tune
from cifarnet.training import optimizers
from cifarnet.training.optimizers import orthogonalize
from cifarnet.training.step import Trainer

SETTINGS = {
    "seed": 4,
    "data": {"source": "synthetic", "limit": 120, "validation_fraction": 0.25},
    "model": {
        "layers": [
            {"Conv2D": {"name": "first", "filters": 6, "kernel_size": 3, "strides": 3}},
            {"BatchNormalization": {"name": "norm"}},
            "ReLU",
            {"Conv2D": {"filters": 40, "kernel_size": 2, "strides": 2, "use_bias": False}},
            "ReLU",
            "Flatten",
            {"Dense": {"units": 10}},
        ]
    },
    "train": {
        "epochs": 3,
        "batch_size": 30,
        "learning_rate": 0.02,
        "momentum": 0.9,
        "nesterov": True,
        "weight_decay": 0.1,
        "precision": "float32",
        "schedule": {"kind": "triangle", "start": 1.0, "peak_at": 0.001, "end": 0.0},
        "muon": {"learning_rate": 0.3},
    },
}
QUINTIC = (3.4445, -4.7750, 2.0315)


def changed(**train) -> config.Config:
    return config.parse({**SETTINGS, "train": {**SETTINGS["train"], **train}})


@pytest.fixture(scope="module")
def dataset():
    settings = changed()
    return data.load(settings.data, settings.seed)


def by_svd(matrix: np.ndarray, steps: int) -> np.ndarray:
    """The iteration, on the singular values alone."""
    a, b, c = QUINTIC
    left, values, right = np.linalg.svd(matrix.astype(np.float64), full_matrices=False)
    values = values / np.sqrt((matrix.astype(np.float64) ** 2).sum())
    for _ in range(steps):
        values = a * values + b * values**3 + c * values**5
    return (left * values) @ right


@pytest.mark.parametrize("shape", [(8, 8), (27, 6), (6, 27), (5, 1), (1, 1)])
@pytest.mark.parametrize("steps", [1, 3, 5])
def test_the_iterations_act_on_the_singular_values_alone(shape, steps):
    matrix = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    ours = orthogonalize(tf.constant(matrix), steps).numpy()
    np.testing.assert_allclose(ours, by_svd(matrix, steps), atol=2e-5)
    half = orthogonalize(tf.constant(matrix), steps, "bfloat16").numpy()
    assert half.dtype == np.float32
    np.testing.assert_allclose(half, by_svd(matrix, steps), atol=0.1)


def test_five_iterations_bring_singular_values_near_1():
    random = np.random.default_rng(1)
    left, right = (np.linalg.qr(random.normal(size=(24, 24)))[0] for _ in range(2))
    values = np.geomspace(0.03, 1.0, 24)
    matrix = ((left * values) @ right).astype(np.float32)
    found = np.linalg.svd(orthogonalize(tf.constant(matrix), 5).numpy(), compute_uv=False)
    assert found.min() > 0.68 and found.max() < 1.14
    assert np.linalg.svd(matrix, compute_uv=False).min() < 0.04
    zero = orthogonalize(tf.zeros([4, 3]), 3).numpy()
    np.testing.assert_array_equal(zero, np.zeros((4, 3)))


def by_hand(ours: Trainer, dataset, steps: int) -> list[np.ndarray]:
    """The weights after some steps, in NumPy but for the gradients."""
    options = ours._config.train
    model = keras.models.clone_model(ours.model)
    model.set_weights(ours.model.get_weights())
    weights = [w.numpy() for w in model.trainable_weights]
    buffers = [np.zeros_like(w) for w in weights]
    order = np.random.default_rng([4, 0, 1]).permutation(len(dataset.train.labels))
    for step in range(steps):
        batch = order[step * options.batch_size : (step + 1) * options.batch_size]
        for variable, value in zip(model.trainable_weights, weights, strict=True):
            variable.assign(value)
        with tf.GradientTape() as tape:
            logits = model(dataset.train.pixels[batch].astype(np.float32), training=True)
            loss = keras.losses.sparse_categorical_crossentropy(
                dataset.train.labels[batch], logits, from_logits=True
            )
            loss = tf.reduce_mean(loss)
        gradients = [
            g.numpy() for g in tape.gradient(loss, [w.value for w in model.trainable_weights])
        ]
        if options.clip_norm:
            norm = np.sqrt(sum((g**2).sum() for g in gradients))
            gradients = [g * min(1, options.clip_norm / norm) for g in gradients]
        rate = float(ours._rates(np.asarray(step)))
        for i, (weight, gradient) in enumerate(zip(weights, gradients, strict=True)):
            factor = options.norm_bias_factor if i == 3 else 1
            if weight.ndim == 4:
                muon, filters = options.muon, weight.shape[-1]
                buffers[i] = muon.momentum * buffers[i] + gradient
                direction = gradient + muon.momentum * buffers[i]
                # The published code has kernels as [filters, ...].
                update = by_svd(direction.reshape(-1, filters).T, muon.steps).T
                scaled = weight * np.sqrt(filters) / np.linalg.norm(weight)
                step_size = rate / options.learning_rate * muon.learning_rate
                weights[i] = scaled - step_size * update.reshape(weight.shape)
            else:
                weight = weight * (1 - rate * options.weight_decay)
                moved = factor * rate * gradient
                buffers[i] = options.momentum * buffers[i] - moved
                weights[i] = weight + options.momentum * buffers[i] - moved
    return weights


@pytest.mark.parametrize("options", [{}, {"clip_norm": 0.5}, {"norm_bias_factor": 8}])
def test_steps_are_those_by_hand(dataset, options):
    ours = Trainer(changed(**options), dataset)
    expected = by_hand(ours, dataset, 2)
    ours.steps(2)
    found = [w.numpy() for w in ours.model.trainable_weights]
    assert [w.ndim for w in found] == [4, 1, 1, 1, 4, 2, 1]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=3e-5)


def test_without_momentum_of_sgd_and_in_half_precision_kernels_move_as_far(dataset):
    for options in (
        {"momentum": 0.0, "nesterov": False},
        {"precision": "bfloat16"},
        {"precision": "float16"},
    ):
        ours = Trainer(changed(**options), dataset)
        ours.steps(1)
        kernel = ours.model.layers[2].kernel.numpy()
        assert np.isfinite(kernel).all()
        before = Trainer(changed(**options), dataset).model.layers[2].kernel.numpy()
        scaled = before * np.sqrt(6) / np.linalg.norm(before)
        moved = np.linalg.svd((kernel - scaled).reshape(-1, 6), compute_uv=False)
        # The largest possible: 0.3 x the largest value of the quintic.
        assert 0.1 * 0.3 < moved.max() < 1.25 * 0.3


@pytest.mark.parametrize(
    ("precision", "iterated", "scales"),
    [("float32", "float32", 0), ("bfloat16", "bfloat16", 0), ("float16", "float32", 1)],
)
def test_iterations_are_in_bfloat16_only_with_it_and_float16_has_a_loss_scale(
    precision, iterated, scales, dataset, monkeypatch
):
    seen = []

    def noted(matrix, steps, dtype):
        seen.append(dtype)
        return orthogonalize(matrix, steps, dtype)

    monkeypatch.setattr(optimizers, "orthogonalize", noted)
    settings = changed(precision=precision)
    ours = Trainer(settings, dataset)
    ours.steps(1)
    assert seen == [iterated] * 2
    built = optimizers.build(settings.train, ours.model)
    assert isinstance(built, keras.optimizers.LossScaleOptimizer) == bool(scales)


@pytest.mark.parametrize(("kind", "shape"), [("Conv1D", (9, 4)), ("Conv3D", (9, 4, 4, 1))])
def test_kernels_of_other_dimensions_are_trained_by_it(kind, shape):
    layer = getattr(keras.layers, kind)(5, 2, use_bias=False)
    model = keras.Sequential([keras.Input(shape), layer, keras.layers.Flatten()])
    assert optimizers.muon_kernels(model) == [layer.kernel]


def test_a_kernel_of_zeros_stays_finite(dataset):
    ours = Trainer(changed(), dataset)
    kernel = ours.model.get_layer("first").kernel
    kernel.assign(tf.zeros(kernel.shape))
    ours.steps(1)
    assert np.isfinite(kernel.numpy()).all()


def test_stopped_training_resumes_to_the_same_bits_and_averages_follow(dataset):
    options = {"ema": 0.9, "lookahead": {"every": 2}, "freeze": {"first": 2}}
    whole, first, rest = (Trainer(changed(**options), dataset) for _ in range(3))
    for count in (3, 3, 3):
        whole.steps(count)
    first.steps(2)
    rest.load_state(first.state())
    for count in (1, 1, 2, 3):
        rest.steps(count)
    names = [name for name in first.state() if name.startswith("optimizer/")]
    # A momentum for each of seven weights, the number of steps and the learning rate.
    assert len(names) == 7 + 2
    for name, value in whole.state().items():
        np.testing.assert_array_equal(value, rest.state()[name], err_msg=name)


def test_kernels_that_are_not_trained_by_it_are_refused_if_there_are_no_others():
    layers = [
        {"DepthwiseConv2D": {"kernel_size": 3}},
        {"Conv2D": {"filters": 6, "kernel_size": 3, "groups": 3}},
        {"Conv2D": {"filters": 48, "kernel_size": 2, "kernel_initializer": "whitening"}},
        "Flatten",
        {"Dense": {"units": 10}},
    ]
    settings = config.parse({**SETTINGS, "model": {"layers": layers}})
    with pytest.raises(ConfigError, match=r"train\.muon: .* this network trains none"):
        Trainer(settings, data.load(settings.data, settings.seed))


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"learning_rate": 0}, "greater than 0"),
        ({"momentum": 1.0}, "less than 1"),
        ({"steps": 0}, "greater than or equal to 1"),
        ({"rate": 1}, "rate"),
    ],
)
def test_values_outside_their_ranges_are_refused(keys, problem):
    with pytest.raises(ConfigError, match=problem):
        changed(muon=keys)


def test_fine_tuning_lowers_the_rate_of_kernels_as_that_of_the_rest(dataset):
    settings = changed(epochs=1, schedule={"kind": "constant"})
    start = Trainer(settings, dataset).float32_model(Trainer(settings, dataset).model.get_weights())
    tuned = fine_tune(start, settings, dataset, epochs=0.3)  # one step
    kernel, before = (model.layers[2].kernel.numpy() for model in (tuned, start))
    scaled = before * np.sqrt(6) / np.linalg.norm(before)
    moved = np.linalg.svd((kernel - scaled).reshape(-1, 6), compute_uv=False)
    assert 0.1 * 0.03 < moved.max() < 1.25 * 0.03


def test_fine_tuning_has_full_images_and_no_teacher_averages_or_frozen_layers():
    given = changed(
        ema=0.9,
        lookahead={"every": 2},
        freeze={"first": 2},
        resolution=[{"until": 0.5, "size": 16}],
        distill={"teacher": "x"},
    ).train
    fine = finetune._fine(given, 2.0, 0.002)
    plain = changed().train
    for key in type(given).model_fields:
        if key in {"epochs", "learning_rate", "schedule", "muon"}:
            continue
        assert getattr(fine, key) == getattr(plain, key), key
    assert fine.muon.learning_rate == pytest.approx(0.3 * 0.002 / 0.02)
