"""Which classes are shown of many."""

import numpy as np
import pytest

from cifarnet import config
from cifarnet.evaluation.metrics import compute_metrics
from cifarnet.reporting import plots, sections, shown


def evaluation(classes: int, wrong: dict[int, int]):
    """Two images per class, all right; of the classes in `wrong`, one as another class."""
    labels = np.repeat(np.arange(classes), 2)
    said = labels.copy()
    for true, predicted in wrong.items():
        said[2 * true] = predicted
    probabilities = np.full((len(labels), classes), 0.1 / (classes - 1), np.float32)
    probabilities[np.arange(len(labels)), said] = 0.9
    return compute_metrics(probabilities, labels, [f"class {i}" for i in range(classes)])


def test_all_of_50_classes_are_shown():
    found = evaluation(50, {3: 4})
    assert shown.classes(found) == shown.confused(found) == list(range(50))
    assert shown.rest(50, 50, "test.json") == ""
    assert len(sections.classes(found)) == 50


def test_of_1000_classes_the_30_of_the_lowest_recall_are_shown(tmp_path):
    found = evaluation(1_000, {700: 3, 20: 999, 21: 999})
    assert shown.classes(found)[:3] == [20, 21, 700] and len(shown.classes(found)) == 30
    assert {3, 20, 21, 700, 999} <= set(shown.confused(found))
    assert len(shown.confused(found)) <= 30
    text = "the 30 of the lowest recall of 1,000 classes; all are in test.json"
    assert shown.rest(30, 1_000, "test.json") == text
    assert [row.recall for row in sections.classes(found)][:4] == [0.5, 0.5, 0.5, 1.0]
    assert len(found.confusion_matrix) == len(found.per_class) == 1_000
    plots.confusion(found, tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size < 200_000


def test_the_page_counts_only_cells_that_are_not_empty():
    found = evaluation(60, {7: 9})
    counts = sections.counts(found)
    assert counts["7-9"] == counts["7-7"] == 1 and counts["9-9"] == 2
    assert sum(counts.values()) == 120 and len(counts) == 61


@pytest.mark.parametrize("classes", [256, 257, 1_000])
def test_metrics_of_many_classes_are_exact(classes):
    found = evaluation(classes, {0: classes - 1})
    assert found.accuracy == pytest.approx(1 - 1 / (2 * classes))
    assert found.confusion_matrix[0][classes - 1] == 1


def test_the_curves_say_what_of_the_training_changes_them():
    def meanings(data=None, **train):
        base = {"epochs": 3, "learning_rate": 0.1, **train}
        model = {"layers": ["Flatten", {"Dense": {"units": 10}}]}
        return sections.curve_meanings(
            config.parse({"model": model, "data": data or {}, "train": base})
        )

    plain = meanings()
    assert "memorized" in plain["loss"] and "augmented" not in plain["accuracy"]
    assert "augmented" in meanings({"augment": [{"kind": "flip"}]})["accuracy"]
    mixed = meanings({"mix": "cutmix"})
    assert "memorized" not in mixed["loss"] and "mixed" in mixed["loss"]
    assert "below 100 %" in mixed["accuracy"]
    assert "teacher" in meanings(distill={"teacher": "x"})["loss"]
    assert "smaller" in meanings(resolution=[{"until": 0.5, "size": 24}])["accuracy"]
    assert "with 0.17 at the peak" in meanings(muon={"learning_rate": 0.17})["rate"]
