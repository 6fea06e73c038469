"""Measure accuracy on corrupted, attacked and foreign images."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

from cifarnet import artifacts, data
from cifarnet.artifacts import Artifact
from cifarnet.callbacks import Callback, job
from cifarnet.cost import Meter, Power
from cifarnet.errors import ConfigError
from cifarnet.predictors import Preprocessing
from cifarnet.reporting import robustness as plots
from cifarnet.robustness import corrupted, foreign, published
from cifarnet.robustness.budget import Budget
from cifarnet.robustness.subject import Subject
from cifarnet.runs import Run, documents
from cifarnet.runs.robustness import Robustness

BUDGET = 120.0  # seconds
# Shares of the budget after which each measurement ends; what one leaves unused goes to the next.
_FOREIGN_UNTIL, _CORRUPTIONS_UNTIL, _ATTACKS_UNTIL = 0.08, 0.55, 0.97


def evaluate_robustness(
    target: Run | str | Path,
    budget: float | None = BUDGET,
    cifar10c: str | Path | None = None,
    ood: str | Path | None = None,
    seed: int = 0,
    preprocessing: Preprocessing | None = None,
    callbacks: Iterable[Callback] | None = None,
    overrides: Iterable[str] = (),
    allow_changed_data: bool = False,
    output: str | Path | None = None,
    power: Power | None = None,
) -> Robustness:
    """Measure a trained network's accuracy on corrupted, attacked and foreign test images.

    Writes `robustness.json` and its pictures into the run, or into a folder beside a model file.
    Attacks need gradients, which only Keras files have.

    Args:
        target: a run, its path or name, `latest`, or a model file.
        budget: seconds to take once the network is loaded, which decide how many images are used;
            None: all images.
        cifar10c: folder of the published CIFAR-10-C, to use instead of generated corruptions.
        ood: folder of out-of-distribution images, whose confidence is compared with test images'.
        seed: of the choice of images, the corruptions' noise and the attacks.
        preprocessing, callbacks, overrides, allow_changed_data, output, power: as for `evaluate`.

    Returns:
        The figures; `path` is the file they are written to.

    Raises:
        ConfigError: `budget` is not positive, or `seed` negative.
        RunError, ArtifactError: the target cannot be found or loaded, or has changed.
        DataError: the images cannot be read or are not those of the run; `cifar10c` does not
            belong to the test images; `ood` has no image. Missing files are found at the start.

    Example:
        found = cifarnet.evaluate_robustness("latest", budget=60)
        print(found.corruptions.accuracy, found.corruptions.accuracy_interval, found.path)
    """
    check(budget, cifar10c, ood, seed)
    meter = Meter(power)
    with job(callbacks) as callback:
        artifact = artifacts.resolve(target, overrides)
        subject = _load(artifact, preprocessing, allow_changed_data, budget, seed, callback)
        found = _measure(subject, cifar10c, ood)
        callback.on_result(found := found.replace(cost=meter.read()))
        path = artifact.evaluation_folder(output) / "robustness.json"
        with artifact.writing(path.parent, callback):
            return _write(found, path)


def _write(found: Robustness, path: Path) -> Robustness:
    written = documents.write(path, found)
    heat_map, *curve = pictures(written)
    plots.corruptions(written, heat_map)
    if written.attacks is not None:
        plots.attacks(written.about, written.attacks, curve[0])
    return written


def pictures(found: Robustness) -> list[Path]:
    """Return the files of a robustness evaluation's pictures: of corruptions, and of attacks."""
    names = ["corruptions"] if found.attacks is None else ["corruptions", "attacks"]
    return [found.path.with_name(f"robustness-{name}.png") for name in names]


def check(
    budget: float | None, cifar10c: str | Path | None, ood: str | Path | None, seed: int = 0
) -> None:
    """Check arguments of `evaluate_robustness` as far as that takes no time; errors as its."""
    if budget is not None and not 0 < budget < math.inf:
        raise ConfigError(f"budget: expected more than 0 seconds, received {budget:g}")
    if seed < 0:
        raise ConfigError(f"seed: expected 0 or more, received {seed}")
    if cifar10c is not None:
        published.require(Path(cifar10c))
    if ood is not None:
        data.image_files([Path(ood)])


def _load(
    artifact: Artifact,
    preprocessing: Preprocessing | None,
    allow_changed_data: bool,
    budget: float | None,
    seed: int,
    callback: Callback,
) -> Subject:
    callback.on_stage(f"loading {artifact.path}")
    predictor = artifact.load(preprocessing)
    dataset = artifact.dataset(callback.on_fetch, allow_changed_data, predictor)
    predict, order = artifacts.align(predictor, dataset.classes)
    images = dataset.split("test")
    return Subject(
        artifact=artifact,
        predictor=predictor,
        about=artifact.source(predictor, dataset, "test", order),
        predict=predict,
        images=images,
        order=data.balanced_order(images.labels, seed),
        classes=dataset.classes,
        seed=seed,
        budget=Budget(budget),
        callback=callback,
    )


def _measure(
    subject: Subject,
    cifar10c: str | Path | None,
    ood: str | Path | None,
) -> Robustness:
    budget = subject.budget
    detection = foreign.measure(subject, ood, budget.left(_FOREIGN_UNTIL))
    attacked = subject.predictor.network is not None
    until = _CORRUPTIONS_UNTIL if attacked else _ATTACKS_UNTIL
    corruptions = corrupted.measure(subject, cifar10c, budget.left(until))
    attacks = None
    if attacked:
        from cifarnet.robustness.attacks import measure  # imports TensorFlow

        attacks = measure(subject, budget.left(_ATTACKS_UNTIL))
    return Robustness(
        about=subject.about,
        budget_seconds=budget.seconds,
        seconds=round(budget.used, 3),
        corruptions=corruptions,
        attacks=attacks,
        out_of_distribution=detection,
    )
