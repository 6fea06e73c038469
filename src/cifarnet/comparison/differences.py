"""Differences of groups: of two weight files, or of two configs over their seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, NamedTuple

import numpy as np

from cifarnet import statistics
from cifarnet.comparison.groups import LEVEL, POINTS, Group, discordant
from cifarnet.comparison.verdicts import of_difference
from cifarnet.runs.comparisons import ClassDifference, ConfigDifference, Welch


class _Test(NamedTuple):
    """An interval of the difference with its p, and what both come from."""

    interval: list[float] | None = None
    p: float | None = None
    welch: Welch | None = None
    bootstrap: list[float] | None = None


@dataclass(frozen=True)
class _Images:
    """Some images.

    Attributes:
        rows: int [n], which.
        resampled: of `statistics.bootstrap_accuracies`, a row per group; None: not needed.
    """

    rows: np.ndarray
    resampled: np.ndarray | None


def differences(
    groups: Sequence[Group], labels: np.ndarray, classes: Sequence[str]
) -> list[ConfigDifference]:
    """Compare every two groups.

    Args:
        groups: with predictions of the same images.
        labels: int [N], their classes.
        classes: names, by label.
    """
    couples = list(combinations(range(len(groups)), 2))
    everything = _images(groups, np.arange(len(labels)))
    tests = [_test(groups, i, j, everything) for i, j in couples]
    by_class = [_images(groups, np.flatnonzero(labels == label)) for label in range(len(classes))]
    found = []
    for (i, j), test, adjusted in zip(couples, tests, _adjusted(tests), strict=True):
        parts = [
            ClassDifference(
                name=name,
                images=len(images.rows),
                difference=_difference(groups[i], groups[j], images.rows),
                interval=_test(groups, i, j, images).interval,
            )
            for name, images in zip(classes, by_class, strict=True)
            if len(images.rows)
        ]
        found.append(_record(groups, i, j, test, adjusted).replace(classes=parts))
    judged = sum(one.p is not None for one in found)
    fewest = [min(groups[i], groups[j], key=lambda one: len(one.stored)).name for i, j in couples]
    return [
        one.replace(verdict=of_difference(one, judged, name))
        for one, name in zip(found, fewest, strict=True)
    ]


def _images(groups: Sequence[Group], rows: np.ndarray) -> _Images:
    if sum(len(group.stored) > 1 for group in groups) < 2 or not len(rows):
        return _Images(rows, None)
    correct = [group.correct[:, rows] for group in groups]
    return _Images(rows, statistics.bootstrap_accuracies(correct))


def _judges(first: Group, second: Group) -> Literal["weights", "configs", "nothing"]:
    fewer, more = sorted((len(first.stored), len(second.stored)))
    if more == 1:
        return "weights"
    return "nothing" if fewer == 1 else "configs"


def _difference(first: Group, second: Group, rows: np.ndarray) -> float:
    return float(first.correct[:, rows].mean() - second.correct[:, rows].mean())


def _test(groups: Sequence[Group], i: int, j: int, images: _Images) -> _Test:
    """Test whether two groups differ, by the method for their numbers of seeds."""
    first, second = (groups[k].correct[:, images.rows] for k in (i, j))
    judges = _judges(groups[i], groups[j])
    if judges == "weights":
        cells = discordant(first[0], second[0])
        interval = statistics.paired_interval(*cells, len(images.rows))
        return _Test(list(interval), statistics.mcnemar(*cells))
    if judges == "nothing" or images.resampled is None:
        return _Test()
    ends = np.percentile(images.resampled[i] - images.resampled[j], [2.5, 97.5])
    low, high = map(float, ends)
    seeds = statistics.welch(first.mean(axis=1), second.mean(axis=1))
    if seeds is None:  # equal accuracies: of the spread of seeds, which p needs, nothing is known
        return _Test(bootstrap=[low, high])
    wider = [min(low, seeds.low), max(high, seeds.high)]
    return _Test(wider, seeds.p, Welch(interval=[seeds.low, seeds.high], p=seeds.p), [low, high])


def _adjusted(tests: Sequence[_Test]) -> list[float | None]:
    """Adjust the p values that there are for their number."""
    values = iter(statistics.holm([test.p for test in tests if test.p is not None]))
    return [None if test.p is None else next(values) for test in tests]


def _record(
    groups: Sequence[Group], i: int, j: int, test: _Test, adjusted: float | None
) -> ConfigDifference:
    first, second = groups[i], groups[j]
    judges = _judges(first, second)
    differs = None
    if test.interval is not None:
        low, high = test.interval
        differs = not low <= 0.0 <= high and (adjusted is None or adjusted <= LEVEL)
    over_seeds = judges == "configs"
    stds = [float(np.std(one.accuracies, ddof=1 if over_seeds else 0)) for one in (first, second)]
    spread = (None, None) if over_seeds else _seed_std(groups, first, second)
    return ConfigDifference(
        first=first.name,
        second=second.name,
        judges=judges,
        difference=float(np.mean(first.accuracies) - np.mean(second.accuracies)),
        interval=test.interval,
        p=test.p,
        adjusted_p=adjusted,
        differs=differs,
        welch=test.welch,
        bootstrap_interval=test.bootstrap,
        seeds_needed=statistics.seeds_needed(stds[0], stds[1], POINTS) if over_seeds else None,
        seed_std=spread[0],
        seed_std_from=spread[1],
        classes=[],
        verdict="",
    )


def _seed_std(
    groups: Sequence[Group], first: Group, second: Group
) -> tuple[float, Literal["measured", "estimated"]]:
    """Return how far the seeds of one config spread: pooled over the groups with several.

    Without any, sqrt(error / (2 images)), which holds for networks that are trained until their
    learning rate is near 0 (Jordan 2023, arXiv 2304.01910); others spread wider.
    """
    several = [group.accuracies for group in groups if len(group.stored) > 1]
    if several:
        squares = sum((len(one) - 1) * np.var(one, ddof=1) for one in several)
        return math.sqrt(squares / sum(len(one) - 1 for one in several)), "measured"
    error = 1 - np.mean([*first.accuracies, *second.accuracies])
    return math.sqrt(error / (2 * first.correct.shape[1])), "estimated"
