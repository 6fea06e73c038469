"""Which images a page offers."""

import pytest

from cifarnet import config, data

web_format = pytest.importorskip("cifarnet.exporters.web_format")


def settings(fraction: float) -> config.Config:
    return config.load("smoke", [f"data.validation_fraction={fraction}"])


def test_they_are_validation_images_one_of_each_class_in_order():
    given = settings(0.1)
    dataset = data.load(given.data, given.seed)
    found = web_format.unseen(*dataset.comparison(), given.seed)
    validation, train = dataset.validation, dataset.train
    labels = {
        image.tobytes(): int(label)
        for image, label in zip(validation.pixels, validation.labels, strict=True)
    }
    assert [labels[image.tobytes()] for image in found] == list(range(10))
    assert not {image.tobytes() for image in train.pixels} & {image.tobytes() for image in found}


def test_there_are_none_without_validation_images():
    given = settings(0)
    assert web_format.unseen(*data.load(given.data, given.seed).comparison(), given.seed) is None
