"""Smaller images early: the filter by two libraries, steps by hand, sizes across stops."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.commands import cifarnet
from PIL import Image

from cifarnet import config, data, models, runs, training
from cifarnet.callbacks import Callback
from cifarnet.errors import ConfigError
from cifarnet.training import loop
from cifarnet.training.resolution import Resolution, resize
from cifarnet.training.step import Trainer

SETTINGS = {
    "seed": 4,
    "data": {
        "source": "synthetic",
        "limit": 120,
        "validation_fraction": 0.25,
        "augment": [{"kind": "flip"}],
    },
    "model": {
        "layers": [
            {"Conv2D": {"filters": 6, "kernel_size": 5, "strides": 2, "activation": "relu"}},
            {"MaxPooling2D": {"pool_size": 2}},
            {"BatchNormalization": {}},
            {"Conv2D": {"filters": 8, "kernel_size": 3, "kernel_regularizer": "l2"}},
            "GlobalMaxPooling2D",
            {"Dense": {"units": 10, "name": "head"}},
        ]
    },
    "train": {
        "epochs": 4,  # of 3 steps
        "batch_size": 30,
        "learning_rate": 0.05,
        "momentum": 0.9,
        "precision": "float32",
        "resolution": [{"until": 0.4, "size": 16}, {"until": 0.6, "size": 24}],
    },
}
SIZES = [16] * 5 + [24] * 2 + [32] * 5  # 0.4 x 12 = 4.8, 0.6 x 12 = 7.2


def changed(layers=None, **train) -> config.Config:
    made = {**SETTINGS, "train": {**SETTINGS["train"], **train}}
    return config.parse({**made, "model": {"layers": layers}} if layers else made)


@pytest.fixture(scope="module")
def dataset():
    settings = changed()
    return data.load(settings.data, settings.seed)


@pytest.mark.parametrize("size", [8, 16, 24, 28, 31])
def test_the_filter_is_tensorflows_and_pillows(size):
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3)).astype(np.float32)
    ours = resize(tf.constant(images), size).numpy()
    theirs = tf.image.resize(images, [size, size], antialias=True).numpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-3)
    one = Image.fromarray(images[0].astype(np.uint8)).resize(
        (size, size), Image.Resampling.BILINEAR
    )
    assert abs(ours[0] - np.asarray(one, np.float32)).max() < 1.5  # it rounds after each pass
    assert resize(images, 32) is images


def test_each_step_has_the_size_of_its_part(dataset):
    settings = changed()
    resolution = Resolution(settings, 10, 12)
    assert [resolution.size(step) for step in range(12)] == SIZES
    assert [resolution.left(step) for step in range(13)] == [
        *range(5, 0, -1),
        2,
        1,
        *range(5, -1, -1),
    ]
    for first, last in ((0, 12), (3, 9), (6, 6), (5, 7), (11, 12)):
        assert resolution.pixels(first, last) == sum(x**2 for x in SIZES[first:last])
    seen = []

    def look(images, targets, seed):
        tf.py_function(lambda x: seen.append(x.shape), [images], [])
        return images, targets

    def forward(model):
        def passed(images):
            tf.py_function(lambda x: seen.append(x.shape[1]), [images], [])
            return model(images, training=True)

        return passed

    Trainer(settings, dataset, transforms=[look], forward=forward).steps(3)
    # Transforms before it have the full size.
    assert seen == [(30, 32, 32, 3), 16] * 3


def test_a_step_is_that_of_kerass_network_on_tensorflows_smaller_images(dataset):
    settings = config.parse(
        {**changed().model_dump(mode="json"), "data": {**SETTINGS["data"], "augment": []}}
    )
    ours = Trainer(settings, dataset)
    small = models.build(settings.model, 16, 10, dataset.mean, dataset.std)
    small.set_weights(ours.model.get_weights())
    order = np.random.default_rng([4, 0, 1]).permutation(len(dataset.train.labels))[:30]
    pixels = dataset.train.pixels[order].astype(np.float32)
    with tf.GradientTape() as tape:
        logits = small(tf.image.resize(pixels, [16, 16], antialias=True), training=True)
        loss = keras.losses.sparse_categorical_crossentropy(
            dataset.train.labels[order], logits, from_logits=True
        )
        loss = tf.reduce_mean(loss) + sum(small.losses)
    gradients = tape.gradient(loss, [w.value for w in small.trainable_weights])
    expected = [w - 0.05 * g for w, g in zip(small.trainable_weights, gradients, strict=True)]
    (found,), _ = ours.steps(1)
    assert found == pytest.approx(float(loss), rel=1e-5)
    for one, other in zip(ours.model.trainable_weights, expected, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), atol=1e-5)
    # The moving statistics too are of the smaller maps.
    for one, other in zip(
        ours.model.non_trainable_weights, small.non_trainable_weights, strict=True
    ):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def whole(dataset):
    ours = Trainer(changed(ema=0.9), dataset)
    for _ in range(4):
        ours.steps(3)
    return ours


@pytest.mark.parametrize("stop", [3, 6])
def test_a_training_stopped_in_any_part_resumes_to_the_same_bits(dataset, whole, stop):
    first, rest = (Trainer(changed(ema=0.9), dataset) for _ in range(2))
    for step in range(stop):
        assert first.builds_graph == (step in (0, 5))
        first.steps(1)
    rest.load_state(first.state())
    for _ in range(stop, 12):
        rest.steps(1)
    for name, value in whole.state().items():
        np.testing.assert_array_equal(value, rest.state()[name], err_msg=name)
    assert rest.macs_trained == whole.macs_trained


def test_the_macs_are_those_of_the_sizes(whole):
    def macs(size: int) -> int:
        model = models.build(changed().model, size, 10, [0] * 3, [1] * 3)
        return sum(layer.macs for layer in models.summary(model))

    # 5 x 5 x 3 x 6 per position of ((size - 5) / 2 + 1)^2, then 3 x 3 x 6 x 8, then 8 x 10.
    assert macs(16) == 450 * 6**2 + 432 * 1 + 80
    assert whole.macs_trained == 30 * sum(macs(size) for size in SIZES)


class StopAfter(Callback):
    """Asks to stop after some steps, and notes what is shown."""

    def __init__(self, steps: int) -> None:
        self.left, self.seen = steps, []

    def on_steps(self, progress) -> None:
        self.seen.append(progress)

    def stop_reason(self):
        return "enough" if len(self.seen) >= self.left else None


def test_a_run_has_the_cost_of_its_sizes_and_a_model_of_the_full_one(tmp_path):
    made = changed(checkpoint={"every_steps": 1})
    shown = StopAfter(99)
    whole = training.train(made, tmp_path, callbacks=[shown])
    stopped = training.train(made, tmp_path, callbacks=[StopAfter(4)])
    assert stopped.read_record().steps_done == 4
    training.resume(stopped, callbacks=[])
    costs = [run.read_record().cost.macs_trained for run in (whole, stopped)]
    assert costs[0] == costs[1] < 12 * 30 * whole.read_record().model.macs
    for a, b in zip(
        *(keras.models.load_model(run.model_file).get_weights() for run in (whole, stopped)),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)
    assert keras.models.load_model(whole.model_file).input_shape == (None, 32, 32, 3)
    assert runs.status(whole) == "finished"


def test_the_first_step_of_a_size_is_not_timed_and_the_time_left_goes_by_pixels(
    tmp_path, monkeypatch
):
    clock = [0.0]
    take = Trainer.steps

    def steps(trainer, count):
        assert count == 1 or not trainer.builds_graph
        clock[0] += 100.0 if trainer.builds_graph else count * trainer.resolution.size(trainer.step)
        return take(trainer, count)

    monkeypatch.setattr(Trainer, "steps", steps)
    monkeypatch.setattr(loop.time, "perf_counter", lambda: clock[0])
    shown = StopAfter(99)
    run = training.train(changed(), tmp_path, callbacks=[shown])
    # Of 12 steps, 3 per epoch, the first 5 have 16 pixels, 2 have 24, the last 5 have 32.
    seen = {(one.epoch - 1) * 3 + one.step: one for one in shown.seen}
    assert seen[3].images_per_second == pytest.approx(30 / 16)
    pixels = 2 * 16**2 + 2 * 24**2 + 5 * 32**2
    assert seen[3].seconds_left == pytest.approx(pixels * 16 / 16**2)
    # The third epoch: a step of 24 pixels, then two of 32, the first of them not timed.
    assert seen[9].images_per_second == pytest.approx(60 / (24 + 32))
    assert seen[9].seconds_left == pytest.approx(3 * 32**2 * (24 + 32) / (24**2 + 32**2))
    rows = run.history_file.read_text().splitlines()[1:]
    assert float(rows[2].split(",")[6]) == round(60 / (24 + 32), 1)


@pytest.mark.parametrize(
    ("layers", "problem"),
    [
        (
            ["Flatten", {"Dense": {"units": 10}}],
            r"dense\S* \(Dense\), after flatten\S* \(Flatten\).*\(3072, 10\).*\(768, 10\)",
        ),
        (
            [
                {"Conv2D": {"filters": 4, "kernel_size": 20}},
                "GlobalMaxPooling2D",
                {"Dense": {"units": 10}},
            ],
            r"for images of 16 x 16 pixels, model\.layers\[0\] \(Conv2D\)",
        ),
        (
            [{"MaxPooling2D": {"pool_size": 20}}, "GlobalMaxPooling2D", {"Dense": {"units": 10}}],
            r"for images of 16 x 16 pixels, model\.layers\[",
        ),
        (["PReLU", "GlobalMaxPooling2D", {"Dense": {"units": 10}}], r"p_re_lu\S* \(PReLU\)"),
    ],
)
def test_networks_that_cannot_take_a_size_are_refused_before_training(layers, problem, dataset):
    with pytest.raises(ConfigError, match=rf"train\.resolution: .*{problem}"):
        Trainer(changed(layers), dataset)


def test_config_check_builds_all_sizes(tmp_path):
    options = ["-o", "train.resolution=[{until: 0.5, size: 24}]"]
    done = cifarnet("config", "check", "article", *options, cwd=tmp_path, code=1)
    error = " ".join(done.stderr.split())
    assert error.startswith("Error: train.resolution: for images of 24 x 24 pixels, the weights of")
    assert "such as GlobalMaxPooling2D or GlobalAveragePooling2D instead of Flatten" in error


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("train.muon={}", "train.muon: it trains the kernels of convolutions"),
        ("train.freeze={nothing: 3}", "train.freeze: expected the name of a layer"),
        ("train.distill={teacher: nowhere}", "train.distill.teacher (nowhere): expected a run"),
    ],
)
def test_config_check_reads_what_the_network_must_fit(override, problem, tmp_path):
    options = ["-o", "model.layers=[Flatten, {Dense: {units: 10}}]", "-o", override]
    done = cifarnet("config", "check", "article", *options, cwd=tmp_path, code=1)
    assert " ".join(done.stderr.split()).startswith(f"Error: {problem}")


@pytest.mark.parametrize(
    ("stages", "problem"),
    [
        ([{"until": 0.5, "size": 33}], r"resolution\[0\]\.size: expected at most the 32"),
        ([{"until": 0.5, "size": 16}, {"until": 0.5, "size": 24}], "`until` rises"),
        ([{"until": 1.0, "size": 16}], "less than 1"),
        ([{"until": 0.5, "size": 4}], "greater than or equal to 8"),
        ([{"until": 0.5}], "size"),
    ],
)
def test_wrong_parts_are_refused(stages, problem):
    with pytest.raises(ConfigError, match=problem):
        changed(resolution=stages)
