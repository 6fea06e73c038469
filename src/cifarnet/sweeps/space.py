"""What a sweep varies: the values of each key, or their bounds."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cifarnet import config as cfg
from cifarnet.config.text import describe
from cifarnet.errors import ConfigError, JsonObject

if TYPE_CHECKING:
    from optuna import Trial
    from optuna.distributions import BaseDistribution

# What changes nothing that is trained, or the images that trials are compared on.
_FIXED = {
    "seed": "it is a repeat, never searched; list the repeats under `seeds:`",
    "name": "it names the runs",
    "data.source": "trials are compared on the same images",
    "data.path": "trials are compared on the same images",
    "data.limit": "trials are compared on the same images",
    "data.validation_fraction": "trials are compared on the same images",
    "data.test_fraction": "trials are compared on the same images",
    "data.max_unreadable": "trials are compared on the same images",
    **dict.fromkeys(cfg.UNTRAINED, "it changes nothing that is trained"),
}
_MOST_FAULTS = 20
_FORMS = "expected a list of values, {log: [LOW, HIGH]}, {float: [LOW, HIGH]} or {int: [LOW, HIGH]}"


@dataclass(frozen=True)
class Choices:
    """Some values, all of them YAML."""

    values: tuple[Any, ...]

    def extremes(self) -> list[Any]:
        """Return the values to check a config with: all."""
        return list(self.values)

    def distribution(self) -> BaseDistribution:
        """Return them as Optuna's distribution; lists and mappings as JSON text."""
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution([parameter(value) for value in self.values])

    def suggest(self, trial: Trial, key: str) -> Any:
        """Let the sampler choose, or return what it chose."""
        labels = [parameter(value) for value in self.values]
        return self.value(trial.suggest_categorical(key, labels))

    def value(self, stored: Any) -> Any:
        """Return the value of the config for a parameter of Optuna."""
        return self.values[[parameter(value) for value in self.values].index(stored)]


@dataclass(frozen=True)
class Range:
    """Numbers between two bounds, which belong to it.

    Attributes:
        step: of integers.
        log: whether the logarithm is drawn uniformly.
    """

    low: float
    high: float
    integer: bool = False
    step: int = 1
    log: bool = False

    @property
    def middle(self) -> float:
        """The value in the middle of the range, as it is drawn."""
        if self.log:
            return math.sqrt(self.low * self.high)
        half = (self.high - self.low) / 2
        return self.low + (half // self.step * self.step if self.integer else half)

    def extremes(self) -> list[Any]:
        """Return the values to check a config with: the bounds."""
        return [self.low, self.high]

    def distribution(self) -> BaseDistribution:
        """Return it as Optuna's distribution."""
        from optuna.distributions import FloatDistribution, IntDistribution

        if self.integer:
            return IntDistribution(int(self.low), int(self.high), step=self.step)
        return FloatDistribution(self.low, self.high, log=self.log)

    def suggest(self, trial: Trial, key: str) -> Any:
        """Let the sampler choose, or return what it chose."""
        if self.integer:
            return trial.suggest_int(key, int(self.low), int(self.high), step=self.step)
        return trial.suggest_float(key, self.low, self.high, log=self.log)

    def value(self, stored: Any) -> Any:
        """Return the value of the config for a parameter of Optuna."""
        return stored


Space = Mapping[str, "Choices | Range"]


def parse(vary: Mapping[str, Any], place: Mapping[str, str]) -> dict[str, Choices | Range]:
    """Check what a sweep varies.

    Args:
        vary: by dotted key.
        place: where each key was written, for errors.

    Raises:
        ConfigError: a key that may not vary, or another form.
    """
    space = {}
    with all_faults() as fault:
        for key, stated in vary.items():
            where = f"{place.get(key, '')}: vary.{key}".removeprefix(": ")
            with fault():
                _require_variable(key, vary, where)
                space[key] = _dimension(stated, where)
    return space


@contextmanager
def all_faults() -> Iterator[Callable[[], AbstractContextManager[None]]]:
    """Collect the errors of several checks, each in the context that is given; raise them as one.

    Raises:
        ConfigError: a line or more for each different one.
    """
    found: list[ConfigError] = []

    @contextmanager
    def fault() -> Iterator[None]:
        try:
            yield
        except ConfigError as error:
            found.append(error)

    yield fault
    if found:
        lines = list(dict.fromkeys(map(str, found)))
        if len(lines) > _MOST_FAULTS:
            lines[_MOST_FAULTS:] = [f"and {len(lines) - _MOST_FAULTS:,} more"]
        raise ConfigError("\n".join(lines)) from found[0]


def _require_variable(key: str, vary: Collection[str], where: str) -> None:
    if "=" in key or any(map(str.isspace, key)):  # an override would take it for another key
        raise ConfigError(
            f"{where}: expected a dotted key, such as train.learning_rate, received {key!r}"
        )
    if key == "data":
        raise ConfigError(
            f"{where} cannot vary as a whole: trials are compared on the same images. Vary a "
            "key in it, such as data.augment"
        )
    for name, reason in _FIXED.items():
        if key == name or key.startswith(f"{name}."):
            raise ConfigError(f"{where} cannot vary: {reason}")
    for other in vary:
        if key != other and key.startswith(f"{other}."):
            raise ConfigError(f"{where} is inside {other}, which varies, too. Remove one")


def grid_size(space: Space) -> int | None:
    """Return the number of combinations; None: some key has bounds, not values."""
    sizes = [len(one.values) for one in space.values() if isinstance(one, Choices)]
    return math.prod(sizes) if len(sizes) == len(space) else None


def grid(space: Space) -> list[JsonObject] | None:
    """Return every combination, the last key fastest; None: some key has bounds, not values."""
    lists = [one.values for one in space.values() if isinstance(one, Choices)]
    if len(lists) < len(space):
        return None
    return [dict(zip(space, values, strict=True)) for values in itertools.product(*lists)]


def overrides(values: Mapping[str, Any]) -> list[str]:
    """Return the values of one trial as overrides of a config."""
    return [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in values.items()]


def parameter(value: Any) -> Any:
    """Return what Optuna stores for a value of `Choices`: a scalar, or JSON text of the rest."""
    scalar = value is None or isinstance(value, bool | int | float | str)
    return value if scalar else json.dumps(value, sort_keys=True)


def _dimension(stated: Any, where: str) -> Choices | Range:
    if isinstance(stated, list):
        if not _is_finite(stated):
            raise ConfigError(f"{where}: expected finite numbers, received {describe(stated)}")
        labels = [parameter(value) for value in stated]
        if not stated or len(set(map(repr, labels))) < len(labels) or _equal(labels):
            raise ConfigError(f"{where}: expected different values, received {describe(stated)}")
        return Choices(tuple(stated))
    if not isinstance(stated, dict):
        raise ConfigError(f"{where}: {_FORMS}, received {describe(stated)}")
    kinds = [kind for kind in ("log", "float", "int") if kind in stated]
    extra = sorted(set(stated) - set(kinds) - ({"step"} if kinds == ["int"] else set()))
    if len(kinds) != 1 or extra:
        raise ConfigError(f"{where}: {_FORMS}; `step:` only with int. Received {describe(stated)}")
    low, high = _bounds(stated[kinds[0]], kinds[0], where)
    step = stated.get("step", 1)
    if kinds != ["int"]:
        return Range(float(low), float(high), log=kinds == ["log"])
    if not _is_integer(step) or step < 1 or (high - low) % step:
        raise ConfigError(
            f"{where}: expected a step that divides {high - low}, received {describe(step)}"
        )
    return Range(low, high, integer=True, step=step)


def _bounds(stated: Any, kind: str, where: str) -> tuple[float, float]:
    is_kind = _is_integer if kind == "int" else _is_number
    valid = isinstance(stated, list) and len(stated) == 2 and all(map(is_kind, stated))
    if valid and stated[0] < stated[1] and (kind != "log" or stated[0] > 0):
        return stated[0], stated[1]
    above = "above 0, " if kind == "log" else ""
    numbers = "integers" if kind == "int" else "numbers"
    raise ConfigError(
        f"{where}.{kind}: expected two {numbers}, {above}the smaller first, "
        f"received {describe(stated)}"
    )


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_finite(value: Any) -> bool:
    """Return whether JSON has every number in a value."""
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        return False
    return True


def _equal(labels: Sequence[Any]) -> bool:
    """Return whether Python takes two of the labels for equal, as it does 1, 1.0 and true."""
    return any(one == other for one, other in itertools.combinations(labels, 2))
