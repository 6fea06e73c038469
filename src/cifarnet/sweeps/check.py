"""Check a sweep before it runs: every key and bound, its number of runs, its time."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cifarnet import config as cfg
from cifarnet.callbacks import Callback, Callbacks, job
from cifarnet.errors import CifarnetError, ConfigError
from cifarnet.formatting import count
from cifarnet.sweeps import settings
from cifarnet.sweeps import space as spaces
from cifarnet.sweeps.settings import Settings

_MOST_POINTS = 1_000
_MOST_NETWORKS = 50
_MEASURED_SECONDS = 3.0
_GROUP = 4  # steps that are taken at once


@dataclass(frozen=True)
class SweepCheck:
    """A checked sweep.

    Attributes:
        name: of the sweep.
        trials: in all.
        seeds: of the runs of each.
        runs: trainings in all, `trials` times the number of seeds.
        sampler: `grid`, `tpe` or `random`.
        first, factor: of the pruning; None: no trial is pruned.
        configs: how many settings went through the config's checks.
        networks: how many different networks were built.
        seconds_per_run: of the base config on this machine, with its start, measured over some
            steps; None: its images are not here.
        seconds: of all runs, one after the other, without pruning.
        notes: what limits the estimate or the sweep.
    """

    name: str
    trials: int
    seeds: tuple[int, ...]
    runs: int
    sampler: str
    first: int | None
    factor: int | None
    configs: int
    networks: int
    seconds_per_run: float | None
    seconds: float | None
    notes: tuple[str, ...]


def check_sweep(file: str | Path, callbacks: Iterable[Callback] | None = None) -> SweepCheck:
    """Check a sweep file, and estimate what it takes.

    Every value of a list and both bounds of a range go through the config's own checks, alone and,
    of a grid up to 1,000 points, together; networks that differ are built. Then the base is trained
    for some seconds. Nothing is written.

    Args:
        file: the sweep file.
        callbacks: notified of each stage; None: show progress on a terminal.

    Raises:
        ConfigError, ModelError: with the key, what was expected and received.

    Example:
        found = cifarnet.check_sweep("rates.sweep.yaml")
        print(found.runs, found.seconds)
    """
    with job(callbacks) as report:
        report.on_stage("checking the settings")
        found = settings.read(Path(file))
        configs = _configs(found)
        networks = _networks(configs)[:_MOST_NETWORKS]
        report.on_stage("loading TensorFlow")
        from cifarnet import training

        report.on_stage(f"building {count(len(networks), 'network')}")
        for config in networks:
            training.check(config)
        seconds, notes = _measure(found, report)
        runs = found.trials * len(found.seeds)
        return SweepCheck(
            name=found.name,
            trials=found.trials,
            seeds=found.seeds,
            runs=runs,
            sampler=found.sampler,
            first=None if found.prune is None else found.prune.first,
            factor=None if found.prune is None else found.prune.factor,
            configs=len(configs),
            networks=len(networks),
            seconds_per_run=seconds,
            seconds=None if seconds is None else seconds * runs,
            notes=(*_advice(found), *notes),
        )


def require_keys(found: Settings) -> None:
    """Check that the config takes some value of each key, before all trials fail by a wrong key.

    Raises:
        ConfigError: it takes no value of a key, neither alone nor with those of the others.
    """
    for end in (0, -1):
        with suppress(ConfigError):
            _config(found, {key: one.extremes()[end] for key, one in found.space.items()})
            return
    for key, one in found.space.items():
        for value in one.extremes()[:-1]:
            with suppress(ConfigError):
                _config(found, {key: value})
                break
        else:
            _config(found, {key: one.extremes()[-1]})


def _configs(found: Settings) -> list[cfg.Config]:
    """Return the different configs of the extreme values, each alone, and of the grid."""
    alone = [{key: value} for key, one in found.space.items() for value in one.extremes()]
    points = spaces.grid(found.space) if found.sampler == "grid" else None
    configs = {}
    for tried in (alone, (points or [])[:_MOST_POINTS]):  # what fails alone fails there, too
        with spaces.all_faults() as fault:
            for values in tried:
                with fault():
                    config = _config(found, values)
                    configs[repr(config)] = config
    return list(configs.values())


def _config(found: Settings, values: Mapping[str, Any]) -> cfg.Config:
    try:
        return found.config(values, found.seeds[0], found.name)
    except ConfigError as error:
        # The first line names the base, which is not at fault; each problem names its override.
        first, *problems = str(error).split("\n  -o ")
        listed = f"{', '.join(spaces.overrides(values))}: " if len(values) > 1 else ""
        raise ConfigError(
            "\n".join(f"{found.file}: vary: {listed}{one}" for one in problems or [first])
        ) from error


def _networks(configs: list[cfg.Config]) -> list[cfg.Config]:
    """Return a config for each different network, and what must fit it."""
    different: dict[str, cfg.Config] = {}
    for config in configs:
        train = config.train
        teacher = train.distill and train.distill.teacher
        must_fit = train.resolution, train.freeze, train.muon is not None, teacher
        different.setdefault(repr((config.model, config.data.image_size, must_fit)), config)
    return list(different.values())


def _measure(found: Settings, report: Callbacks) -> tuple[float | None, list[str]]:
    """Return the seconds of a run of the base: its start, and its epochs at the speed of some."""
    from cifarnet import data
    from cifarnet.backend import default_settings
    from cifarnet.training import distillation, precision

    report.on_stage("measuring the base config")
    start = time.perf_counter()
    config = found.base
    with default_settings():
        try:
            teacher_file = distillation.open_teacher(config, report)
            dataset = data.load(config.data, config.seed, report.on_fetch)
        except CifarnetError as error:
            return None, [f"the time is not known: {error}"]
        if config.train.precision == "auto":
            chosen = precision.choose().chosen
            train = config.train.model_copy(update={"precision": chosen})
            config = config.model_copy(update={"train": train})
        config, teacher = distillation.prepare(config, dataset, teacher_file)
        trainer: Any = distillation.trainer(config, dataset, teacher)
        trainer.steps(min(_GROUP, trainer.left))  # traces
        first, before = time.perf_counter() - start, trainer.step
        start, spent = time.perf_counter(), 0.0
        while spent < _MEASURED_SECONDS and trainer.left:
            trainer.steps(min(_GROUP, trainer.left))
            spent = time.perf_counter() - start
    steps = trainer.step - before
    if steps == 0:
        return first, ["the base trains only some steps"]
    pixels = trainer.resolution.pixels
    whole = pixels(0, trainer.total_steps) / pixels(before, trainer.step)
    return first + spent * whole, [
        f"the time is that of the base, measured over {steps} steps, without validation and the "
        "import of TensorFlow; settings that change the network take another"
    ]


def _advice(found: Settings) -> list[str]:
    notes = []
    if found.prune is not None:
        least = max(2, math.ceil(found.base.train.epochs / 5))
        notes.append("pruned trials take less than the stated time")
        if found.prune.first < least:
            notes.append(
                f"prune.first: {found.prune.first} decides on noise; {least} or later is advised"
            )
    if len(found.seeds) == 1:
        notes.append("one seed per trial: differences within the spread of seeds are luck")
    return notes
