"""What a job costs: time, energy where it is measured, carbon where the user states the grid.

Nothing is estimated from constants: what is neither measured nor stated by the user is None.
"""

from __future__ import annotations

import functools
import math
import re
import threading
import time
import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from cifarnet import system, worker
from cifarnet.errors import ConfigError
from cifarnet.formatting import count, duration
from cifarnet.runs.documents import CostRecord

# Linux' power capping framework; Intel's and AMD's counters (RAPL) both have the zone `intel-rapl`.
POWERCAP = Path("/sys/class/powercap")
# More than any processor package draws. Decides only whether a counter could have wrapped unseen.
_MOST_WATTS = 2_000.0
_SAMPLE_SECONDS = 10.0  # counters wrap after 65 kJ or more: 32 s at the most watts
_JOULES_PER_KWH = 3.6e6


@dataclass(frozen=True)
class Power:
    """What the user knows of the machine and its electricity; nothing is assumed.

    Attributes:
        watts: lowest and highest power of the machine while it works; None: not known.
        grams_per_kwh: CO2-equivalent of its electricity, grams per kWh; None: not known.

    Raises:
        ConfigError: a number is negative or not finite, or the lowest is above the highest.

    Example:
        run = cifarnet.train("article", power=cifarnet.Power(watts=(60, 90), grams_per_kwh=380))
    """

    watts: tuple[float, float] | None = None
    grams_per_kwh: float | None = None

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.watts is not None and not (
            len(self.watts) == 2
            and all(map(_is_amount, self.watts))
            and self.watts[0] <= self.watts[1]
        ):
            raise ConfigError(
                "watts: expected the lowest and the highest power such as 60:90, "
                f"received {':'.join(f'{one:g}' for one in self.watts)}"
            )
        if self.grams_per_kwh is not None and not _is_amount(self.grams_per_kwh):
            raise ConfigError(
                "grams_per_kwh: expected grams of CO2-equivalent per kWh such as 380, "
                f"received {self.grams_per_kwh:g}"
            )


def _is_amount(value: float) -> bool:
    return math.isfinite(value) and 0.0 <= value <= 1e9


class Meter:
    """Measures a job from its construction on.

    Time and energy include what the process or the machine does at the same time.

    Example:
        meter = Meter()
        ...
        record = record.replace(cost=meter.read())
    """

    def __init__(self, power: Power | None = None, earlier: CostRecord | None = None) -> None:
        """Start.

        Args:
            power: what the user stated.
            earlier: cost of earlier sessions of the same job, which is added.
        """
        self._power = power or Power()
        self._earlier = earlier
        self._energy = PackageEnergy(POWERCAP)
        self._processor = worker.processor_seconds()
        self._start = time.perf_counter()

    def read(self) -> CostRecord:
        """Return the cost until now; it may be read again later."""
        wall = time.perf_counter() - self._start
        joules, note = self._energy.read()
        watts, grid = self._power.watts, self._power.grams_per_kwh
        declared = None if watts is None else [round(wall * one, 3) for one in watts]
        # Stated watts are of the whole machine; the counters' energy is of the packages alone.
        energy = declared or (None if joules is None else [joules, joules])
        carbon = None if grid is None or energy is None else _grams(energy, grid)
        cost = CostRecord(
            wall_seconds=round(wall, 3),
            processor_seconds=round(worker.processor_seconds() - self._processor, 3),
            cores=system.usable_cores(),
            energy_joules=joules,
            energy_note=note,
            declared_watts=None if watts is None else list(watts),
            declared_joules=declared,
            grams_per_kwh=grid,
            carbon_grams=carbon,
        )
        return cost if self._earlier is None else total([self._earlier, cost])


def _grams(joules: list[float], grams_per_kwh: float) -> list[float]:
    return [one / _JOULES_PER_KWH * grams_per_kwh for one in joules]


_SUMS = ("wall_seconds", "processor_seconds", "energy_joules", "declared_joules", "carbon_grams")
_STATED = ("declared_watts", "grams_per_kwh")


def total(costs: Iterable[CostRecord]) -> CostRecord:
    """Add costs, without `macs_trained`.

    A sum is None if a part of it is. What differs between them is None, except `cores`, which are
    the last one's.
    """
    return functools.reduce(_add, costs)


def _add(one: CostRecord, other: CostRecord) -> CostRecord:
    notes = dict.fromkeys(note for note in (one.energy_note, other.energy_note) if note)
    same = [name for name in _STATED if getattr(one, name) == getattr(other, name)]
    return CostRecord(
        cores=other.cores,
        energy_note="; ".join(notes),
        **{name: _sum(getattr(one, name), getattr(other, name)) for name in _SUMS},
        **{name: getattr(one, name) for name in same},
    )


def _sum(one: Any, other: Any) -> Any:
    """Add two numbers or two ranges; None if either is None."""
    if one is None or other is None:
        return None
    if isinstance(one, list):
        return [sum(pair) for pair in zip(one, other, strict=True)]
    return round(one + other, 3)


def describe(cost: CostRecord) -> str:
    """Describe a cost in one line."""
    wall, processor, macs = cost.wall_seconds, cost.processor_seconds, cost.macs_trained
    times = [
        "unknown time" if wall is None else duration(wall),
        "unknown processor time" if processor is None else f"{processor:,.1f} processor seconds",
    ]
    if cost.cores is not None:
        times[-1] += f" on {count(cost.cores, 'core')}"
    if macs is not None:
        times.append(f"{macs:.2g} multiply-accumulates trained")
    return "; ".join([", ".join(times), *_describe_energy(cost)])


def _describe_energy(cost: CostRecord) -> list[str]:
    found = []
    if cost.energy_joules is not None:
        found.append(f"{cost.energy_joules:,.0f} J ({cost.energy_note})")
    if cost.declared_joules is not None:
        low, high = cost.declared_joules
        found.append(f"{low:,.0f} to {high:,.0f} J at the stated watts")
    if cost.carbon_grams is not None:
        texts = dict.fromkeys(f"{one:.3g}" for one in cost.carbon_grams)
        found.append(f"{' to '.join(texts)} g of CO2-equivalent")
    return found or [f"energy unknown: {cost.energy_note or 'not recorded'}"]


# --- energy ---------------------------------------------------------------------------


class _Package(NamedTuple):
    """A processor package: its name, its counter's file, and where that wraps, microjoules."""

    name: str
    counter: Path
    range: int

    def read(self) -> int:
        return int(self.counter.read_text())


class PackageEnergy:
    """Energy of all processor packages from construction on, by Linux' RAPL counters.

    https://docs.kernel.org/power/powercap/powercap.html. Without memory, disks, fans and power
    supply, and with all work on the machine. A thread reads the counters often enough to see
    every wrap.
    """

    def __init__(self, folder: Path) -> None:
        """Start; `folder` is where the kernel shows the counters."""
        self._lock = threading.Lock()
        self._unknown = ""
        self._microjoules = 0
        self._time = time.monotonic()
        try:
            self._packages = _packages(folder)
            self._values = [package.read() for package in self._packages]
        except (OSError, ValueError) as error:
            self._unknown = f"the RAPL counter cannot be read: {error}"
            return
        if not self._packages:
            self._unknown = "this machine shows no RAPL counter"
            return
        threading.Thread(target=_follow, args=(weakref.ref(self),), daemon=True).start()

    def read(self) -> tuple[float | None, str]:
        """Return the joules until now and of what, or None and why they are unknown."""
        with self._lock:
            if not self._unknown:
                self._sample()
            if self._unknown:
                return None, self._unknown
            names = ", ".join(package.name for package in self._packages)
            return round(self._microjoules / 1e6, 3), f"RAPL of {names}, all work on the machine"

    def _sample(self) -> None:
        try:
            values = [package.read() for package in self._packages]
        except (OSError, ValueError) as error:
            self._unknown = f"the RAPL counter cannot be read: {error}"
            return
        now = time.monotonic()
        seconds, self._time = now - self._time, now
        for package, before, value in zip(self._packages, self._values, values, strict=True):
            grown = value - before
            if value < before:
                grown += package.range
            most = 1e6 * _MOST_WATTS * seconds
            if most >= package.range:
                self._unknown = "the RAPL counter may have wrapped unseen"
            elif value < before and grown > most + 1e6 * _MOST_WATTS:  # it lags up to a second
                self._unknown = "the RAPL counter was reset"
            self._microjoules += grown
        self._values = values


def _follow(reference: weakref.ref[PackageEnergy]) -> None:
    """Read the counters until nobody else refers to them or they are unknown."""
    while (energy := reference()) is not None and energy.read()[0] is not None:
        del energy
        time.sleep(_SAMPLE_SECONDS)


def _packages(folder: Path) -> list[_Package]:
    """Return the packages. Their parts (`intel-rapl:0:0`) and `psys` would count them twice."""
    found = []
    for zone in sorted(folder.glob("intel-rapl:*")):
        if re.fullmatch(r"intel-rapl:\d+", zone.name):
            name = (zone / "name").read_text().strip()
            if name.startswith("package"):
                most = int((zone / "max_energy_range_uj").read_text())
                found.append(_Package(name, zone / "energy_uj", most))
    return found
