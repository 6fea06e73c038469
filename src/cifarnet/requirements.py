"""Requirements on the numbers of a result, such as `accuracy>=0.9`."""

from __future__ import annotations

import math
import re
from typing import NamedTuple

from cifarnet.errors import ConfigError, GateError
from cifarnet.runs.documents import CostRecord, Record

_OPERATORS = {
    ">=": lambda a, b: a >= b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    "<": lambda a, b: a < b,
}


class Requirement(NamedTuple):
    """A number of a result, `>=`, `<=`, `>` or `<`, and a bound."""

    metric: str
    operator: str
    bound: float


def parse(text: str, *kinds: type[Record]) -> Requirement:
    """Parse a requirement such as `accuracy>=0.9` on a number of these records or of their cost.

    Raises:
        ConfigError: it has another form, or none of the records has such a number.
    """
    known = [name for kind in kinds for name in kind.SCALARS]
    known += CostRecord.SCALARS
    match = re.fullmatch(r"\s*(\S+?)\s*(>=|<=|>|<)\s*(\S+)\s*", text)
    try:
        metric, operator, value = match.groups() if match else ("", "", "")
        bound = float(value)
        if not math.isfinite(bound):
            raise ValueError(f"{value} is not finite")
    except ValueError as error:
        raise ConfigError(
            f"requirement {text!r}: expected a metric, a comparison and a number, such as "
            f'"{known[0]}>=0.9"'
        ) from error
    if metric not in known:
        raise ConfigError(f"requirement {text!r}: expected one of {', '.join(known)}")
    return Requirement(metric, operator, bound)


def check(text: str, *records: Record) -> None:
    """Require that a result meets a requirement such as `accuracy>=0.9`.

    A number with an interval in `Record.intervals` meets it only if the whole interval does.

    Raises:
        GateError: it is not met.
        ConfigError: as for `parse`, or the number was not measured.
    """
    metric, operator, bound = parse(text, *(type(record) for record in records))
    value = measured_value(text, *records)
    intervals = {name: ends for one in records for name, ends in one.intervals().items()}
    measured = f"measured {value:.4f}"
    if metric in intervals:
        low, high = intervals[metric]
        measured += f", 95 % interval {low:.4f} to {high:.4f}, all of which must meet it"
        value = low if operator.startswith(">") else high
    if not _OPERATORS[operator](value, bound):
        raise GateError(f"required {metric} {operator} {bound:g}, {measured}")


def measured_value(text: str, *records: Record) -> float:
    """Return the number that a requirement is about.

    Raises:
        ConfigError: as for `parse`, or the number was not measured.
    """
    metric = parse(text, *(type(record) for record in records)).metric
    record, values = next((one, numbers) for one in records if metric in (numbers := _numbers(one)))
    value = values[metric]
    if value is None:
        raise ConfigError(f"the result has no {metric}: {record.why_missing(metric)}")
    return value


def _numbers(record: Record) -> dict[str, float | None]:
    cost = record.cost or CostRecord()
    return {**{name: getattr(cost, name) for name in cost.SCALARS}, **record.scalars()}
