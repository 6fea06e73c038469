"""Mixed images in training: the same whatever the batch, with mixed targets and right answers."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from cifarnet import config, data
from cifarnet.data import mixing
from cifarnet.errors import ConfigError
from cifarnet.training.examples import Batch, Examples
from cifarnet.training.step import Trainer
from cifarnet.training.team import Team

SETTINGS = {
    "seed": 5,
    "data": {
        "source": "synthetic",
        "limit": 120,
        "validation_fraction": 0.2,
        "augment": [{"kind": "alternating_flip"}, {"kind": "crop", "pixels": 2}],
        "mix": "mixup",
    },
    "model": {"layers": ["Flatten", {"Dense": {"units": 10}}]},
    "train": {
        "epochs": 3,
        "batch_size": 25,
        "learning_rate": 0.01,
        "label_smoothing": 0.2,
        "precision": "float32",
    },
}


def changed(kind: str, batch: int = 25, **images) -> config.Config:
    made = {**SETTINGS, "data": {**SETTINGS["data"], "mix": kind, **images}}
    return config.parse({**made, "train": {**SETTINGS["train"], "batch_size": batch}})


@pytest.fixture(scope="module")
def dataset():
    settings = changed("mixup")
    return data.load(settings.data, settings.seed)


def epoch(settings: config.Config, dataset: data.Dataset, number: int = 1) -> list[np.ndarray]:
    """Images, targets, labels, others and shares of an epoch, by the number of the image."""
    steps = len(dataset.train.labels) // settings.train.batch_size
    examples = Examples(settings, dataset, steps, 3 * steps, Team())
    orders, draws = examples.feed.epoch(number)
    whole = slice(0, settings.train.batch_size)
    batches = examples.feed.batches(number * steps, steps)
    taken = []
    for order in orders:
        pixels, labels = examples.feed.images(batches)
        taken.append(examples.take(pixels, labels, draws, tf.constant(order), whole))
    rows = np.argsort(np.concatenate(orders))
    return [np.concatenate(part)[rows] for part in zip(*taken, strict=True)]


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_a_mixed_image_depends_on_seed_epoch_and_index_alone(kind, dataset):
    whole = epoch(changed(kind, 100), dataset)
    for batch in (25, 50):
        for one, other in zip(whole, epoch(changed(kind, batch), dataset), strict=True):
            np.testing.assert_array_equal(one, other)
    assert not np.array_equal(whole[0], epoch(changed(kind), dataset, 2)[0])


def test_mixed_images_are_of_augmented_ones_and_their_targets_of_smoothed_ones(dataset):
    images, targets, labels, others, shares = epoch(changed("mixup"), dataset)
    document = changed("mixup").model_dump(mode="json")
    document["data"]["mix"] = None
    steps = 4
    plain = Examples(config.parse(document), dataset, steps, 3 * steps, Team())
    orders, draws = plain.feed.epoch(1)
    alone = [
        plain.take(*plain.feed.images(None), draws, tf.constant(order), slice(0, 25)).images
        for order in orders
    ]
    augmented = np.concatenate(alone)[np.argsort(np.concatenate(orders))]
    partners, drawn = mixing.build(changed("mixup").data).draw(5, 1, 100)
    share = drawn[:, 0, None, None, None]
    expected = share * augmented + (1 - share) * augmented[partners]
    np.testing.assert_allclose(images, expected, atol=1e-3)
    np.testing.assert_array_equal(shares, drawn[:, 0])
    np.testing.assert_array_equal(labels, dataset.train.labels)
    np.testing.assert_array_equal(others, dataset.train.labels[partners])
    smoothed = 0.8 * np.eye(10)[labels] + 0.02
    mixed = shares[:, None] * smoothed + (1 - shares[:, None]) * smoothed[partners]
    np.testing.assert_allclose(targets, mixed, atol=1e-6)


def test_answers_are_right_by_the_share_of_their_image():
    logits = tf.constant([[5.0, 0, 0], [0, 5.0, 0], [0, 0, 5.0], [5.0, 0, 0]])
    labels, others = tf.constant([0, 0, 0, 0]), tf.constant([1, 1, 1, 0])
    shares = tf.constant([0.7, 0.6, 0.7, 0.7])
    mixed = Batch(logits, logits, labels, others, shares)
    assert float(mixed.accuracy(logits)) == pytest.approx((0.7 + 0.4 + 0 + 1) / 4)
    assert float(Batch(logits, logits, labels).accuracy(logits)) == 0.5


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_a_steps_loss_is_the_published_one_and_a_stopped_training_resumes(kind, dataset):
    settings = changed(kind)
    whole, first, rest = (Trainer(settings, dataset) for _ in range(3))
    order = np.random.default_rng([5, 0, 1]).permutation(100)[:25]
    images, _, labels, others, shares = (part[order] for part in epoch(settings, dataset, 0))
    logits = whole.model(images)

    def cross_entropy(labels):
        return keras.losses.categorical_crossentropy(
            np.eye(10)[labels], logits, from_logits=True, label_smoothing=0.2
        ).numpy()

    expected = shares * cross_entropy(labels) + (1 - shares) * cross_entropy(others)
    (loss, *_), _ = whole.steps(4)
    assert loss == pytest.approx(expected.mean(), rel=1e-5)
    whole.steps(3)
    first.steps(3)
    rest.load_state(first.state())
    rest.steps(1), rest.steps(2), rest.steps(1)
    for name, value in whole.state().items():
        np.testing.assert_array_equal(value, rest.state()[name], err_msg=name)


def on_disk_and_in_memory(kind: str, folder: Path, monkeypatch) -> list:
    monkeypatch.setenv("CIFARNET_HOME", str(folder / "home"))
    random = np.random.default_rng(0)
    for name in ("red", "green"):
        (folder / "photos" / name).mkdir(parents=True)
        for i in range(30):
            pixels = random.integers(0, 256, (12, 12, 3), np.uint8)
            Image.fromarray(pixels).save(folder / "photos" / name / f"{i:02}.png")
    found = []
    for share in (0.0, 1.0):
        images = {"source": "directory", "path": str(folder / "photos"), "image_size": 12}
        settings = changed(kind, 12, limit=None, memory_share=share, **images)
        loaded = data.load(settings.data, settings.seed)
        assert isinstance(loaded.train.pixels, np.ndarray) == (share == 1.0)
        found.append((loaded, settings))
    return found


class SecondOfTwo(Team):
    """Has the second half of every batch."""

    def rows(self, batch: int) -> slice:
        return slice(batch // 2, batch)


@pytest.mark.parametrize("own", [slice(6, 12), slice(8, 11)])
def test_a_worker_reads_its_rows_and_their_partners_from_disk(own, tmp_path, monkeypatch):
    found = []
    for loaded, settings in on_disk_and_in_memory("mixup", tmp_path, monkeypatch):
        feed = Examples(settings, loaded, 2, 6, SecondOfTwo()).feed
        order, draws = feed.epoch(1)
        pixels, _ = feed.images(feed.batches(3, 1))
        rows = tf.constant(order[1])
        partners = tf.gather(draws.partners, rows[own])
        found.append([feed.rows(pixels, rows, own), feed.partners(pixels, partners, own)])
    for one, other in zip(*found, strict=True):
        assert one.shape[0] == own.stop - own.start
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_images_on_disk_are_mixed_as_those_in_memory(kind, tmp_path, monkeypatch):
    made = on_disk_and_in_memory(kind, tmp_path, monkeypatch)
    for one, other in zip(*(epoch(settings, loaded) for loaded, settings in made), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("keys", "problem"),
    [({"mix": "blend"}, "mixup"), ({"mix_alpha": 0}, "mix_alpha"), ({"mix_alpha": 101}, "100")],
)
def test_wrong_values_are_refused(keys, problem):
    with pytest.raises(ConfigError, match=problem):
        config.parse({**SETTINGS, "data": {**SETTINGS["data"], **keys}})
