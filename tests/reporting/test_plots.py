"""Pictures are drawn from stored files, and show what is in them."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from cifarnet.reporting import plots
from cifarnet.training.history import COLUMNS

HEADER = ",".join(COLUMNS)


def load(png) -> np.ndarray:
    return np.asarray(Image.open(png).convert("RGB")).astype(int)


def count_colour(picture: np.ndarray, colour: str) -> int:
    wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return int((np.abs(picture - wanted).sum(axis=-1) < 30).sum())


@pytest.mark.parametrize("epochs", [1, 3, 200])
def test_curves_show_training_and_validation(epochs, tmp_path):
    rows = [f"{i},{2 / i},{i / 300},{2.1 / i},{i / 310},0.1,100,2" for i in range(1, epochs + 1)]
    (tmp_path / "history.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    plots.curves(tmp_path / "history.csv", tmp_path / "plots" / "curves.png")
    picture = load(tmp_path / "plots" / "curves.png")
    assert picture.shape[1] > 900
    assert count_colour(picture, "#0072B2") > 40
    assert count_colour(picture, "#D55E00") > 40


def test_curves_without_validation_or_with_no_number(tmp_path):
    rows = ["1,2.0,0.1,,,0.1,100,2", "2,nan,0.2,,,0.1,100,2"]
    (tmp_path / "history.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    plots.curves(tmp_path / "history.csv", tmp_path / "curves.png")
    picture = load(tmp_path / "curves.png")
    assert count_colour(picture, "#0072B2") > 40
    assert count_colour(picture, "#D55E00") == 0


def metrics(tmp_path, classes: int, right: float = 0.8):
    matrix = np.full((classes, classes), (1 - right) * 100 / (classes - 1)).astype(int)
    np.fill_diagonal(matrix, int(right * 100))
    document = {
        "about": {"data": "some set", "split": "test"},
        "count": int(matrix.sum()),
        "accuracy": right,
        "classes": [f"class {i}" for i in range(classes)],
        "confusion_matrix": matrix.tolist(),
        "expected_calibration_error": 0.05,
        "calibration": [
            {"from": 0.0, "to": 0.5, "count": 0, "confidence": 0.0, "accuracy": 0.0},
            {"from": 0.5, "to": 1.0, "count": 100, "confidence": 0.8, "accuracy": 0.75},
        ],
        "mistakes": [{"index": 0, "true": "a", "predicted": "b", "confidence": 0.9}],
    }
    path = tmp_path / f"{classes}-{right}.json"
    path.write_text(json.dumps(document))
    return path


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_confusion_is_dark_where_it_is_right(classes, tmp_path):
    plots.confusion(metrics(tmp_path, classes), tmp_path / "a.png")
    plots.confusion(metrics(tmp_path, classes, right=0.1), tmp_path / "b.png")
    assert load(tmp_path / "a.png").shape == load(tmp_path / "b.png").shape
    # The diagonal holds one cell in `classes`; with more right it is darker.
    assert load(tmp_path / "a.png").sum() != load(tmp_path / "b.png").sum()
    assert (tmp_path / "a.png").stat().st_size < 300_000


def test_reliability_draws_bins_with_images(tmp_path):
    plots.reliability(metrics(tmp_path, 2), tmp_path / "r.png")
    assert count_colour(load(tmp_path / "r.png"), "#0072B2") > 100


def test_mistakes_show_the_stored_pixels(tmp_path):
    magenta = np.broadcast_to(np.uint8([255, 0, 255]), (1, 32, 32, 3))
    np.savez(tmp_path / "p.npz", mistakes=magenta)
    plots.mistakes(metrics(tmp_path, 2), tmp_path / "p.npz", tmp_path / "m.png")
    assert count_colour(load(tmp_path / "m.png"), "#FF00FF") > 5000


def test_a_sheet_of_nothing_says_so(tmp_path):
    plots.sheet(np.empty((0, 32, 32, 3), np.uint8), [], 8, tmp_path / "s.png", "mistakes")
    assert len(np.unique(load(tmp_path / "s.png"))) > 1


def test_a_sheet_keeps_every_image(tmp_path):
    colours = np.uint8([[255, 0, 255], [0, 255, 255], [255, 255, 0]])
    pixels = np.broadcast_to(colours[:, None, None], (3, 8, 8, 3))
    plots.sheet(pixels, ["a", "b", "c"], 2, tmp_path / "s.png", "three")
    picture = load(tmp_path / "s.png")
    for colour in ("#FF00FF", "#00FFFF", "#FFFF00"):
        assert count_colour(picture, colour) > 3000


def test_drawing_needs_no_tensorflow(tmp_path):
    code = (
        "import sys, pathlib; from cifarnet import report\n"
        f"report.confusion(pathlib.Path({str(metrics(tmp_path, 3))!r}), pathlib.Path('c.png'))\n"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)


def test_a_benchmark_is_drawn_with_a_row_an_artifact(tmp_path):
    def artifact(name: str) -> dict:
        speed = [
            {
                "batch_size": size,
                "median_milliseconds": 1.0 * size,
                "p90_milliseconds": 1.5 * size,
                "images_per_second": 900.0,
            }
            for size in (64, 1)
        ]
        return {"name": name, "accuracy": 0.5, "bytes": 123_000, "speed": speed}

    heights = []
    for count in (1, 9):
        document = {
            "artifacts": [artifact(f"a{i}") for i in range(count)],
            "images": 10,
            "split": "validation",
            "machine": {"processor": "x", "cores": 2},
        }
        file = tmp_path / "benchmark.json"
        file.write_text(json.dumps(document))
        plots.benchmark(file, tmp_path / "benchmark.png")
        with Image.open(tmp_path / "benchmark.png") as picture:
            heights.append(picture.height)
            assert picture.width == 1210
    assert heights[1] > 1.5 * heights[0]
