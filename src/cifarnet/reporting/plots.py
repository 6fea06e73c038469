"""Plots of stored records and files: no model, no dataset, no TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cifarnet import runs
from cifarnet.formatting import percent
from cifarnet.reporting import canvas, shown
from cifarnet.runs import Benchmark, Evaluation, Run
from cifarnet.runs.benchmarks import Speed
from cifarnet.runs.confidence import SelectivePrediction

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's palette, safe for color-blind readers.
_TRAIN, _VALIDATION, _RATE = "#0072B2", "#D55E00", "#999999"
_CAPTION = 18  # characters per line


def _fitted(caption: str) -> str:
    """Cut each line to the width of an image."""
    lines = caption.split("\n")
    return "\n".join(x if len(x) <= _CAPTION else f"{x[: _CAPTION - 3]}..." for x in lines)


@canvas.drawing()
def curves(run: Run, png: Path) -> None:
    """Plot loss, accuracy and learning rate by epoch from `history.csv`."""
    from matplotlib.ticker import MaxNLocator

    rows = runs.read_history(run)
    epochs = [int(row["epoch"]) for row in rows]
    figure = canvas.figure(9.5, 3.8)
    figure.suptitle(run.path.resolve().name, fontsize=10)
    for place, name in enumerate(("loss", "accuracy")):
        axes = figure.add_subplot(1, 2, place + 1)
        rate = axes.twinx()
        rate.plot(epochs, _column(rows, "learning_rate"), color=_RATE, linewidth=1, alpha=0.7)
        rate.set_ylim(bottom=0)
        rate.set_ylabel("learning rate", color=_RATE)
        rate.tick_params(colors=_RATE)
        for key, label, color in (
            (name, "training", _TRAIN),
            (f"validation_{name}", "validation", _VALIDATION),
        ):
            values = _column(rows, key)
            if np.isfinite(values).any():
                marker = "o" if len(epochs) < 30 else ""
                axes.plot(epochs, values, color=color, label=label, marker=marker, markersize=3)
        axes.set_zorder(rate.get_zorder() + 1)
        axes.patch.set_visible(False)
        axes.set_xlabel("epoch")
        axes.set_ylabel(name)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(alpha=0.25)
        axes.legend(loc="upper right" if name == "loss" else "lower right", framealpha=0.9)
    canvas.save(figure, png)


@canvas.drawing()
def confusion(found: Evaluation, png: Path) -> None:
    """Plot the confusion matrix of an evaluation, colored by the share of each true class."""
    labels = shown.confused(found)
    counts, classes = np.asarray(found.confusion_matrix), [found.classes[i] for i in labels]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    counts, shares = (array[np.ix_(labels, labels)] for array in (counts, shares))
    side = min(12.0, max(4.5, 0.55 * len(classes) + 1.8))
    figure = canvas.figure(side, side)
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    small = 6 if len(classes) > 30 else 9
    axes.set_xticks(range(len(classes)), classes, rotation=90, fontsize=small)
    axes.set_yticks(range(len(classes)), classes, fontsize=small)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    which = "of the most frequent mistakes"
    rest = shown.rest(len(labels), len(found.classes), found.path.name, which)
    title = f"{_title(found)}\naccuracy {100 * found.accuracy:.2f} %"
    axes.set_title(f"{title}\n{rest}" if rest else title, fontsize=10)
    if len(classes) <= 20:
        for (row, column), number in np.ndenumerate(counts):
            color = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, number, ha="center", va="center", color=color, fontsize=8)
    canvas.save(figure, png)


@canvas.drawing()
def reliability(found: Evaluation, png: Path) -> None:
    """Plot the reliability diagram of an evaluation, and its risk-coverage curve."""
    figure = canvas.figure(4.8 if found.selective is None else 9.6, 4.8)
    figure.suptitle(_title(found), fontsize=10)
    columns = 1 if found.selective is None else 2
    _reliability(found, figure.add_subplot(1, columns, 1))
    if found.selective is not None:
        _risk_coverage(found.selective, 1 - found.accuracy, figure.add_subplot(1, columns, 2))
    canvas.save(figure, png)


def _reliability(found: Evaluation, axes: Axes) -> None:
    """Plot accuracy by confidence, and the share of the images in each bin."""
    bins = [one for one in found.calibration if one.count]
    axes.plot([0, 1], [0, 1], color=_RATE, linestyle="--", label="perfectly calibrated")
    largest = max(one.count for one in bins)
    for one in bins:
        share = one.count / found.count
        axes.bar(one.low, share, one.high - one.low, align="edge", color=_RATE, alpha=0.3)
    axes.scatter(
        [one.confidence for one in bins],
        [one.accuracy for one in bins],
        s=[20 + 120 * one.count / largest for one in bins],
        color=_TRAIN,
        label="images of a bin (bars: their share)",
        zorder=3,
    )
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("confidence")
    axes.set_ylabel("accuracy")
    error = 100 * found.expected_calibration_error
    axes.set_title(f"calibration error {error:.2f} %", fontsize=10)
    axes.legend(loc="upper left", fontsize=8)


def _risk_coverage(found: SelectivePrediction, error: float, axes: Axes) -> None:
    """Plot the share of errors among the most confident decisions by the share decided."""
    axes.plot(
        [one.coverage for one in found.risk_coverage],
        [one.risk for one in found.risk_coverage],
        color=_TRAIN,
        label="most confident first",
    )
    # The best and the uninformative order of the same decisions.
    coverage = np.linspace(0.01, 1, 200)
    best = np.maximum(0, 1 - (1 - error) / coverage)
    axes.plot(coverage, best, color=_RATE, linestyle=":", label="all errors last")
    axes.axhline(error, color=_RATE, linestyle="--", label="any order")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.25 * error + 0.005)
    axes.set_xlabel("coverage: share of images decided")
    axes.set_ylabel("risk: share of errors among them")
    surest = percent(found.accuracy_at_80_coverage)
    axes.set_title(
        f"area {found.aurc:.4f}; accuracy of the most confident 80 %: {surest}", fontsize=10
    )
    axes.legend(loc="upper left", fontsize=8)


@canvas.drawing()
def benchmark(found: Benchmark, png: Path) -> None:
    """Plot latency, throughput and size of each artifact of a benchmark."""
    rows = found.artifacts
    fewest, most = (choose(rows[0].speed, key=_batch_size) for choose in (min, max))
    calls = [min(one.speed, key=_batch_size) for one in rows]
    rates = [max(one.speed, key=_batch_size).images_per_second for one in rows]
    names = [f"{one.name}  {percent(one.accuracy)}" for one in rows]
    figure = canvas.figure(11, 1.4 + 0.34 * len(rows))
    latency, speed, size = figure.subplots(1, 3, sharey=True)
    for axes, label, values, form, color in (
        (
            latency,
            f"median ms per call, batch {fewest.batch_size} (line: 90 %)",
            [call.median_milliseconds for call in calls],
            "{:.2f}",
            _TRAIN,
        ),
        (speed, f"images/s, batch {most.batch_size}", rates, "{:,.0f}", _VALIDATION),
        (size, "size, kB", [one.bytes / 1000 for one in rows], "{:,.0f}", _RATE),
    ):
        bars = axes.barh(range(len(rows)), values, 0.7, color=color)
        axes.bar_label(bars, [form.format(value) for value in values], padding=3, fontsize=8)
        axes.margins(x=0.2)
        axes.set_xlabel(label)
        axes.grid(alpha=0.25, axis="x")
        axes.set_axisbelow(True)
    late = [call.p90_milliseconds for call in calls]
    latency.plot(late, range(len(rows)), "|", color="black", markersize=8)
    latency.set_yticks(range(len(rows)), names)
    latency.invert_yaxis()
    latency.tick_params(axis="y", labelsize=8)
    machine = found.machine
    figure.suptitle(
        f"accuracy on {found.images:,} {found.split} images; {machine.processor}, "
        f"{machine.cores} cores",
        fontsize=10,
    )
    canvas.save(figure, png)


def _batch_size(speed: Speed) -> int:
    return speed.batch_size


def mistakes(found: Evaluation, predictions: Path, png: Path) -> None:
    """Draw the most confident mistakes of an evaluation.

    Args:
        found: the evaluation.
        predictions: its file of arrays, which has the pixels.
        png: the file to write.
    """
    with np.load(predictions, allow_pickle=False) as file:
        pixels = file["mistakes"]
    captions = [
        f"true {one.true}\nsaid {one.predicted}\n{percent(one.confidence)}"
        for one in found.mistakes
    ]
    sheet(pixels, captions, 8, png, f"{_title(found)}: most confident mistakes")


@canvas.drawing()
def sheet(pixels: np.ndarray, captions: Sequence[str], columns: int, png: Path, title: str) -> None:
    """Draw a grid of captioned images.

    Args:
        pixels: uint8 [N, S, S, 3]; N may be 0.
        captions: N texts, drawn below the images.
        columns: images per row.
        png: the file to write.
        title: drawn at the top.
    """
    rows = max(1, -(-len(pixels) // columns))
    lines = max((caption.count("\n") + 1 for caption in captions), default=1)
    figure = canvas.figure(1.15 * columns, (1.0 + 0.17 * lines) * rows + 0.5)
    figure.suptitle(title if len(pixels) else f"{title}: none", fontsize=10)
    for i in range(rows * columns):
        axes = figure.add_subplot(rows, columns, i + 1)
        axes.axis("off")
        if i < len(pixels):
            axes.imshow(pixels[i], interpolation="nearest")
            axes.text(
                0.5,
                -0.06,
                _fitted(captions[i]),
                ha="center",
                va="top",
                fontsize=7,
                transform=axes.transAxes,
            )
    canvas.save(figure, png)


def _column(rows: Sequence[dict[str, float]], key: str) -> np.ndarray:
    """Return a column as float64; NaN where it is empty."""
    return np.array([row.get(key, np.nan) for row in rows])


def _title(found: Evaluation) -> str:
    return f"{found.about.data}, {found.about.split}"
