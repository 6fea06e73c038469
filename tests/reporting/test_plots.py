"""Pictures are drawn from records and stored files, and show their contents."""

import json
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from cifarnet.reporting import plots
from cifarnet.runs import Benchmark, Evaluation, Run
from cifarnet.runs.benchmarks import BenchmarkedArtifact, Speed
from cifarnet.training.history import COLUMNS

HEADER = ",".join(COLUMNS)


def load(png) -> np.ndarray:
    return np.asarray(Image.open(png).convert("RGB")).astype(int)


def count_color(picture: np.ndarray, color: str) -> int:
    wanted = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
    return int((np.abs(picture - wanted).sum(axis=-1) < 30).sum())


@pytest.mark.parametrize("epochs", [1, 3, 200])
def test_curves_show_training_and_validation(epochs, tmp_path):
    rows = [f"{i},{2 / i},{i / 300},{2.1 / i},{i / 310},0.1,100,2" for i in range(1, epochs + 1)]
    (tmp_path / "history.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    plots.curves(Run(tmp_path), tmp_path / "plots" / "curves.png")
    picture = load(tmp_path / "plots" / "curves.png")
    assert picture.shape[1] > 900
    assert count_color(picture, "#0072B2") > 40
    assert count_color(picture, "#D55E00") > 40


def test_curves_without_validation_or_with_no_number(tmp_path):
    rows = ["1,2.0,0.1,,,0.1,100,2", "2,nan,0.2,,,0.1,100,2"]
    (tmp_path / "history.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    plots.curves(Run(tmp_path), tmp_path / "curves.png")
    picture = load(tmp_path / "curves.png")
    assert count_color(picture, "#0072B2") > 40
    assert count_color(picture, "#D55E00") == 0


def metrics(classes: int, right: float = 0.8) -> Evaluation:
    matrix = np.full((classes, classes), (1 - right) * 100 / (classes - 1)).astype(int)
    np.fill_diagonal(matrix, int(right * 100))
    document = {
        "about": {"data": "some set", "split": "test"},
        "count": int(matrix.sum()),
        "loss": 0.5,
        "accuracy": right,
        "accuracy_interval": [right, right],
        "top5_accuracy": 1.0,
        "per_class": [],
        "classes": [f"class {i}" for i in range(classes)],
        "confusion_matrix": matrix.tolist(),
        "expected_calibration_error": 0.05,
        "calibration": [
            {"from": 0.0, "to": 0.5, "count": 0, "confidence": 0.0, "accuracy": 0.0},
            {"from": 0.5, "to": 1.0, "count": 100, "confidence": 0.8, "accuracy": 0.75},
        ],
        "mistakes": [{"index": 0, "true": "a", "predicted": "b", "confidence": 0.9}],
    }
    return Evaluation.model_validate(document)


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_confusion_is_dark_where_it_is_right(classes, tmp_path):
    plots.confusion(metrics(classes), tmp_path / "a.png")
    plots.confusion(metrics(classes, right=0.1), tmp_path / "b.png")
    assert load(tmp_path / "a.png").shape == load(tmp_path / "b.png").shape
    # One cell in `classes` is on the diagonal; it is darker with higher accuracy.
    assert load(tmp_path / "a.png").sum() != load(tmp_path / "b.png").sum()
    assert (tmp_path / "a.png").stat().st_size < 300_000


def test_reliability_draws_bins_with_images(tmp_path):
    plots.reliability(metrics(2), tmp_path / "r.png")
    assert count_color(load(tmp_path / "r.png"), "#0072B2") > 100


def test_the_risk_coverage_curve_is_drawn_beside_it(tmp_path):
    points = [{"coverage": i / 10, "risk": i / 50} for i in range(1, 11)]
    interval = [0.0, 1.0]
    selective = {
        "aurc": 0.1,
        "aurc_interval": interval,
        "accuracy_at_80_coverage": 0.84,
        "accuracy_at_80_coverage_interval": interval,
        "error_auroc": None,
        "error_auroc_interval": None,
        "risk_coverage": points,
    }
    plots.reliability(metrics(2).replace(selective=selective), tmp_path / "r.png")
    plots.reliability(metrics(2), tmp_path / "without.png")
    picture, without = load(tmp_path / "r.png"), load(tmp_path / "without.png")
    assert picture.shape[1] == 2 * without.shape[1]
    assert count_color(picture[:, without.shape[1] :], "#0072B2") > 300


def test_mistakes_show_the_stored_pixels(tmp_path):
    magenta = np.broadcast_to(np.uint8([255, 0, 255]), (1, 32, 32, 3))
    np.savez(tmp_path / "p.npz", mistakes=magenta)
    plots.mistakes(metrics(2), tmp_path / "p.npz", tmp_path / "m.png")
    assert count_color(load(tmp_path / "m.png"), "#FF00FF") > 5000


def test_a_sheet_of_nothing_says_so(tmp_path):
    plots.sheet(np.empty((0, 32, 32, 3), np.uint8), [], 8, tmp_path / "s.png", "mistakes")
    assert len(np.unique(load(tmp_path / "s.png"))) > 1


def test_a_sheet_keeps_every_image(tmp_path):
    colors = np.uint8([[255, 0, 255], [0, 255, 255], [255, 255, 0]])
    pixels = np.broadcast_to(colors[:, None, None], (3, 8, 8, 3))
    plots.sheet(pixels, ["a", "b", "c"], 2, tmp_path / "s.png", "three")
    picture = load(tmp_path / "s.png")
    for color in ("#FF00FF", "#00FFFF", "#FFFF00"):
        assert count_color(picture, color) > 3000


def test_drawing_needs_no_tensorflow(tmp_path):
    (tmp_path / "test.json").write_text(json.dumps(metrics(3).to_json()))
    code = (
        "import sys, pathlib; from cifarnet.reporting import plots; from cifarnet import runs\n"
        "found = runs.documents.read(pathlib.Path('test.json'), runs.Evaluation)\n"
        "plots.confusion(found, pathlib.Path('c.png'))\n"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert (tmp_path / "c.png").is_file()


def test_a_benchmark_is_drawn_with_a_row_per_artifact(tmp_path):
    def artifact(name: str) -> BenchmarkedArtifact:
        speed = [
            Speed(
                batch_size=size,
                calls=30,
                median_milliseconds=1.0 * size,
                p90_milliseconds=1.5 * size,
                images_per_second=900.0,
            )
            for size in (64, 1)
        ]
        return BenchmarkedArtifact(
            name=name,
            path=name,
            bytes=123_000,
            accuracy=0.5,
            agreement=1.0,
            runtime="x",
            assumed=[],
            threads=2,
            peak_memory_bytes=1,
            speed=speed,
        )

    heights = []
    for count in (1, 9):
        record = Benchmark(
            machine={"processor": "x", "cores": 2},
            versions={},
            images=10,
            split="validation",
            data="some set",
            artifacts=[artifact(f"a{i}") for i in range(count)],
        )
        plots.benchmark(record, tmp_path / "benchmark.png")
        with Image.open(tmp_path / "benchmark.png") as picture:
            heights.append(picture.height)
            assert picture.width == 1210
    assert heights[1] > 1.5 * heights[0]


# --- text -----------------------------------------------------------------------------

NAMES = [
    "$1_bill$",
    r"a_$5_$ \alpha",
    "dog [v2]",
    "\u732b",
    "\U0001f600",
    "{x}",
    "^_",
    "a" * 90,
]


def test_names_are_text_and_a_missing_glyph_is_no_warning(tmp_path, recwarn, caplog, capfd):
    found = metrics(len(NAMES)).model_copy(update={"classes": NAMES})
    about = found.about.model_copy(update={"data": "$\\frac{1$ \u732b"})
    mistakes = [
        found.mistakes[0].model_copy(update={"true": name, "predicted": name}) for name in NAMES
    ]
    found = found.model_copy(update={"about": about, "mistakes": mistakes})
    plots.confusion(found, tmp_path / "c.png")
    plots.reliability(found, tmp_path / "r.png")
    np.savez(tmp_path / "p.npz", mistakes=np.zeros((len(NAMES), 32, 32, 3), np.uint8))
    plots.mistakes(found, tmp_path / "p.npz", tmp_path / "m.png")
    (tmp_path / "$x^$").mkdir()
    (tmp_path / "$x^$" / "history.csv").write_text(f"{HEADER}\n1,2.0,0.1,,,0.1,100,2\n")
    plots.curves(Run(tmp_path / "$x^$"), tmp_path / "curves.png")
    assert list(recwarn) == [] and caplog.records == []
    assert capfd.readouterr() == ("", "")


def drawn(monkeypatch, draw) -> Figure:
    """Return the figure that `draw` would save."""
    figures = []
    monkeypatch.setattr(plots.canvas, "save", lambda figure, png: figures.append(figure))
    draw()
    return figures[0]


def test_the_caption_of_a_mistake_says_what_is_true_and_what_was_said(tmp_path, monkeypatch):
    np.savez(tmp_path / "p.npz", mistakes=np.zeros((1, 32, 32, 3), np.uint8))
    mistake = metrics(2).mistakes[0].model_copy(update={"true": "$a$", "predicted": "b" * 40})
    found = metrics(2).model_copy(update={"mistakes": [mistake]})
    figure = drawn(monkeypatch, lambda: plots.mistakes(found, tmp_path / "p.npz", tmp_path))
    (text,) = figure.axes[0].texts
    assert text.get_text() == f"true $a$\nsaid {'b' * 10}...\n90.00 %"
    assert not text.get_parse_math()


def test_one_epoch_has_one_tick(tmp_path, monkeypatch):
    (tmp_path / "history.csv").write_text(f"{HEADER}\n1,2.0,0.1,2.1,0.1,0.1,100,2\n")
    figure = drawn(monkeypatch, lambda: plots.curves(Run(tmp_path), tmp_path))
    axes = figure.axes[0]
    low, high = axes.get_xlim()
    assert [tick for tick in axes.get_xticks() if low <= tick <= high] == [1]
