"""Groups of runs of one config, and the spread of their seeds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from cifarnet import config as cfg
from cifarnet import runs, statistics
from cifarnet.comparison.stored import Stored
from cifarnet.config.text import brief
from cifarnet.errors import ConfigError
from cifarnet.runs.comparisons import ComparedGroup, ComparedPair, ComparedRun

POINTS = 0.002  # the difference that `seeds_needed` is about
LEVEL = 0.05
_MAX_NAME = 60  # characters


@dataclass(frozen=True)
class Group:
    """Runs of one config.

    Attributes:
        digest: of what determines the trained weights, without the seed.
        name: of the config, made unique among the groups.
    """

    digest: str
    name: str
    stored: tuple[Stored, ...]

    @property
    def config(self) -> cfg.Config:
        """The config of the first run."""
        return self.stored[0].config

    @property
    def correct(self) -> np.ndarray:
        """Whether each run is right on each image: bool [runs, images]."""
        return np.stack([one.correct for one in self.stored])

    @property
    def accuracies(self) -> list[float]:
        """The accuracy of each run."""
        return [one.accuracy for one in self.stored]


def by_config(stored: Sequence[Stored]) -> list[Group]:
    """Group runs by their configs, in the order given."""
    found: dict[str, list[Stored]] = {}
    for one in stored:
        found.setdefault(cfg.recipe_digest(one.config), []).append(one)
    return _named([Group(digest, "", tuple(same)) for digest, same in found.items()])


def by_side(first: Sequence[Stored], second: Sequence[Stored]) -> list[Group]:
    """Group runs by the sides of `vs`.

    Raises:
        ConfigError: a side has runs of several configs.
    """
    groups = []
    for side, place in ((first, "before"), (second, "after")):
        mixed = by_config(side)
        if len(mixed) > 1:
            one, other = mixed[:2]
            raise ConfigError(
                f"expected runs of one config {place} `vs`, received {len(mixed)} configs: "
                f"{one.stored[0].name} and {other.stored[0].name} differ in "
                f"{'; '.join(_changes(one.config, other.config)) or 'data.path'}. Leave out `vs` "
                "to group the runs by config"
            )
        groups += mixed
    return _named(groups)


def _changes(old: cfg.Config, new: cfg.Config) -> list[str]:
    """Return how a config differs, such as `train.epochs: 4 -> 10`."""
    return [
        f"{key}: {brief(a)} -> {brief(b)}" for key, (a, b) in cfg.recipe_changes(old, new).items()
    ]


def _named(groups: Sequence[Group]) -> list[Group]:
    """Name groups after their configs; equal names also by what differs, or else by a number."""
    names = [_distinct(group, groups) for group in groups]
    if len(set(names)) < len(names) or max(map(len, names)) > _MAX_NAME:
        shared = Counter(group.config.name for group in groups)
        names = [
            group.config.name if shared[group.config.name] == 1 else f"{group.config.name} ({i})"
            for i, group in enumerate(groups, 1)
        ]
    return [replace(group, name=name) for group, name in zip(groups, names, strict=True)]


def _distinct(group: Group, groups: Sequence[Group]) -> str:
    values = {
        key: new
        for one in groups
        if one.config.name == group.config.name
        for key, (_, new) in cfg.recipe_changes(one.config, group.config).items()
    }
    listed = ", ".join(f"{key}={brief(value)}" for key, value in values.items())
    return f"{group.config.name} ({listed})" if listed else group.config.name


# --- the spread of seeds --------------------------------------------------------------


def describe(group: Group, first: Group) -> ComparedGroup:
    """Compute the figures of a group.

    Args:
        group: runs of one config.
        first: the group that its config is compared with.
    """
    accuracies = group.accuracies
    several = len(accuracies) > 1
    std = float(np.std(accuracies, ddof=1)) if several else None
    flips = statistics.flip_std(group.correct)
    ends = statistics.std_interval(accuracies)
    pairs = _pairs(group)
    return ComparedGroup(
        name=group.name,
        config_digest=group.digest,
        changes=_changes(first.config, group.config),
        runs=[_run(one) for one in group.stored],
        accuracy=float(np.mean(accuracies)),
        accuracy_interval=_list(statistics.mean_interval(accuracies)),
        std=std,
        std_interval=_list(ends),
        flip_std=flips,
        std_ratio=std / flips if std is not None and flips else None,
        seeds_needed=_seeds_needed(std),
        seeds_needed_interval=[_seeds_needed(end) for end in ends] if ends else None,
        pairs=pairs,
        pairs_different=sum(pair.p <= LEVEL for pair in pairs) if several else None,
        verdict=_verdict(group, pairs),
    )


def _seeds_needed(std: float | None) -> int | None:
    return None if std is None else statistics.seeds_needed(std, std, POINTS)


def _run(one: Stored) -> ComparedRun:
    return ComparedRun(
        run=one.name,
        path=str(one.run.path),
        seed=one.config.seed,
        accuracy=one.accuracy,
        accuracy_interval=list(statistics.wilson(int(one.correct.sum()), len(one.correct))),
        weights_sha256=one.evaluation.about.weights_sha256 or runs.weights_digest(one.run),
    )


def _pairs(group: Group) -> list[ComparedPair]:
    found = []
    for one, other in combinations(group.stored, 2):
        cells = discordant(one.correct, other.correct)
        found.append(
            ComparedPair(
                first=one.name,
                second=other.name,
                difference=one.accuracy - other.accuracy,
                interval=list(statistics.paired_interval(*cells, len(one.correct))),
                p=statistics.mcnemar(*cells),
            )
        )
    return found


def _verdict(group: Group, pairs: Sequence[ComparedPair]) -> str:
    number = len(group.stored)
    if number == 1:
        return f"{group.name} has one seed, so how far its seeds differ is unknown"
    different = sum(pair.p <= LEVEL for pair in pairs)
    pairs_text = f"{different} of their {len(pairs):,} pairs differ in accuracy"
    if len(pairs) == 1:
        pairs_text = f"the two {'differ' if different else 'are not shown to differ'} in accuracy"
    return (
        f"The {number} runs of {group.name} are seeds of one config, so they do not differ as "
        f"configs; as weights {pairs_text} (McNemar mid-p at most {LEVEL:g}): that is the spread "
        "of seeds"
    )


def discordant(first: np.ndarray, second: np.ndarray) -> tuple[int, int]:
    """Count the images that only the first, and that only the second gets right."""
    return int((first & ~second).sum()), int((second & ~first).sum())


def _list(interval: tuple[float, float] | None) -> list[float] | None:
    return None if interval is None else list(interval)
