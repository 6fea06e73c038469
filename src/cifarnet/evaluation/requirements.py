"""Requirements on metrics, such as `accuracy>=0.9`."""

from __future__ import annotations

import math
import re

from cifarnet.errors import ConfigError, GateError
from cifarnet.runs import Evaluation

_OPERATORS = {
    ">=": lambda a, b: a >= b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    "<": lambda a, b: a < b,
}
SCALARS = (
    "accuracy",
    "balanced_accuracy",
    "macro_f1",
    "top5_accuracy",
    "loss",
    "expected_calibration_error",
)


def parse_requirement(text: str) -> tuple[str, str, float]:
    """Split a requirement such as `accuracy>=0.9` into metric, operator and value.

    Raises:
        ConfigError: it has another form, or there is no such metric.
    """
    match = re.fullmatch(r"\s*(\w+)\s*(>=|<=|>|<)\s*(\S+)\s*", text)
    try:
        metric, operator, value = match.groups() if match else ("", "", "")
        bound = float(value)
        if not math.isfinite(bound):
            raise ValueError(f"{value} is not finite")
    except ValueError as error:
        raise ConfigError(
            f"requirement {text!r}: expected a metric, a comparison and a number, such as "
            '"accuracy>=0.9"'
        ) from error
    if metric not in SCALARS:
        raise ConfigError(f"requirement {text!r}: expected one of {', '.join(SCALARS)}")
    return metric, operator, bound


def check(evaluation: Evaluation, requirement: str) -> None:
    """Require that an evaluation meets a requirement such as `accuracy>=0.9`.

    Raises:
        GateError: it is not met.
        ConfigError: as for `parse_requirement`.
    """
    metric, operator, bound = parse_requirement(requirement)
    value = getattr(evaluation, metric)
    if value is None:
        raise ConfigError(f"the evaluation has no {metric}; evaluate again to measure it")
    if not _OPERATORS[operator](value, bound):
        raise GateError(f"required {metric} {operator} {bound:g}, measured {value:.4f}")
