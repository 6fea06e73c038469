"""Learning from a teacher: the loss by hand, formats, records, resume, refusals."""

import html
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

import cifarnet
from cifarnet import config, data, models, runs, training
from cifarnet.callbacks import Callback
from cifarnet.errors import ConfigError, RunError
from cifarnet.training import distillation
from cifarnet.training.step import Trainer

SETTINGS = {
    "name": "teacher",
    "seed": 2,
    "data": {
        "source": "synthetic",
        "limit": 120,
        "validation_fraction": 0.2,
        "augment": [{"kind": "flip"}],
    },
    "model": {
        "layers": [
            {"Conv2D": {"filters": 6, "kernel_size": 5, "strides": 3, "activation": "gelu"}},
            "BatchNormalization",
            "GlobalMaxPooling2D",
            {"Dense": {"units": 10}},
        ]
    },
    "train": {
        "epochs": 2,
        "batch_size": 25,
        "learning_rate": 0.05,
        "momentum": 0.9,
        "precision": "float32",
    },
}
STUDENT = {
    **SETTINGS,
    "model": {"layers": ["Flatten", {"Dense": {"units": 10}}]},
    "name": "student",
}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory) -> runs.Run:
    folder = tmp_path_factory.mktemp("teacher")
    return training.train(config.parse(SETTINGS), folder, callbacks=[])


@pytest.fixture(scope="module")
def dataset():
    settings = config.parse(SETTINGS)
    return data.load(settings.data, settings.seed)


def student(path, images=None, precision="float32", **distill) -> config.Config:
    learned = {"teacher": str(path), **distill}
    train = {**STUDENT["train"], "distill": learned, "precision": precision}
    return config.parse({**STUDENT, "data": {**STUDENT["data"], **(images or {})}, "train": train})


def softmax(logits: np.ndarray) -> np.ndarray:
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


def load(settings: config.Config, dataset):
    return distillation.prepare(settings, dataset, distillation.open_teacher(settings, Callback()))


def first_loss(settings: config.Config, dataset) -> float:
    made, one = load(settings, dataset)
    ours = Trainer(made, dataset, loss=one.loss, transforms=[one.transform])
    return float(ours.steps(1)[0][0])


def expected_loss(settings: config.Config, dataset, network: keras.Model) -> float:
    """The loss of the first step by hand; without augmentation."""
    distill = settings.train.distill
    order = np.random.default_rng([2, 0, 1]).permutation(100)[:25]
    images = dataset.train.pixels[order].astype(np.float32)
    own = Trainer(settings, dataset).model(images).numpy().astype(np.float64)
    theirs = network(images).numpy().astype(np.float64)
    hard = -np.log(softmax(own)[np.arange(25), dataset.train.labels[order]])
    soft = softmax(theirs / distill.temperature)
    learned = -(soft * np.log(softmax(own / distill.temperature))).sum(axis=1)
    return float(
        np.mean((1 - distill.weight) * hard + distill.weight * distill.temperature**2 * learned)
    )


@pytest.mark.parametrize("options", [{}, {"temperature": 2.5, "weight": 0.3}, {"weight": 1}])
def test_the_loss_is_hintons(teacher, dataset, options):
    settings = student(teacher.path, {"augment": []}, **options)
    network = keras.models.load_model(teacher.model_file)
    expected = expected_loss(settings, dataset, network)
    assert first_loss(settings, dataset) == pytest.approx(expected, rel=1e-4)
    assert settings.train.distill.weight in (0.9, 0.3, 1)


def test_a_teacher_in_half_precision_answers_nearly_the_same(teacher, dataset):
    images = tf.constant(dataset.train.pixels[:50].astype(np.float32))
    network = keras.models.load_model(teacher.model_file)
    whole, half = (
        load(student(teacher.path, precision=one), dataset)[1].logits(images)
        for one in ("float32", "bfloat16")
    )
    np.testing.assert_allclose(whole, network(images), atol=1e-4)
    spread = np.std(whole)
    assert 0 < np.abs(whole - half).max() < 0.1 * spread + 0.05


def test_a_teachers_classes_may_have_another_order(teacher, dataset, tmp_path):
    network = keras.models.load_model(teacher.model_file)
    order = np.random.default_rng(0).permutation(10)
    inputs = keras.Input((32, 32, 3))
    logits = keras.layers.Dense(10, use_bias=False, name="order")
    moved = keras.Model(inputs, logits(network(inputs)))
    logits.kernel.assign(np.eye(10, dtype=np.float32)[:, order])
    names = [dataset.classes[i] for i in order]
    settings = student(tmp_path / "moved.keras", {"augment": []})
    about = models.describe("moved", settings.data, 32, names, "logits")
    models.save(moved, tmp_path / "moved.keras", about)
    expected = expected_loss(settings, dataset, network)
    assert first_loss(settings, dataset) == pytest.approx(expected, rel=1e-4)
    about = models.describe("moved", settings.data, 32, [*names[:9], "other"], "logits")
    models.save(moved, tmp_path / "moved.keras", about)
    with pytest.raises(
        ConfigError, match=r"moved\.keras has 10 classes .*expected the 10 of the images"
    ):
        load(settings, dataset)


@pytest.mark.parametrize("mix", [None, "cutmix"])
def test_the_teacher_sees_the_augmented_images(mix, dataset, tmp_path):
    # A student with its teacher's weights has nothing to learn, if both see the same images.
    own = config.parse({**STUDENT, "train": {**STUDENT["train"], "epochs": 1}})
    run = training.train(own, tmp_path, callbacks=[])
    settings = student(run.path, {"mix": mix}, weight=1, temperature=1)
    made, one = load(settings, dataset)
    weights = keras.models.load_model(run.model_file).get_weights()
    ours = Trainer(made, dataset, weights=weights, loss=one.loss, transforms=[one.transform])
    ours.steps(4)
    assert np.abs(weights[0]).max() > 0.01
    for before, after in zip(weights, ours.model.get_weights(), strict=True):
        np.testing.assert_allclose(after, before, atol=1e-6)


def test_other_runtimes_get_whole_pixels_and_their_classes_are_put_in_order():
    received = []

    def predictor(pixels):
        received.append(pixels)
        return np.array([[0.1, 0.2, 0.7]])

    images = tf.constant([-3.2, 1.6, 2.4, 259.0], shape=(1, 2, 2, 1))
    logits = tf.function(distillation._called(predictor, [2, 0, 1]))(images)
    assert received[0].dtype == np.uint8
    np.testing.assert_array_equal(received[0].ravel(), [0, 2, 2, 255])
    np.testing.assert_allclose(np.exp(logits), [[0.7, 0.1, 0.2]], rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["onnx", "litert", "savedmodel"])
def test_other_runtimes_teach_the_same(teacher, dataset, kind, tmp_path):
    shutil.copytree(teacher.path, tmp_path / "run")
    (made,) = cifarnet.export(tmp_path / "run", formats=[kind], callbacks=[])
    settings = student(made.path, {"augment": []})
    network = keras.models.load_model(teacher.model_file)
    expected = expected_loss(settings, dataset, network)
    assert first_loss(settings, dataset) == pytest.approx(expected, rel=1e-3)
    run = training.train(settings, tmp_path, callbacks=[])
    record = run.read_record().teacher
    assert record.sha256 == runs.digest(made.path)
    assert record.assumed == []


class StopAfter(Callback):
    """Asks to stop after some groups of steps."""

    def __init__(self, groups: int) -> None:
        self.left = groups

    def on_steps(self, progress) -> None:
        self.left -= 1

    def stop_reason(self):
        return "enough" if self.left <= 0 else None


@pytest.fixture(scope="module")
def learned(teacher, tmp_path_factory) -> runs.Run:
    folder = tmp_path_factory.mktemp("student")
    return training.train(student(teacher.path), folder, callbacks=[])


def test_the_record_has_the_teacher_and_the_config_its_place(learned, teacher):
    record = learned.read_record().teacher
    assert record.artifact == str(teacher.model_file.absolute())
    assert record.sha256 == runs.weights_digest(teacher) == runs.digest(teacher.model_file)
    assert record.runtime == f"Keras {keras.__version__}" and record.assumed == []
    name = f"{teacher.path.parent.name}/{teacher.path.name}"
    log = learned.log_file.read_text()
    assert f"teacher    {name} (temperature 4, weight 0.9)" in log
    page = learned.report_file.read_text()
    assert f"<dt>teacher</dt><dd>{name} (temperature 4, weight 0.9)</dd>" in page
    assert "includes the distance from the teacher" in page and "memorized" not in page
    stored = config.load(learned.config_file).train.distill
    assert stored.teacher == str(teacher.path.absolute())
    layers = keras.models.load_model(learned.model_file).layers
    assert [type(layer).__name__ for layer in layers][-2:] == ["Flatten", "Dense"]


def test_a_teacher_moved_out_of_its_run_gives_the_same_bits(teacher, tmp_path):
    settings = student(teacher.path, precision="bfloat16")
    whole = training.train(settings, tmp_path / "whole", callbacks=[])
    moved = shutil.copyfile(teacher.model_file, tmp_path / "moved.keras")
    run = training.train(settings, tmp_path, callbacks=[StopAfter(2)])
    training.resume(run, [f"train.distill.teacher={moved}"], callbacks=[])
    assert run.read_record().teacher.artifact == str(moved)
    for one, other in zip(
        *(keras.models.load_model(x.model_file).get_weights() for x in (run, whole)), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_a_stopped_student_resumes_to_the_same_bits_with_its_teacher_alone(
    learned, teacher, tmp_path
):
    shutil.copytree(teacher.path, tmp_path / "copy")
    run = training.train(student(teacher.path), tmp_path, callbacks=[StopAfter(2)])
    assert 0 < run.read_record().steps_done < 8
    other = shutil.copytree(teacher.path, tmp_path / "other")
    network = keras.models.load_model(other / "model.keras")
    network.layers[-1].bias.assign_add(np.ones(10))
    network.save(tmp_path / "other.keras")
    with pytest.raises(RunError, match=r"the run began with .*model\.keras .*received .*other"):
        training.resume(run, [f"train.distill.teacher={tmp_path / 'other.keras'}"], callbacks=[])
    with pytest.raises(ConfigError, match=r"train\.distill\.temperature: 4 -> 2"):
        training.resume(run, ["train.distill.temperature=2.0"], callbacks=[])
    moved = tmp_path / "copy"
    training.resume(run, [f"train.distill.teacher={moved}"], callbacks=[])
    record = run.read_record()
    assert record.status == "finished" and record.teacher.artifact == str(moved / "model.keras")
    for one, whole in zip(
        *(keras.models.load_model(x.model_file).get_weights() for x in (run, learned)), strict=True
    ):
        np.testing.assert_array_equal(one, whole)


def test_what_a_teacher_cannot_do_is_refused_before_images_are_read(teacher, tmp_path):
    (tmp_path / "bad.keras").write_text("nothing")
    gray = keras.Input((32, 32, 1))
    keras.Model(gray, keras.layers.Flatten()(gray)).save(tmp_path / "gray.keras")
    inputs = keras.Input((16, 16, 3))
    small = keras.Model(inputs, keras.layers.Dense(10)(keras.layers.Flatten()(inputs)))
    small.save(tmp_path / "small.keras")
    images = {"source": "directory", "path": str(tmp_path / "no-images")}
    for name, expected in (
        ("nowhere", "nowhere.*: expected a run: .* Give the place of a run or of a"),
        ("bad.keras", r"bad\.keras cannot be loaded.* Give the place of a run or of a"),
        ("gray.keras", r"gray\.keras\): .*\[None, 32, 32, 1\]. Give the place of a run or of a"),
        ("small.keras", r"small\.keras takes images of 16 pixels, expected the 32"),
    ):
        path = tmp_path / name if (tmp_path / name).exists() else name
        with pytest.raises(ConfigError, match=rf"^train\.distill\.teacher.*{expected}"):
            training.train(student(path, images), tmp_path, callbacks=[])
    workers = training.Workers.of("127.0.0.1:2345,127.0.0.1:2346", 0)
    with pytest.raises(ConfigError, match=r"train\.distill: .*Leave out --workers"):
        training.train(student(teacher.path), tmp_path, callbacks=[], workers=workers)
    assert not list(tmp_path.glob("2*"))


def test_a_teacher_of_another_number_of_classes_is_refused(dataset, tmp_path):
    inputs = keras.Input((32, 32, 3))
    four = keras.Model(inputs, keras.layers.Dense(4)(keras.layers.Flatten()(inputs)))
    four.save(tmp_path / "four.keras")
    expected = (
        r"train\.distill\.teacher: .*four\.keras has 4 classes, expected the 10 of the images"
    )
    for check in (training.check, lambda made: load(made, dataset)):
        with pytest.raises(ConfigError, match=expected):
            check(student(tmp_path / "four.keras"))


def test_what_is_assumed_of_a_foreign_teacher_is_said(dataset, tmp_path):
    inputs = keras.Input((32, 32, 3))
    net = keras.Model(inputs, keras.layers.Dense(10)(keras.layers.Flatten()(inputs)))
    net.save(tmp_path / "foreign.keras")
    run = training.train(student(tmp_path / "foreign.keras"), tmp_path, callbacks=[])
    assumed = run.read_record().teacher.assumed
    assert any("outputs in the order" in text for text in assumed)
    assert not any("--" in text for text in assumed)
    log, page = run.log_file.read_text(), html.unescape(run.report_file.read_text())
    for text in assumed:
        assert f"note: the teacher: {text}\n" in log
        assert f"<dt>of the teacher</dt><dd>{text}</dd>" in page


def test_a_foreign_file_is_computed_in_float32(dataset, tmp_path):
    inputs = keras.Input((32, 32, 3))
    net = keras.Model(inputs, keras.layers.Dense(10)(keras.layers.Flatten()(inputs)))
    net.save(tmp_path / "foreign.keras")
    images = tf.constant(dataset.train.pixels[:20].astype(np.float32))
    made, one = load(student(tmp_path / "foreign.keras", precision="bfloat16"), dataset)
    assert made.train.precision == "bfloat16"
    np.testing.assert_allclose(one.logits(images), net(images), rtol=1e-5, atol=1e-3)


def test_a_teacher_may_be_in_the_home_folder(teacher, dataset, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    shutil.copyfile(teacher.model_file, tmp_path / "mine.keras")
    made, _ = load(student("~/mine.keras"), dataset)
    assert made.train.distill.teacher == str(tmp_path / "mine.keras")


@pytest.mark.parametrize(
    "keys", [{"temperature": 0}, {"temperature": 101}, {"weight": 0.0}, {"weight": 1.1}]
)
def test_a_temperature_or_weight_out_of_range_is_refused(keys):
    with pytest.raises(ConfigError, match=next(iter(keys))):
        student("x", **keys)


def test_an_empty_teacher_is_refused():
    with pytest.raises(ConfigError, match=r"distill\.teacher: expected .*received"):
        student("")
