"""Training on real Keras: numbers by hand, bits across stops, files on disk."""

import csv
import functools
import json
import os
import shutil
import signal
from typing import ClassVar

import keras
import numpy as np
import pytest
import tensorflow as tf

from cifarnet import config, data, evaluation, exporters, runs, training
from cifarnet.callbacks import Callback, StepProgress
from cifarnet.errors import (
    ArtifactError,
    ConfigError,
    DataError,
    Interrupted,
    RunError,
    TrainingError,
)
from cifarnet.training.step import Trainer

SMALL = {
    "name": "small",
    "data": {
        "source": "synthetic",
        "limit": 300,
        "validation_fraction": 0.2,
        "augment": [{"kind": "flip"}, {"kind": "crop", "pixels": 2}, {"kind": "cutout", "size": 4}],
    },
    "model": {
        "layers": [
            {"Conv2D": {"filters": 4, "kernel_size": 3, "use_bias": False}},
            {"BatchNormalization": {"name": "norm"}},
            "ReLU",
            {"MaxPooling2D": {"pool_size": 4}},
            "Flatten",
            {"Dropout": {"rate": 0.2}},
            {"Dense": {"units": 10}},
        ]
    },
    "train": {
        "epochs": 4,
        "batch_size": 50,
        "learning_rate": 0.05,
        "momentum": 0.9,
        "precision": "float32",
        "schedule": {"kind": "cosine", "warmup_epochs": 0.5},
    },
}


def small(**options) -> config.Config:
    """`SMALL` with keys of `train` replaced."""
    return config.parse({**SMALL, "train": {**SMALL["train"], **options}})


def trainer(settings: config.Config) -> Trainer:
    return Trainer(settings, data.load(settings.data, settings.seed))


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """A function of options of `small`: the run that nothing stopped, trained once."""

    @functools.cache
    def trained(options: str) -> runs.Run:
        return training.train(small(**json.loads(options)), tmp_path_factory.mktemp("unbroken"))

    return lambda **options: trained(json.dumps(options))


class StopAfter(Callback):
    """Sends this process Ctrl-C once `step` steps of `epoch` are done."""

    def __init__(self, epoch: int, step: int) -> None:
        self._at = (epoch, step)
        self._sent = False

    def on_steps(self, progress: StepProgress) -> None:
        if not self._sent and (progress.epoch, progress.step) >= self._at:
            self._sent = True
            os.kill(os.getpid(), signal.SIGINT)


def weights(run: runs.Run) -> list[np.ndarray]:
    return keras.models.load_model(run.model_file).get_weights()


def assert_equal_bits(one: runs.Run, other: runs.Run) -> None:
    for a, b in zip(weights(one), weights(other), strict=True):
        np.testing.assert_array_equal(a, b)
    states = [runs.read_arrays(run.checkpoints()[-1]) for run in (one, other)]
    assert states[0].keys() == states[1].keys() >= {"model/0", "optimizer/0", "step"}
    for name in states[0].keys() - {"about"}:  # with times and speeds
        np.testing.assert_array_equal(states[0][name], states[1][name], err_msg=name)
    columns = ["epoch", "loss", "accuracy", "validation_loss", "validation_accuracy"]
    tables = []
    for run in (one, other):
        with run.history_file.open() as file:
            tables.append([[row[c] for c in columns] for row in csv.DictReader(file)])
    assert tables[0] == tables[1]


# --- the step -------------------------------------------------------------------------


def plain_step(settings: config.Config) -> tuple[list, list]:
    """Weights after two steps of the Trainer, and of the same arithmetic in NumPy."""
    ours = trainer(settings)
    before = [np.asarray(w) for w in ours.model.trainable_variables]
    reference = [w.copy() for w in before]
    buffers = [np.zeros_like(w) for w in before]
    model = keras.models.clone_model(ours.model)
    rate, options = settings.train.learning_rate, settings.train
    dataset = data.load(settings.data, settings.seed)
    order = np.random.default_rng([settings.seed, 0, 1]).permutation(len(dataset.train.labels))
    for step in range(2):
        batch = order[step * options.batch_size : (step + 1) * options.batch_size]
        model.set_weights(reference)
        with tf.GradientTape() as tape:
            logits = model(dataset.train.pixels[batch].astype(np.float32))
            loss = tf.reduce_mean(
                keras.losses.categorical_crossentropy(
                    np.eye(10)[dataset.train.labels[batch]],
                    logits,
                    from_logits=True,
                    label_smoothing=options.label_smoothing,
                )
            )
        gradients = [g.numpy() for g in tape.gradient(loss, [w.value for w in model.weights])]
        if options.clip_norm:
            norm = np.sqrt(sum((g**2).sum() for g in gradients))
            gradients = [g * min(1, options.clip_norm / norm) for g in gradients]
        for i, gradient in enumerate(gradients):
            reference[i] = reference[i] * (1 - rate * options.weight_decay)
            buffers[i] = options.momentum * buffers[i] - rate * gradient
            change = buffers[i]
            if options.nesterov:
                change = options.momentum * buffers[i] - rate * gradient
            reference[i] = reference[i] + change
    losses, _ = ours.steps(2)
    assert losses[1] == pytest.approx(float(loss), rel=1e-4)
    return [np.asarray(w) for w in ours.model.trainable_variables], reference


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"momentum": 0.9},
        {"momentum": 0.9, "nesterov": True},
        {"weight_decay": 0.5},
        {"label_smoothing": 0.2},
        {"clip_norm": 0.01},
    ],
    ids=str,
)
def test_two_steps_equal_their_arithmetic(options):
    settings = config.parse(
        {
            "data": {"source": "synthetic", "limit": 100},
            "model": {"layers": ["Flatten", {"Dense": {"units": 10}}]},
            "train": {
                "epochs": 1,
                "batch_size": 16,
                "learning_rate": 0.1,
                "precision": "float32",
                **options,
            },
        }
    )
    ours, expected = plain_step(settings)
    for a, b in zip(ours, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)


def test_the_average_follows_its_formula():
    ours = trainer(small(ema=0.9))
    average = [np.asarray(w) for w in ours.model.weights]
    for step in range(1, 4):
        ours.steps(1)
        decay = min(0.9, (1 + step) / (10 + step))
        now = [np.asarray(w) for w in ours.model.weights]
        average = [decay * a + (1 - decay) * w for a, w in zip(average, now, strict=True)]
    for kept, expected in zip(ours.eval_model.weights, average, strict=True):
        np.testing.assert_allclose(kept, expected, atol=1e-5)


def test_lookahead_follows_its_definition():
    ours = trainer(small(lookahead={"every": 2, "decay": 0.8, "ramp": 2.0}))
    plain = trainer(small())
    slow = [np.asarray(w) for w in ours.model.weights]
    for step in range(1, 5):
        plain.load_state({k: v for k, v in ours.state().items() if not k.startswith("lookahead")})
        plain.steps(1)
        ours.steps(1)
        expected = [np.asarray(w) for w in plain.model.weights]
        if step % 2 == 0:
            kept = 0.8 * (step / 16) ** 2
            slow = [kept * s + (1 - kept) * w for s, w in zip(slow, expected, strict=True)]
            expected = slow
        for weight, value in zip(ours.model.weights, expected, strict=True):
            np.testing.assert_allclose(weight, value, atol=1e-6)


def test_lookahead_ends_on_the_slow_copy():
    ours = trainer(small(lookahead={"every": 3}))  # 16 steps: the last pull is at 15
    for _ in range(4):
        ours.steps(3)
        if ours.step < 15:
            ours.steps(1)
    slow = [np.asarray(v) for v in ours._lookahead.variables]
    ours.steps(1)
    assert ours.step == ours.total_steps
    for weight, value in zip(ours.model.weights, slow, strict=True):
        np.testing.assert_array_equal(weight, value)


def test_a_frozen_layer_is_trained_for_its_epochs_only():
    document = config.parse(SMALL).model_dump(mode="json")
    document["model"]["layers"][0]["Conv2D"]["name"] = "first"
    document["train"]["freeze"] = {"first": 2}
    ours = trainer(config.parse(document))
    kernels = []
    for _ in range(4):
        before = ours.model.get_layer("first").kernel.numpy()
        head = ours.model.layers[-1].kernel.numpy()
        ours.steps(4)
        kernels.append(np.array_equal(before, ours.model.get_layer("first").kernel))
        assert not np.array_equal(head, ours.model.layers[-1].kernel)
    assert kernels == [False, False, True, True]


def test_freezing_an_unknown_layer_is_refused():
    with pytest.raises(ConfigError, match=r"train\.freeze: .* 'first'; name it in the list"):
        trainer(small(freeze={"first": 1}))


def test_norm_bias_factor_multiplies_the_rate_of_those_biases_alone():
    changes = []
    for factor in (1.0, 3.0):
        options = {"schedule": {"kind": "constant"}, "norm_bias_factor": factor}
        ours = trainer(small(**options))
        before = [np.asarray(w) for w in ours.model.trainable_variables]
        ours.steps(1)
        after = [np.asarray(w) for w in ours.model.trainable_variables]
        paths = [w.path.split("/")[-1] for w in ours.model.trainable_variables]
        changes.append([b - a for a, b in zip(before, after, strict=True)])
    for path, once, thrice in zip(paths, *changes, strict=True):
        np.testing.assert_allclose(thrice, (3 if path == "beta" else 1) * once, atol=1e-6)


def test_regularizers_of_layers_count():
    document = config.parse(SMALL).model_dump(mode="json")
    losses = []
    for factor in (0.0, 1.0):
        regulariser = {"class_name": "L2", "config": {"l2": factor}}
        document["model"]["layers"][0]["Conv2D"]["kernel_regularizer"] = regulariser
        ours = trainer(config.parse(document))
        kernel = np.asarray(ours.model.trainable_variables[0])
        losses.append(ours.steps(1)[0][0])
    assert losses[1] - losses[0] == pytest.approx((kernel**2).sum(), rel=1e-3)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_every_precision_learns(precision, tmp_path):
    ours = trainer(small(precision=precision, epochs=8))
    first = ours.steps(4)[0].mean()
    for _ in range(7):
        last = ours.steps(4)[0].mean()
    assert last < 0.8 * first
    assert {w.dtype for w in ours.model.weights} == {"float32"}


def test_validation_is_what_the_kept_weights_give():
    settings = small(ema=0.5)
    ours = trainer(settings)
    ours.steps(4)
    loss, accuracy = ours.validate()
    images = data.load(settings.data, settings.seed).validation
    logits = ours.float32_model(ours.eval_model.get_weights())(images.pixels.astype(np.float32))
    expected = keras.losses.sparse_categorical_crossentropy(images.labels, logits, from_logits=True)
    assert loss == pytest.approx(float(np.mean(expected)), rel=1e-4)
    assert accuracy == pytest.approx(np.mean(np.argmax(logits, axis=1) == images.labels))


def test_a_batch_larger_than_the_set_is_refused():
    with pytest.raises(ConfigError, match="500 is more than the 240 training images"):
        trainer(small(batch_size=500))


# --- bits -----------------------------------------------------------------------------


def test_the_same_config_gives_the_same_bits_and_so_does_the_saved_one(tmp_path, unbroken):
    one = unbroken()
    two = training.train(small(), tmp_path)
    again = training.train(config.load(one.config_file), tmp_path)
    assert_equal_bits(one, two)
    assert_equal_bits(one, again)
    other = training.train(config.parse({**SMALL, "seed": 1}), tmp_path)
    assert not np.array_equal(weights(one)[0], weights(other)[0])


def test_every_epoch_sees_every_image_in_another_order():
    ours = trainer(
        config.parse(
            {
                "data": {"source": "synthetic", "limit": 200},
                "model": {"layers": ["Flatten", {"Dense": {"units": 10}}]},
                "train": {
                    "epochs": 2,
                    "batch_size": 45,
                    "learning_rate": 1e-30,
                    "precision": "float32",
                },
            }
        )
    )
    first, second = ours.steps(4)[0], ours.steps(4)[0]  # 4 batches are the whole set
    assert not np.isclose(first, second).any()
    assert first.mean() == pytest.approx(second.mean(), rel=1e-5)


def test_groups_of_steps_change_nothing():
    one, other = trainer(small()), trainer(small())
    together = one.steps(4)[0]
    apart = [other.steps(1)[0][0] for _ in range(4)]
    np.testing.assert_array_equal(together, apart)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"ema": 0.9, "select": "best"},
        {"lookahead": {"every": 3}, "freeze": {"norm": 2}},
    ],
    ids=["plain", "average", "lookahead-freeze"],
)
@pytest.mark.parametrize("stop", [(1, 1), (2, 3), (3, 4)], ids=str)
def test_a_stopped_and_resumed_run_equals_an_unbroken_one(options, stop, tmp_path, unbroken):
    with pytest.raises(Interrupted, match="cifarnet train --resume"):
        training.train(small(**options), tmp_path, callbacks=[StopAfter(*stop)])
    run = runs.open_run("latest", tmp_path)
    assert runs.status(run) == "interrupted"
    assert run.read_record().steps_done < 16
    training.resume(run)
    assert run.read_record().status == "finished"
    assert_equal_bits(unbroken(**options), run)


def interrupted(tmp_path, at=(1, 1), **options) -> runs.Run:
    with pytest.raises(Interrupted):
        training.train(small(**options), tmp_path, callbacks=[StopAfter(*at)])
    return runs.open_run("latest", tmp_path)


def test_a_finished_run_is_trained_further_only_on_request(tmp_path):
    run = training.train(small(epochs=1), tmp_path)
    with pytest.raises(RunError, match=r"has finished: all epochs done.*-o train\.epochs=N"):
        training.resume(run)
    constant = {"schedule": {"kind": "constant"}, "epochs": 2}
    short, long = (training.train(small(**{**constant, "epochs": n}), tmp_path) for n in (2, 3))
    training.resume(short, ["train.epochs=3"])
    assert_equal_bits(long, short)
    assert short.read_record().resumed[0].notes == ["train.epochs: 2 -> 3"]
    assert config.load(short.config_file).train.epochs == 3
    with pytest.raises(ConfigError, match=r"expected at least the 3 that .* received 1"):
        training.resume(short, ["train.epochs=1"])
    assert config.load(short.config_file).train.epochs == 3


def test_a_run_that_ended_early_is_trained_further_without_what_ended_it(tmp_path, unbroken):
    run = training.train(small(stop={"validation_accuracy": 0.01}), tmp_path)
    assert run.read_record().epochs_done == 1
    before = run.model_file.read_bytes()
    for overrides in ([], ["train.epochs=5"], ["train.stop={validation_accuracy: 0.02}"]):
        with pytest.raises(RunError, match=r"reached 0\.01.*switch off.*-o train\.stop=null"):
            training.resume(run, overrides)
    assert run.model_file.read_bytes() == before
    training.resume(run, ["train.stop=null"])
    assert run.read_record().stop_reason == "all epochs done"
    assert_equal_bits(unbroken(), run)
    with pytest.raises(RunError, match=r"all epochs done\. .*-o train\.epochs=N"):
        training.resume(run, ["train.early_stopping={patience: 3}"])
    last = training.train(small(epochs=1, stop={"validation_accuracy": 0.01}), tmp_path)
    with pytest.raises(RunError, match=r"reached 0\.01.*-o train\.epochs=N"):
        training.resume(last, ["train.stop=null"])


def test_a_finished_run_without_checkpoints_is_trained_anew_for_more_epochs(tmp_path):
    run = training.train(small(epochs=1), tmp_path)
    shutil.rmtree(run.checkpoints()[0].parent)
    with pytest.raises(RunError, match=r"all epochs done\. .*-o train\.epochs=N"):
        training.resume(run)
    training.resume(run, ["train.epochs=2"])
    assert run.read_record().steps_done == 8


def test_an_interrupted_run_states_no_accuracy_that_its_network_was_not_measured_with(tmp_path):
    often = {"checkpoint": {"every_steps": 1}}  # so steps are taken one by one
    record = interrupted(tmp_path / "last", at=(2, 3), **often).read_record()
    assert (record.selected_epoch, record.validation_accuracy) == (None, None)
    assert record.best_epoch == 1
    run = interrupted(tmp_path / "best", at=(2, 3), select="best", **often)
    record = run.read_record()
    settings = small()
    images = data.load(settings.data, settings.seed).validation
    logits = keras.models.load_model(run.model_file)(images.pixels.astype(np.float32))
    right = np.mean(np.argmax(logits, axis=1) == images.labels)
    assert record.selected_epoch == 1
    assert record.validation_accuracy == pytest.approx(right)


def test_part_of_an_epoch_counts_as_one_where_training_goes_on(tmp_path):
    class Counts(Callback):
        def __init__(self):
            self.seen = []

        def on_steps(self, progress):
            self.seen.append((progress.epoch, progress.epochs))

    begin, end = Counts(), Counts()
    constant = {"schedule": {"kind": "constant"}}
    run = training.train(small(epochs=1.5, **constant), tmp_path, callbacks=[begin])
    training.resume(run, ["train.epochs=3"], callbacks=[end])
    assert sorted(set(begin.seen)) == [(1, 2), (2, 2)]
    assert sorted(set(end.seen)) == [(3, 4), (4, 4)]
    assert len(run.history_file.read_text().splitlines()) == 5


def test_a_finished_run_that_is_trained_further_stays_what_its_record_says(tmp_path):
    class Fails(Callback):
        def on_steps(self, progress):
            if progress.epoch == 4:
                raise RuntimeError("power loss")

    run = training.train(small(epochs=2), tmp_path)
    assert set(run.read_record().files) == {"config.yaml", "history.csv", "model.keras"}
    with pytest.raises(RuntimeError):
        training.resume(run, ["train.epochs=5"], callbacks=[Fails()])
    assert len(run.history_file.read_text().splitlines()) == 4
    assert {one.name: one.right for one in runs.verify(run)} == {
        "config.yaml": True,
        "history.csv": None,
        "model.keras": None,
        "checkpoint/step-00000008.npz": True,
        "checkpoint/step-00000012.npz": True,
    }
    assert "power loss" in run.read_record().stop_reason


def test_a_changed_config_is_refused_with_what_changed(tmp_path):
    run = interrupted(tmp_path)
    before = run.config_file.read_text()
    with pytest.raises(ConfigError, match=r"learning_rate: .* -> 0\.5\nOnly train\.epochs, "):
        training.resume(run, ["train.learning_rate=0.5"])
    assert run.config_file.read_text() == before
    run.config_file.write_text(before.replace("filters: 4", "filters: 5"))
    with pytest.raises(ConfigError, match=r"model\.layers"):
        training.resume(run)
    run.config_file.write_text(before)
    training.resume(run, ["train.checkpoint.every_steps=3"])
    assert run.read_record().status == "finished"


def test_a_run_killed_before_its_first_checkpoint_starts_again(tmp_path, unbroken):
    run = interrupted(tmp_path)
    shutil.rmtree(run.path / "checkpoint")
    before = run.config_file.read_text()
    run.config_file.write_text(before.replace("filters: 4", "filters: 5"))
    with pytest.raises(ArtifactError, match="damaged, missing or was replaced"):
        training.resume(run)
    run.config_file.write_text(before)
    training.resume(run)
    assert_equal_bits(unbroken(), run)


def test_a_damaged_checkpoint_is_noted_and_the_one_before_it_taken(tmp_path, unbroken):
    run = interrupted(tmp_path, at=(3, 1))
    newest = run.checkpoints()[-1]
    newest.write_bytes(newest.read_bytes()[:-100])
    training.resume(run)
    assert newest.name in run.read_record().resumed[0].notes[0]
    assert_equal_bits(unbroken(), run)


def test_checkpoints_as_often_as_asked(tmp_path):
    class Seen(Callback):
        steps: ClassVar[set[str]] = set()

        def on_steps(self, progress):
            run = runs.open_run("latest", tmp_path)
            self.steps |= {path.stem for path in run.checkpoints()}

    training.train(small(checkpoint={"every_steps": 3}), tmp_path, callbacks=[Seen()])
    every_third_and_epoch = {f"step-{step:08}" for step in (3, 4, 6, 8, 9, 12)}
    assert every_third_and_epoch <= Seen.steps | {"step-00000016"}
    assert not {"step-00000002", "step-00000005", "step-00000007"} & Seen.steps
    Seen.steps = set()
    training.train(
        small(checkpoint={"every_minutes": 1e-9}, epochs=1), tmp_path, callbacks=[Seen()]
    )
    assert "step-00000001" in Seen.steps


def test_another_machine_is_noted_and_ends_the_promise_of_equal_bits(tmp_path):
    run = interrupted(tmp_path)
    record = run.read_record()
    assert record.determinism.bit_deterministic is True
    run.update_record(machine=record.machine.replace(cores=96))
    training.resume(run)
    record = run.read_record()
    assert f"cores: 96 -> {record.machine.cores}" in record.resumed[0].notes
    assert record.determinism.bit_deterministic is False
    assert "resuming where it began: cores: 96 -> " in record.determinism.needs


def test_other_images_than_before_are_refused(tmp_path):
    run = interrupted(tmp_path)
    data_record = run.read_record().data
    other = {"train": "0", "validation": "1", "test": "2"}
    run.update_record(data=data_record.model_copy(update={"digests": other}))
    with pytest.raises(DataError, match="was trained on other images"):
        training.resume(run)


# --- endings --------------------------------------------------------------------------


def test_a_loss_that_is_no_number_stops_the_run_with_advice(tmp_path):
    options = {**SMALL["train"], "learning_rate": 1e38, "schedule": {"kind": "constant"}}
    network = {"layers": ["Flatten", {"Dense": {"units": 10}}]}
    with pytest.raises(TrainingError) as caught:
        training.train(config.parse({**SMALL, "model": network, "train": options}), tmp_path)
    for text in ("not finite at step", "learning rate is too high", "1e+37", "clip_norm"):
        assert text in str(caught.value)
    run = runs.open_run("latest", tmp_path)
    assert runs.status(run) == "failed"
    assert "not finite" in run.read_record().stop_reason


def test_training_stops_at_the_wanted_level(tmp_path):
    run = training.train(small(epochs=30, stop={"validation_accuracy": 0.15}), tmp_path)
    record = run.read_record()
    assert record.stop_reason == "validation accuracy reached 0.15"
    assert record.epochs_done < 30
    assert record.validation_accuracy >= 0.15


def test_early_stopping_ends_when_the_loss_no_longer_falls(tmp_path):
    stopping = {"patience": 2, "min_delta": 100.0}
    run = training.train(small(epochs=30, early_stopping=stopping), tmp_path)
    assert run.read_record().epochs_done == 3


def test_select_best_keeps_the_best_epochs_weights(tmp_path):
    settings = small(epochs=6, learning_rate=0.5, select="best", schedule={"kind": "constant"})
    run = training.train(settings, tmp_path)
    with run.history_file.open() as file:
        accuracies = [float(row["validation_accuracy"]) for row in csv.DictReader(file)]
    record = run.read_record()
    assert record.selected_epoch == 1 + int(np.argmax(accuracies))
    assert record.validation_accuracy == max(accuracies)
    images = data.load(settings.data, settings.seed).validation
    logits = keras.models.load_model(run.model_file)(images.pixels.astype(np.float32))
    right = np.mean(np.argmax(logits, axis=1) == images.labels)
    assert right == pytest.approx(max(accuracies))


def test_half_an_epoch_is_half_the_steps(tmp_path):
    run = training.train(small(epochs=1.5), tmp_path)
    record = run.read_record()
    assert (record.steps_done, record.epochs_done) == (6, 1.5)
    assert len(run.history_file.read_text().splitlines()) == 3


def test_without_validation_images_there_is_nothing_to_validate(tmp_path):
    everything = {**SMALL["data"], "validation_fraction": 0.0}
    settings = config.parse({**SMALL, "data": everything})
    run = training.train(settings, tmp_path)
    with run.history_file.open() as file:
        assert [row["validation_accuracy"] for row in csv.DictReader(file)] == [""] * 4
    record = run.read_record()
    assert record.data.counts["train"] == 300
    assert (record.validation_accuracy, record.selected_epoch) == (None, 4)


def test_the_record_says_what_was_done(tmp_path):
    run = training.train(small(precision="auto", epochs=1), tmp_path, command="cifarnet train")
    record = run.read_record()
    assert record.status == "finished"
    assert record.command == "cifarnet train"
    assert record.data.counts == {"train": 240, "validation": 60, "test": 2000}
    assert set(record.data.digests) == {"train", "validation", "test"}
    # 3x3x3x4 + 4x4, then 7x7x4 inputs to 10 outputs.
    assert record.model.parameters == 108 + 16 + 1970
    assert record.machine.cores >= 1
    assert record.precision.milliseconds.keys() >= {"float32", "bfloat16"}
    assert config.load(run.config_file).train.precision == record.precision.chosen


def test_tensorboard_logs_on_request(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = training.train(small(epochs=2, tensorboard=True), tmp_path)
    events = EventAccumulator(str(run.path / "tensorboard"))
    events.Reload()
    logged = [tf.make_ndarray(e.tensor_proto) for e in events.Tensors("validation_accuracy")]
    with run.history_file.open() as file:
        expected = [float(row["validation_accuracy"]) for row in csv.DictReader(file)]
    np.testing.assert_allclose(logged, expected, rtol=1e-6)
    assert not (training.train(small(epochs=1), tmp_path).path / "tensorboard").exists()


def test_nothing_is_written_for_a_config_that_cannot_train(tmp_path):
    with pytest.raises(ConfigError):
        training.train(small(batch_size=500), tmp_path / "runs")
    with pytest.raises(DataError):
        training.train(
            config.parse({**SMALL, "data": {**SMALL["data"], "limit": 3}}), tmp_path / "runs"
        )
    assert not (tmp_path / "runs").exists()


def test_results_of_older_weights_are_no_longer_those_of_the_run(tmp_path):
    run = training.train(small(epochs=1), tmp_path, callbacks=[])
    first = evaluation.evaluate(run, callbacks=[])
    exporters.export(run, ["keras"], callbacks=[])
    assert runs.summary(run).test_accuracy == first.accuracy
    (export,) = runs.exports(run)
    assert runs.export_label(run, export) == "keras"
    training.resume(run, ["train.epochs=2"], callbacks=[])
    assert runs.summary(run).test_accuracy is None
    assert runs.export_label(run, export) == "keras (of older weights)"
    again = evaluation.evaluate(run, callbacks=[])
    assert again.about.weights_sha256 == runs.weights_digest(run) != first.about.weights_sha256
    assert runs.summary(run).test_accuracy == again.accuracy
