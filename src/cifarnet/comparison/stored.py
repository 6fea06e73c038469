"""The stored predictions of runs, checked to be comparable."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cifarnet import config as cfg
from cifarnet import runs
from cifarnet.errors import ConfigError, RunError
from cifarnet.runs import Evaluation, Run, documents
from cifarnet.runs.results import evaluation_stem

_SEEDS_DIFFER = ". Validation images depend on the seed: use --split test"


@dataclass(frozen=True)
class Stored:
    """A run and its predictions of a split.

    Attributes:
        labels: int [N], true classes.
        correct: bool [N], whether the predicted class is right.
        fingerprint: SHA-256 of the probabilities.
    """

    run: Run
    config: cfg.Config
    evaluation: Evaluation
    labels: np.ndarray
    correct: np.ndarray
    fingerprint: str

    @property
    def name(self) -> str:
        """Name of the run's directory."""
        return self.run.path.name

    @property
    def accuracy(self) -> float:
        """Share of the images that are predicted right."""
        return float(self.correct.mean())


def read(targets: Sequence[Run | str | Path], split: str, tta: str | None) -> list[Stored]:
    """Read the predictions of runs.

    Args:
        targets: runs, their paths or names, or `latest`.
        split: of the images.
        tta: of the predictions; None: that of the configs.

    Raises:
        ConfigError: the same run twice, or configs with different test-time augmentation.
        RunError: no such run, one that is not finished, predictions that are missing, damaged, of
            other weights or of changed images; different images; or the same predictions twice.
        ArtifactError: predictions that are not those of the run's record.
    """
    found = [runs.open_run(target) for target in targets]
    _refuse_repeated(found)
    for run in found:
        _refuse_unfinished(run)
    configs = [cfg.load(run.config_file) for run in found]
    kind = _common_tta(found, configs) if tta is None else tta
    if split == "validation":
        _refuse_other_validation(found)
    opened = [_open(run, split, kind) for run in found]
    problems = [one for one in opened if isinstance(one, str)]
    if problems:
        commands = [
            f"cifarnet evaluate {run.path}{_options(config, split, kind)}"
            for run, config, one in zip(found, configs, opened, strict=True)
            if isinstance(one, str)
        ]
        raise RunError("\n  ".join([*problems, "Evaluate first:", *commands]))
    stored = [
        _read(run, config, one)
        for run, config, one in zip(found, configs, opened, strict=True)
        if isinstance(one, Evaluation)
    ]
    _refuse_other_images(stored, split)
    _refuse_copies(stored)
    return stored


def _refuse_repeated(found: Sequence[Run]) -> None:
    seen: set[Path] = set()
    for run in found:
        if (path := run.path.resolve()) in seen:
            raise ConfigError(f"{run.path} is given twice: a run is compared with other runs")
        seen.add(path)


def _refuse_unfinished(run: Run) -> None:
    if (status := runs.status(run)) != "finished":
        raise RunError(
            f"{run.path} is {status}: expected finished runs, whose weights are those of their "
            f"config. Finish it with: cifarnet train --resume {run.path}"
        )


def _refuse_other_validation(found: Sequence[Run]) -> None:
    """Refuse runs with other validation images, before one is told to evaluate on them."""
    sets: dict[str, str] = {}
    for run in found:
        if digest := run.read_record().data.digests.get("validation"):
            sets.setdefault(digest, run.path.name)
    if len(sets) > 1:
        one, other = list(sets.values())[:2]
        raise RunError(
            f"expected runs with the same validation images, received {len(sets)} sets of images: "
            f"{one} and {other} differ{_SEEDS_DIFFER}"
        )


def _common_tta(found: Sequence[Run], configs: Sequence[cfg.Config]) -> str:
    kinds = {config.evaluate.tta for config in configs}
    if len(kinds) > 1:
        listed = "; ".join(
            f"{run.path.name}: {config.evaluate.tta}"
            for run, config in zip(found, configs, strict=True)
        )
        raise ConfigError(
            "expected one test-time augmentation for all runs, received configs with several "
            f"({listed}). Choose one for all with --tta, such as --tta none"
        )
    return kinds.pop()


def _options(config: cfg.Config, split: str, tta: str) -> str:
    options = "" if split == "test" else f" --split {split}"
    return options if tta == config.evaluate.tta else f"{options} --tta {tta}"


def _open(run: Run, split: str, tta: str) -> Evaluation | str:
    """Read the record of an evaluation; or return why it cannot be used."""
    path = run.evaluation_folder / f"{evaluation_stem(split, tta)}.json"
    if not path.is_file():
        return f"{run.path} has no stored predictions of the {split} images (augmentation: {tta})"
    runs.check(run, path)
    found = documents.read(path, Evaluation)
    if not found.predictions_file.is_file():
        return f"{found.predictions_file} is missing"
    if not runs.is_current(run, found.about.weights_sha256):
        return f"{path} is of older weights: the run was trained further"
    if found.about.changed_data:
        return f"{path} is not of the run's own images: {found.about.changed_data}"
    return found


def _read(run: Run, config: cfg.Config, evaluation: Evaluation) -> Stored:
    path = evaluation.predictions_file
    runs.check(run, path)
    arrays = runs.read_arrays(path)
    try:
        probabilities, labels = arrays["probabilities"], arrays["labels"]
        shape = (evaluation.count, len(evaluation.classes))
        if probabilities.shape != shape or labels.shape != shape[:1]:
            raise ValueError(f"expected {shape}, received {probabilities.shape}, {labels.shape}")
    except (KeyError, ValueError) as error:
        raise RunError(f"{path} does not belong to {evaluation.path.name}: {error}") from error
    return Stored(
        run=run,
        config=config,
        evaluation=evaluation,
        labels=labels,
        correct=probabilities.argmax(axis=1) == labels,
        fingerprint=hashlib.sha256(probabilities.tobytes()).hexdigest(),
    )


def _refuse_other_images(stored: Sequence[Stored], split: str) -> None:
    """Refuse runs that were evaluated on different images, or on classes in another order."""
    sets: dict[tuple[str, ...], list[str]] = {}
    for one in stored:
        key = (one.evaluation.about.digest, *one.evaluation.classes)
        sets.setdefault(key, []).append(one.name)
    if len(sets) == 1:
        return
    listed = "; ".join(
        f"{names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''}: SHA-256 "
        f"{digest[:12]}, classes {', '.join(classes[:3])}, ..."
        for (digest, *classes), names in sets.items()
    )
    advice = "" if split == "test" else _SEEDS_DIFFER
    raise RunError(
        f"expected runs that were evaluated on the same {split} images, received {len(sets)} sets "
        f"of images ({listed}){advice}"
    )


def _refuse_copies(stored: Sequence[Stored]) -> None:
    first: dict[str, str] = {}
    for one in stored:
        if one.fingerprint in first:
            raise RunError(
                f"{first[one.fingerprint]} and {one.name} have the same predictions to the bit: "
                "they are one training, not two. Leave one out, or train with another seed"
            )
        first[one.fingerprint] = one.name
