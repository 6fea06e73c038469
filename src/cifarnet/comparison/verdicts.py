"""What may be concluded from a difference, in a sentence."""

from __future__ import annotations

import math

from cifarnet.runs.comparisons import ConfigDifference


def of_difference(found: ConfigDifference, comparisons: int, single: str) -> str:
    """Return the verdict on two groups.

    Args:
        found: their difference.
        comparisons: how many p is adjusted for.
        single: the group with the fewest seeds.
    """
    both = f"{found.first} and {found.second}"
    difference = f"difference {points(found.difference)} points"
    if found.judges == "nothing":
        return (
            f"{both} cannot be judged as configs: one of them has one seed ({difference}; "
            f"{_spread(found)}). Train more seeds of {single}"
        )
    if found.interval is None:
        return (
            f"{both} cannot be judged as configs: the seeds of each have exactly one accuracy "
            f"({difference}), so that their spread is unknown. Train more seeds of {single}"
        )
    low, high = found.interval
    shown = "differ" if found.differs else "are not shown to differ"
    figures = f"{difference}, 95 % interval {points(low)} to {points(high)}{_p(found, comparisons)}"
    verdict = f"{both} {shown} as {found.judges} ({figures})"
    if found.judges == "configs":
        return verdict
    return (
        f"{verdict}. This judges the accuracy alone, of two weight files, not two configs: "
        f"{_spread(found)}. Train several seeds of each to judge the configs"
    )


def points(value: float) -> str:
    """Format a difference of accuracies in percentage points, with its sign."""
    return f"{100 * value:+.2f}"


def _p(found: ConfigDifference, comparisons: int) -> str:
    if found.p is None:
        return ""
    name = "McNemar mid-p" if found.judges == "weights" else "Welch p"
    adjusted = f", {found.adjusted_p:.2g} adjusted for {comparisons} comparisons"
    value = f"{found.p:.2g}" if found.p else "below 1e-300"
    return f", {name} {value}{adjusted if comparisons > 1 else ''}"


def _spread(found: ConfigDifference) -> str:
    """Return how far two seeds of one config differ: mean and 95 % point of normal differences."""
    assert found.seed_std is not None  # noqa: S101
    typical = 2 * found.seed_std / math.sqrt(math.pi)
    most = 1.959964 * math.sqrt(2) * found.seed_std
    basis = (
        "measured here"
        if found.seed_std_from == "measured"
        else ("estimated from the accuracy, for networks trained until the learning rate is near 0")
    )
    return (
        f"two seeds of one config typically differ by {100 * typical:.2f} points, 1 pair in 20 by "
        f"more than {100 * most:.2f} ({basis})"
    )
