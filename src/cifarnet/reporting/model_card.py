"""The model card of a run: a README with the metadata of Hugging Face's Hub, from stored records.

Metadata: https://github.com/huggingface/hub-docs/blob/main/modelcard.md. Sections: Mitchell et al.
2019, arXiv 1810.03993. No path of the machine is in it, since cards are published.
"""

from __future__ import annotations

import pprint
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import yaml

from cifarnet import config as cfg
from cifarnet import cost, runs
from cifarnet.errors import ConfigError, JsonObject
from cifarnet.formatting import printable
from cifarnet.reporting import markdown, sections
from cifarnet.reporting.stored import StoredRun
from cifarnet.runs import Evaluation, Robustness, RunRecord
from cifarnet.runs.results import ClassMetrics
from cifarnet.statistics import wilson

_TEMPLATE = "model_card.md"
_CLASSES = 20  # rows of the table of classes
_SPREAD = 8  # differences of a config that one command states
# The Hub has a list of identifiers, against which it checks a card; this is their form.
_LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]{0,63}")
# What the Hub calls the datasets; a folder has the name of the loader that reads one.
_DATASETS = {"cifar10": "uoft-cs/cifar10", "directory": "imagefolder", "synthetic": "synthetic"}


def check_license(license: str | None) -> None:
    """Check the form of a license's identifier.

    Raises:
        ConfigError: it is no identifier.
    """
    if license is not None and not _LICENSE.fullmatch(license):
        raise ConfigError(
            "license: expected an identifier of "
            "https://huggingface.co/docs/hub/repositories-licenses in lower case, such as "
            f"apache-2.0, mit or cc-by-4.0; received {license!r}"
        )


def render(found: StoredRun, license: str | None) -> str:
    """Write a card.

    Args:
        found: the records.
        license: identifier of the Hub's list; None: the card says that none is stated.

    Raises:
        ConfigError: the run's config is damaged.
    """
    config = found.config or cfg.load(found.run.config_file)
    tests = [one for one in found.evaluations if one.about.split == "test"]
    evaluation = next(iter(tests), None)
    training = found.record.cost
    card = _Card(found.record, config.data, tests, printable(found.data_name))
    values = {
        "found": found,
        "record": found.record,
        "data": config.data,
        "faults": sections.CIFAR10_FAULTS,
        "data_name": card.data_name,
        "evaluation": evaluation,
        "evaluations": tests,
        "most_frequent": max(one.support for one in evaluation.per_class) if evaluation else 0,
        "weights": runs.weights_digest(found.run),
        "mean_confidence": None if evaluation is None else _mean_confidence(evaluation),
        "validation_interval": _validation_interval(found.record),
        "worst_classes": () if evaluation is None else _worst_classes(evaluation),
        "worst_corruptions": _worst_corruptions(found.robustness),
        "code": markdown.fenced(_code(card), "python"),
        "cost": None if training is None else cost.describe(training),
        "repeat": _repeat(config),
        "license": license,
    }
    front = yaml.safe_dump(
        _metadata(card, license), sort_keys=False, allow_unicode=True, width=float("inf")
    )
    return f"---\n{front}---\n\n{markdown.render(_TEMPLATE, values)}"


@dataclass(frozen=True)
class _Card:
    """What metadata and code are made of."""

    record: RunRecord
    data: cfg.DataConfig
    tests: list[Evaluation]
    data_name: str


# --- metadata -------------------------------------------------------------------------


def _metadata(card: _Card, license: str | None) -> JsonObject:
    """Return what the Hub reads: shares are 0 to 1, as in its examples."""
    results = [metric for one in card.tests for metric in _metrics(one)]
    found: JsonObject = {} if license is None else {"license": license}
    found |= {"library_name": "keras", "pipeline_tag": "image-classification"}
    kind = card.data.source
    dataset = {"type": _DATASETS[kind], "name": card.data_name, "split": "test"}
    if kind == "cifar10":
        found["datasets"] = [_DATASETS[kind]]
        dataset["config"] = "plain_text"
    if results:
        found["metrics"] = ["accuracy"]
        task = {"type": "image-classification", "name": "Image classification"}
        result = {"task": task, "dataset": dataset, "metrics": results}
        found["model-index"] = [{"name": printable(card.record.name), "results": [result]}]
    return found


def _metrics(one: Evaluation) -> list[JsonObject]:
    """Return an evaluation's metrics, with their intervals in the names; none of other images."""
    if one.about.changed_data:
        return []
    on = f"{one.count:,} images"
    views = "" if one.about.tta == "none" else f", test-time augmentation {one.about.tta}"
    metrics = [
        ("accuracy", "Accuracy", one.accuracy, one.accuracy_interval),
        (
            "expected_calibration_error",
            "Expected calibration error",
            one.expected_calibration_error,
            one.expected_calibration_error_interval,
        ),
    ]
    return [
        {
            "type": kind,
            "value": value,
            "name": printable(f"{name} ({_ends(ends)}{on}{views})"),
        }
        for kind, name, value, ends in metrics
    ]


def _ends(ends: list[float] | None) -> str:
    return "" if ends is None else f"95 % interval {ends[0]:.4f} to {ends[1]:.4f}, "


# --- the body -------------------------------------------------------------------------


def _code(card: _Card) -> str:
    """Return a program of plain Keras that does what `cifarnet predict` does."""
    size = card.data.image_size
    rows = pprint.pformat(list(card.record.data.classes), width=78, compact=True).split("\n")
    classes = f"\n{' ' * 10}".join(rows)
    return f"""\
import keras
import numpy as np
from PIL import Image

classes = {classes}
model = keras.saving.load_model("model.keras")
image = Image.open("photo.png").convert("RGB")
image = image.resize(({size}, image.height), 2).resize(({size}, {size}), 2)  # 2: bilinear
probabilities = keras.ops.softmax(model(np.asarray(image, "float32")[None]))[0]
print(classes[int(keras.ops.argmax(probabilities))], float(keras.ops.max(probabilities)))"""


def _mean_confidence(one: Evaluation) -> float | None:
    filled = [row for row in one.calibration if row.count]
    total = sum(row.count for row in filled)
    return sum(row.count * row.confidence for row in filled) / total if total else None


def _validation_interval(record: RunRecord) -> tuple[float, float] | None:
    count, accuracy = record.data.counts.get("validation", 0), record.validation_accuracy
    if accuracy is None or not count:
        return None
    return wilson(round(accuracy * count), count)


def _worst_classes(
    one: Evaluation,
) -> list[tuple[ClassMetrics, tuple[float, float]]]:
    """Return the classes of the lowest recall, each with the interval of its recall."""
    rows = sorted((row for row in one.per_class if row.support), key=lambda row: row.recall)
    return [(row, wilson(round(row.recall * row.support), row.support)) for row in rows[:_CLASSES]]


def _worst_corruptions(one: Robustness | None) -> list[tuple[str, float]]:
    """Return the three corruptions of the lowest accuracy, mean over severities."""
    if one is None:
        return []
    means = [
        (row.corruption.replace("_", " "), sum(row.accuracy) / len(row.accuracy))
        for row in one.corruptions.scores
        if row.accuracy
    ]
    return sorted(means, key=lambda found: found[1])[:3]


@dataclass(frozen=True)
class _Repeat:
    """How to train again: a command, and for a config that it does not state, the config."""

    command: markdown.Raw
    config: markdown.Raw | None


def _repeat(config: cfg.Config) -> _Repeat:
    """Return a command that gives the config: of a shipped one with its differences, if few.

    Folders of images and trackers are the author's own, and left out.
    """
    path = Path("FOLDER") if config.data.source == "directory" else None
    data = config.data.model_copy(update={"path": path})
    train = config.train.model_copy(update={"mlflow": None})
    config = config.model_copy(update={"data": data, "train": train})
    text = cfg.dump(config)
    if config.name in [one.name for one in cfg.shipped()]:
        changes = cfg.changes(cfg.load(config.name), config)
        # A key that another kind of schedule lacks has no new value either, and is not to be set.
        stated = {key: new for key, (_, new) in changes.items()}
        for values in (stated, {key: new for key, new in stated.items() if new is not None}):
            overrides = [f"{key}={_flow(new)}" for key, new in values.items()]
            if len(overrides) <= _SPREAD and _gives(config, overrides):
                words = ["cifarnet", "train", "--config", config.name]
                words += [word for override in overrides for word in ("-o", override)]
                return _Repeat(markdown.fenced(shlex.join(words), "sh"), None)
    command = markdown.fenced("cifarnet train --config config.yaml", "sh")
    return _Repeat(command, markdown.fenced(text, "yaml"))


def _flow(value: object) -> str:
    """Write a value as YAML in one line."""
    text = yaml.safe_dump(value, default_flow_style=True, width=float("inf"))
    return text.removesuffix("...\n").strip()


def _gives(config: cfg.Config, overrides: list[str]) -> bool:
    try:
        return cfg.load(config.name, overrides) == config
    except ConfigError:
        return False
