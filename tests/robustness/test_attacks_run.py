"""The attacks of a whole evaluation, on a Keras file whose borders are known by hand."""

from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

import cifarnet as library
from cifarnet.errors import GateError
from cifarnet.reporting import robustness as plots
from cifarnet.requirements import check
from cifarnet.robustness import pictures
from cifarnet.runs import Robustness
from cifarnet.runs.results import EvaluationSource
from cifarnet.runs.robustness import AttackRecord, AttackScore

SIZE = 32
# Two test images each. The network finds the nearest of 20, 128 and 235: the borders are 74 and
# 181.5, so that 70 is 4 levels from an error and 180 is 1.5.
LEVELS = {"dark": (20, 70), "gray": (128, 180), "light": (235, 235)}


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> Robustness:
    folder = tmp_path_factory.mktemp("attacked")
    for name, levels in LEVELS.items():
        for split in ("train", "test"):
            (folder / split / name).mkdir(parents=True)
            for i, level in enumerate(levels):
                image = Image.fromarray(np.full((SIZE, SIZE, 3), level, np.uint8))
                image.save(folder / split / name / f"{i}.png")
    centers = np.array([20, 128, 235]) / 255
    inputs = keras.Input((SIZE, SIZE, 3))
    dense = keras.layers.Dense(3, activation="softmax")
    model = keras.Model(inputs, dense(keras.layers.GlobalAveragePooling2D()(inputs)))
    dense.set_weights([np.tile(200 * centers / 3, (3, 1)), -100 * centers**2])
    model.save(folder / "levels.keras")
    return library.evaluate_robustness(
        folder / "levels.keras",
        budget=None,
        preprocessing=library.Preprocessing("0-1", output_kind="probabilities"),
        callbacks=[],
        overrides=["data.source=directory", f"data.path={folder}"],
        output=folder / "result",
    )


def test_images_near_a_border_are_broken_by_what_reaches_it(found):
    record = found.attacks
    assert (record.images, record.of, record.clean_accuracy) == (6, 6, 1.0)
    by_epsilon = {one.epsilon: one.accuracy for one in record.scores}
    assert by_epsilon == {0.5: 1.0, 1.0: 1.0, 2.0: pytest.approx(5 / 6), 8.0: pytest.approx(4 / 6)}
    assert [one.pgd for one in record.scores] == list(by_epsilon.values())
    assert [one.apgd_dlr for one in record.scores] == list(by_epsilon.values())
    assert [one.only_square for one in record.scores] == [0, 0, 0, 0]
    assert record.notes == []


def test_a_gate_reads_the_worst_case(found):
    assert found.scalars()["adversarial_accuracy_2"] == pytest.approx(5 / 6)
    check("adversarial_accuracy_0.5>=1", found)
    with pytest.raises(GateError, match=r"adversarial_accuracy_8 >= 0\.7, measured 0\.6667"):
        check("adversarial_accuracy_8>=0.7", found)


def count_color(png: Path, color: str) -> int:
    picture = np.asarray(Image.open(png).convert("RGB")).astype(int)
    wanted = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
    return int((np.abs(picture - wanted).sum(axis=-1) < 30).sum())


def test_the_curve_is_among_the_pictures(found):
    [_, curve] = pictures(found)
    assert curve.name == "robustness-attacks.png"
    assert count_color(curve, "#0072B2") > 300


def test_the_curve_shows_the_intervals_and_each_attack(tmp_path):
    def draw(half: float) -> Path:
        scores = [
            AttackScore(
                epsilon=epsilon,
                accuracy=worst,
                accuracy_interval=[worst - half, worst + half],
                pgd=worst + 0.2,
                apgd_dlr=worst + 0.1,
                only_square=0,
            )
            for epsilon, worst in ((1.0, 0.5), (8.0, 0.3))
        ]
        record = AttackRecord(
            images=10, of=20, chosen="", seed=0, clean_accuracy=0.9, scores=scores
        )
        png = tmp_path / f"{half}.png"
        plots.attacks(EvaluationSource(data="some set"), record, png)
        return png

    narrow, wide = draw(0.01), draw(0.25)
    # Two bars of error: 0.48 of the axis of about 370 pixels, 1.5 to 2 pixels wide, each.
    assert count_color(wide, "#0072B2") - count_color(narrow, "#0072B2") > 2 * 150
    assert min(count_color(wide, color) for color in ("#E69F00", "#009E73")) > 200
