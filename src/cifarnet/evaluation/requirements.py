"""Requirements on metrics, such as `accuracy>=0.9`."""

from __future__ import annotations

import re

from cifarnet.errors import ConfigError, GateError
from cifarnet.runs import Evaluation

_OPERATORS = {
    ">=": lambda a, b: a >= b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    "<": lambda a, b: a < b,
}
SCALARS = ("accuracy", "top5_accuracy", "loss", "expected_calibration_error")


def parse_requirement(text: str) -> tuple[str, str, float]:
    """`accuracy>=0.9` -> its metric, operator and value.

    Raises:
        ConfigError: another form, or a metric that does not exist.
    """
    match = re.fullmatch(r"\s*(\w+)\s*(>=|<=|>|<)\s*(\S+)\s*", text)
    try:
        metric, operator, value = match.groups() if match else ("", "", "")
        wanted = float(value)
    except ValueError as error:
        raise ConfigError(
            f"requirement {text!r}: expected a metric, a comparison and a number, such as "
            '"accuracy>=0.9"'
        ) from error
    if metric not in SCALARS:
        raise ConfigError(f"requirement {text!r}: expected one of {', '.join(SCALARS)}")
    return metric, operator, wanted


def check(evaluation: Evaluation, requirement: str) -> None:
    """Require that an evaluation meets a requirement such as `accuracy>=0.9`.

    Raises:
        GateError: it is not met.
        ConfigError: as for `parse_requirement`.
    """
    metric, operator, wanted = parse_requirement(requirement)
    value = float(getattr(evaluation, metric))
    if not _OPERATORS[operator](value, wanted):
        raise GateError(f"required {metric} {operator} {wanted:g}, measured {value:.4f}")
