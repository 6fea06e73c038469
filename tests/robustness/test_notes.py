"""What the result says of the training and of the images' size."""

import numpy as np
import pytest

from cifarnet import artifacts, config, data
from cifarnet.callbacks import Callback
from cifarnet.robustness import corrupted
from cifarnet.robustness.budget import Budget
from cifarnet.robustness.subject import Subject
from cifarnet.runs import Run
from cifarnet.runs.results import EvaluationSource


def notes(tmp_path, augment: str, size: int, in_run: bool = True) -> list[str]:
    settings = config.load("smoke", [f"data.augment={augment}"])
    artifact = artifacts.Artifact(tmp_path, Run(tmp_path) if in_run else None, settings)
    images = data.Images(np.zeros((2, size, size, 3), np.uint8), np.zeros(2, np.uint8))
    about, budget, callback = EvaluationSource(), Budget(None), Callback()
    order = np.arange(2)
    return corrupted._notes(
        Subject(artifact, None, about, None, images, order, ("a",), 0, budget, callback)
    )


@pytest.mark.parametrize(
    ("augment", "said"),
    [
        ("[{kind: flip}]", []),
        ("[{kind: flip}, {kind: contrast}]", ["the training used contrast, which"]),
        ("[{kind: contrast}, {kind: brightness}]", ["the training used brightness and contrast"]),
    ],
)
def test_a_transform_of_the_training_that_is_a_test_corruption_is_noted(augment, said, tmp_path):
    found = notes(tmp_path, augment, 32)
    assert [note[: len(text)] for note, text in zip(found, said, strict=True)] == said
    assert notes(tmp_path, augment, 32, in_run=False) == []


def test_images_of_another_size_are_noted(tmp_path):
    assert notes(tmp_path, "[]", 48) == [
        "the parameters are meant for images of 32 x 32 pixels; these have 48 x 48"
    ]
