"""The parts of a page that are computed from records: sentences, tables and charts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cifarnet import config as cfg
from cifarnet import runs
from cifarnet.config.text import brief
from cifarnet.formatting import percent
from cifarnet.reporting import shown
from cifarnet.reporting.charts import Chart, Line, chart
from cifarnet.reporting.stored import StoredRun
from cifarnet.runs import Evaluation, Robustness
from cifarnet.statistics import wilson

MATRIX_CLASSES = 20  # of more, only the most frequent mistakes are listed
_CONFUSIONS = 40
CIFAR10_FAULTS = (
    "54 of the 10,000 test labels were not confirmed by people (Northcutt et al. 2021, arXiv "
    "2103.14749): near 100 %, differences of half a point are not meaningful.",
    "The images are photographs of the web at 32 x 32 pixels, a part of 80 Million Tiny Images, "
    "which its authors withdrew in 2020.",
    "Every class has the same number of images; where classes are not equally frequent, the "
    "probabilities are not calibrated.",
)
_SHADES = 10
_CHOSEN = ("train.precision", "auto")
_DIAGONAL = Line("perfect", (0, 1), (0, 1), dashed=True)


@dataclass(frozen=True)
class ClassRow:
    """One class: name, recall with its 95 % interval, precision, F1, images."""

    name: str
    recall: float
    low: float
    high: float
    precision: float
    f1: float
    images: int


@dataclass(frozen=True)
class Cell:
    """One pair of true and predicted class: images, and their share of the row in tenths."""

    true: int
    predicted: int
    count: int
    shade: int


@dataclass(frozen=True)
class HeatRow:
    """Accuracy under one corruption, clean and by severity: share, and tenths of the largest."""

    name: str
    cells: list[tuple[float, int]]


def verdict(stored: StoredRun) -> list[str]:
    """Say in two sentences how good the network is, and against what that is to be seen."""
    found = stored.evaluation
    if found is None:
        return _not_evaluated(stored)
    low, high = found.accuracy_interval
    chance = max(one.support for one in found.per_class) / found.count
    best = _best_shipped() if is_cifar10(stored) else ""
    return [
        f"This network gets {percent(found.accuracy)} of {found.count:,} {found.about.split} "
        f"images right (95 % interval {100 * low:.2f} to {percent(high)}).",
        f"Always naming the most frequent class gives {percent(chance)}{best}.",
    ]


def _not_evaluated(stored: StoredRun) -> list[str]:
    accuracy, name = stored.record.validation_accuracy, stored.run.path.name
    known = (
        []
        if accuracy is None
        else [f"This network gets {percent(accuracy)} of its validation images right."]
    )
    if not stored.run.model_file.is_file():
        state = runs.status(stored.run)
        return [*known, f"This run is {state}: cifarnet train --resume {name} continues it."]
    if any(stored.run.evaluation_folder.glob("test*.json")):
        return [*known, "Its evaluation cannot be shown, see below."]
    return [*known, f"It was not evaluated on test images: cifarnet evaluate {name}"]


def is_cifar10(stored: StoredRun) -> bool:
    """Whether the images are those of CIFAR-10, or some of them."""
    return stored.config is not None and stored.config.data.source == "cifar10"


def _best_shipped() -> str:
    """Name the shipped config with the highest accuracy on CIFAR-10, as its comment states it."""
    stated = {
        one.name: re.match(r"([\d.]+) % on test images", one.accuracy)
        for one in cfg.shipped()
        if "not on CIFAR-10" not in one.purpose
    }
    known = [(float(match[1]), name) for name, match in stated.items() if match]
    accuracy, name = max(known)
    return f"; the best shipped config, {name}, reaches {accuracy:.2f} %"


def curves(stored: StoredRun) -> dict[str, Chart]:
    """Chart `loss`, `accuracy` and learning `rate` by epoch, those that have values."""
    rows = stored.history
    epochs = [row["epoch"] for row in rows if "epoch" in row]
    if len(epochs) < len(rows):
        return {}

    def lines(name: str) -> list[Line]:
        pairs = (("training", name), ("validation", f"validation_{name}"))
        return [Line(label, epochs, [row.get(key) for row in rows]) for label, key in pairs]

    rate = [Line("learning rate", epochs, [row.get("learning_rate") for row in rows])]
    found = {
        "loss": chart("Loss by epoch, nats", "epoch", lines("loss"), whole=True),
        "accuracy": chart(
            "Accuracy by epoch", "epoch", lines("accuracy"), percent=True, whole=True
        ),
        "rate": chart("Learning rate by epoch", "epoch", rate, whole=True),
    }
    return {name: one for name, one in found.items() if one is not None}


def curve_meanings(config: cfg.Config) -> dict[str, str]:
    """Say what each of `curves` shows, and what of the training must be known to read it."""
    train, images = config.train, config.data
    loss = ["How wrong the probabilities are, per image: lower is better."]
    if train.distill is None and images.mix is None:
        loss.append("Validation far above training: the network has memorized training images.")
    if train.distill is not None:
        loss.append("That of training includes the distance from the teacher's answers.")
    accuracy = ["The share of images that are classified right."]
    if images.augment:
        accuracy.append(
            "Training images are augmented, which makes them harder: validation may be higher."
        )
    if images.mix is not None:
        loss.append("Training images are mixed, so that of training cannot come to 0.")
        accuracy.append("Training images are mixed, so theirs stays below 100 %.")
    if train.resolution:
        accuracy.append("In the first epochs training images are smaller than validation images.")
    rate = ["How far each step moves the weights."]
    if train.muon is not None:
        peak = train.muon.learning_rate
        rate.append(f"That of convolutions, by Muon, goes alike, with {peak:g} at the peak.")
    return {"loss": " ".join(loss), "accuracy": " ".join(accuracy), "rate": " ".join(rate)}


def classes(found: Evaluation) -> list[ClassRow]:
    """List the classes that have images, in their order; of many, those of `shown.classes`."""
    rows = []
    for i in shown.classes(found):
        one = found.per_class[i]
        if one.support:
            low, high = wilson(found.confusion_matrix[i][i], one.support)
            values = (one.recall, low, high, one.precision, one.f1, one.support)
            rows.append(ClassRow(one.name, *values))
    return rows


def rest_of_classes(found: Evaluation) -> str:
    """Say which classes `classes` lists and where the others are; empty if it lists all."""
    return shown.rest(len(shown.classes(found)), len(found.classes), f"{found.path.name}")


def counts(found: Evaluation) -> dict[str, int]:
    """Return the cells of the confusion matrix that are not 0, by `true-predicted`."""
    matrix = np.asarray(found.confusion_matrix)
    return {f"{i}-{j}": int(matrix[i, j]) for i, j in zip(*np.nonzero(matrix), strict=True)}


def matrix(found: Evaluation) -> list[list[Cell]]:
    """Return the cells of the confusion matrix; none with more than 20 classes."""
    if len(found.classes) > MATRIX_CLASSES:
        return []
    counts = np.asarray(found.confusion_matrix)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    shades = np.ceil(_SHADES * shares).astype(int)
    return [
        [Cell(i, j, int(counts[i, j]), int(shades[i, j])) for j in range(len(counts))]
        for i in range(len(counts))
    ]


def confusions(found: Evaluation) -> list[Cell]:
    """Return the most frequent mistakes, most frequent first."""
    counts = np.asarray(found.confusion_matrix)
    np.fill_diagonal(counts := counts.copy(), 0)
    order = np.argsort(-counts, axis=None, kind="stable")[:_CONFUSIONS]
    places = zip(*np.unravel_index(order, counts.shape), strict=True)
    cells = [Cell(int(i), int(j), int(counts[i, j]), 0) for i, j in places]
    return [cell for cell in cells if cell.count]


def reliability(found: Evaluation) -> Chart | None:
    """Chart accuracy by confidence; None without images."""
    bins = [one for one in found.calibration if one.count]
    if not bins:
        return None
    points = [one.confidence for one in bins], [one.accuracy for one in bins]
    counts = [f"{one.count:,} images" for one in bins]
    lines = [_DIAGONAL, Line("accuracy", *points, dots=True, notes=counts)]
    return chart("Accuracy by confidence", "confidence", lines, (0, 1), percent=True)


def risk_coverage(found: Evaluation) -> Chart | None:
    """Chart the share of errors among the most confident decisions."""
    if found.selective is None:
        return None
    points = found.selective.risk_coverage
    line = Line("errors", [one.coverage for one in points], [one.risk for one in points])
    title = "Share of errors among the most confident images"
    top = max(1 - found.accuracy, *(one.risk for one in points)) or 1.0
    return chart(title, "share decided", [line], (0, top), percent=True)


def corruptions(found: Robustness) -> list[HeatRow]:
    """Return the heat map of corruptions: each by severity, and their mean; first clean images."""
    record = found.corruptions
    clean, means = record.clean.accuracy, [one.accuracy for one in record.severities]
    scores = [(one.corruption.replace("_", " "), one.accuracy) for one in record.scores]
    rows = [(name, [clean, *values]) for name, values in [*scores, ("mean", means)]]
    most = max(max(values) for _, values in rows) or 1.0
    return [
        HeatRow(name, [(x, round(_SHADES * x / most)) for x in values]) for name, values in rows
    ]


def attacks(found: Robustness) -> Chart | None:
    """Chart accuracy by the size of an attack."""
    if found.attacks is None:
        return None
    clean, scores = found.attacks.clean_accuracy, found.attacks.scores
    sizes = [0.0, *(one.epsilon for one in scores)]
    ends = [(clean, clean), *(one.accuracy_interval for one in scores)]
    worst = Line(
        "worst case",
        sizes,
        [clean, *(one.accuracy for one in scores)],
        low=[low for low, _ in ends],
        high=[high for _, high in ends],
        notes=[f"{100 * low:.2f} to {100 * high:.2f} %" for low, high in ends],
    )
    label = "largest change of a pixel value, of 255"
    return chart("Accuracy under attack", label, [worst], (0, 1), percent=True)


def changes(stored: StoredRun, published: bool) -> tuple[str, list[str]]:
    """Return the shipped config that a run is nearest to, and what differs from it.

    If it is to be published, the folder of images is left out.
    """
    config, found = stored.config, []
    if config is None:
        return "", []
    for one in _bases(config.name):
        changed = cfg.recipe_changes(cfg.load(one.path), config)
        # `auto` was replaced by what it chose.
        changed = {key: x for key, x in changed.items() if (key, x[0]) != _CHOSEN}
        found.append((len(changed), one.name, changed))
    _, name, changed = min(found, key=lambda one: one[:2])
    if published:
        changed.pop("data.path", None)
    lines = [f"{key}: {brief(old)} → {brief(new)}" for key, (old, new) in changed.items()]
    return name, lines


def _bases(name: str) -> Sequence[cfg.ShippedConfig]:
    shipped = cfg.shipped()
    return [one for one in shipped if one.name == name] or shipped
