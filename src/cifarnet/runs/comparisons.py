"""The record of a comparison of runs, `compare.json`, and its parts."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from cifarnet.errors import ConfigError
from cifarnet.runs.documents import Count, Number, Part, Record


class ComparedRun(Part):
    """One training: its run, seed, accuracy with its 95 % interval (Wilson), and weights."""

    run: str
    path: str
    seed: Count
    accuracy: Number
    accuracy_interval: list[Number]
    weights_sha256: str


class ComparedPair(Part):
    """Two runs of one config: the difference of accuracies, its interval, McNemar's mid-p."""

    first: str
    second: str
    difference: Number
    interval: list[Number]
    p: Number


class ComparedGroup(Part):
    """The runs of one config, which differ in their seeds.

    What needs two seeds is None with one.

    Attributes:
        config_digest: SHA-256 of what determines the trained weights, without the seed.
        changes: how the config differs from the first group's.
        accuracy, accuracy_interval: mean over the seeds, and its t interval.
        std, std_interval: standard deviation over the seeds, and its chi-square interval.
        flip_std: the standard deviation that independent flips of test images alone would give.
        std_ratio: `std` by `flip_std`; None also if that is 0.
        seeds_needed: seeds per config that would show a difference of 0.2 points between two
            configs with this deviation; None also above 100,000.
        seeds_needed_interval: the same for the ends of `std_interval`.
        pairs: every two runs, compared as weights.
        pairs_different: how many of them have a p of at most 0.05, unadjusted.
        verdict: what the pairs mean, in a sentence.
    """

    name: str
    config_digest: str
    changes: list[str]
    runs: list[ComparedRun]
    accuracy: Number
    accuracy_interval: list[Number] | None
    std: Number | None
    std_interval: list[Number] | None
    flip_std: Number | None
    std_ratio: Number | None
    seeds_needed: Count | None
    seeds_needed_interval: list[Count | None] | None
    pairs: list[ComparedPair]
    pairs_different: Count | None
    verdict: str


class ClassDifference(Part):
    """The difference of two groups on the images of one class; the interval is not adjusted."""

    name: str = Field(alias="class")
    images: Count
    difference: Number
    interval: list[Number] | None


class Welch(Part):
    """Welch's t test over the seeds: 95 % interval of the difference, and p."""

    interval: list[Number]
    p: Number


class ConfigDifference(Part):
    """Two groups compared.

    Attributes:
        judges: `weights`: of one run each, two weight files; `configs`: of several seeds each, two
            configs; `nothing`: one run against several, which is neither.
        difference: accuracy of the first less that of the second.
        interval: of weights that of Agresti and Min; of configs at each end the wider one of
            `welch` and `bootstrap_interval`; None if nothing is judged, or without `welch`.
        p: of weights McNemar's mid-p; of configs Welch's.
        welch: None also if the accuracies of each group are equal, so that their spread is unknown.
        adjusted_p: for the number of comparisons (Holm); None if p is.
        differs: whether the interval excludes 0 and `adjusted_p` is at most 0.05.
        bootstrap_interval: of the hierarchical bootstrap over seeds and images.
        seeds_needed: as of a group, with the deviations of both; None with one seed.
        seed_std: standard deviation over the seeds of one config, for comparison with a difference
            of weights; None if configs are judged.
        seed_std_from: `measured`: of the groups with several seeds; `estimated`: from the accuracy,
            as sqrt(error / (2 images)).
        classes: by class; exploratory.
        verdict: what may be concluded, in a sentence.
    """

    first: str
    second: str
    judges: Literal["weights", "configs", "nothing"]
    difference: Number
    interval: list[Number] | None
    p: Number | None
    adjusted_p: Number | None
    differs: bool | None
    welch: Welch | None
    bootstrap_interval: list[Number] | None
    seeds_needed: Count | None
    seed_std: Number | None
    seed_std_from: Literal["measured", "estimated"] | None
    classes: list[ClassDifference]
    verdict: str


class Comparison(Record):
    """`compare.json`: groups of runs, and their differences, two by two.

    Attributes:
        digest: SHA-256 of the images and labels.
        notes: what limits the conclusions.
    """

    SCALARS = ("difference", "p", "accuracy", "std", "std_ratio")

    split: str
    tta: str
    images: Count
    data: str
    digest: str
    groups: list[ComparedGroup]
    differences: list[ConfigDifference]
    notes: list[str]

    def scalars(self) -> dict[str, float | None]:
        """Return difference and p of the only two groups, or the figures of the only group.

        Raises:
            ConfigError: there are more than two groups.
        """
        if len(self.groups) > 2:
            names = ", ".join(group.name for group in self.groups)
            raise ConfigError(
                f"a requirement needs one group or two, received {len(self.groups)}: {names}. Give "
                "the two sides: cifarnet compare RUN... vs RUN..."
            )
        found: dict[str, float | None] = dict.fromkeys(self.SCALARS)
        if len(self.groups) == 1:
            (group,) = self.groups
            own = ("accuracy", "std", "std_ratio")
            return {**found, **{name: getattr(group, name) for name in own}}
        (both,) = self.differences
        known = both.interval is not None
        return {**found, "difference": both.difference if known else None, "p": both.p}

    def why_missing(self, scalar: str) -> str:
        """Say what the number needs: one group, two, or several seeds of each."""
        if scalar not in self.SCALARS:
            return super().why_missing(scalar)
        if scalar not in ("difference", "p"):
            return f"it is of a group that is compared alone, received {len(self.groups)} groups"
        if len(self.groups) == 1:
            return (
                "it needs two groups, and all runs have one config. Give the two sides: cifarnet "
                "compare RUN... vs RUN..."
            )
        return f"it needs what can be judged: {self.differences[0].verdict}"

    def intervals(self) -> dict[str, tuple[float, float]]:
        """Return the intervals of the difference, and of the figures of the only group."""
        one = self.groups[0]
        found = {
            "difference": self.differences[0].interval if self.differences else None,
            "accuracy": one.accuracy_interval,
            "std": one.std_interval,
        }
        return {name: (ends[0], ends[1]) for name, ends in found.items() if ends is not None}
