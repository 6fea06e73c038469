"""Read a sweep file: what it starts from, what it varies, how often, and how it chooses."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pydantic
from pydantic import Field, StrictInt, StrictStr

from cifarnet import config as cfg
from cifarnet.config import messages, yaml_file
from cifarnet.config.schema import Section
from cifarnet.config.shipped import shipped_path
from cifarnet.errors import ConfigError, JsonObject
from cifarnet.runs.sweeps import Halving
from cifarnet.sweeps import space as spaces
from cifarnet.sweeps.space import Space

MOST_TRIALS = 100_000
# With `<name>-<trial>-seed<seed>` the name of a run stays below 64 characters.
_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,39}$"
_Seed = StrictInt


class _Prune(Section):
    kind: Literal["halving"]
    first: StrictInt | None = Field(None, ge=1)
    factor: StrictInt = Field(3, ge=2, le=10)


class _File(Section):
    """The keys of a sweep file."""

    base: StrictStr = Field(min_length=1)
    name: StrictStr | None = Field(None, pattern=_NAME)
    vary: dict[str, Any] = Field(min_length=1)
    seeds: tuple[_Seed, ...] | None = Field(None, min_length=1)
    trials: StrictInt | None = Field(None, ge=1, le=MOST_TRIALS)
    sampler: Literal["tpe", "random"] | None = None
    prune: _Prune | None = None


@dataclass(frozen=True)
class Settings:
    """A checked sweep file.

    Attributes:
        name: of the sweep.
        file: where it was read from.
        base: the config that the trials change.
        vary: as in the file; `space` is the same, parsed.
        seeds: of the runs of each trial.
        trials: in all.
        sampler: `grid`, `tpe` or `random`.
        prune: None: no trial is pruned.
    """

    name: str
    file: Path
    base: cfg.Config
    vary: JsonObject
    space: Space
    seeds: tuple[int, ...]
    trials: int
    sampler: Literal["grid", "tpe", "random"]
    prune: Halving | None

    @property
    def digest(self) -> str:
        """SHA-256 of all that determines the trials, but for the folder of images.

        That may be another one on each machine that shares a database.
        """
        document = [
            self.base.model_dump(mode="json", exclude={"name": True, "data": {"path"}}),
            list(self.vary.items()),
            self.seeds,
            self.trials,
            self.sampler,
            None if self.prune is None else [self.prune.first, self.prune.factor],
        ]
        return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()

    def config(self, values: Mapping[str, Any], seed: int, name: str) -> cfg.Config:
        """Return the config of one run.

        Raises:
            ConfigError: the values do not go together.
        """
        return trial_config(self.base, values, seed, name)


def trial_config(base: cfg.Config, values: Mapping[str, Any], seed: int, name: str) -> cfg.Config:
    """Return the base config with the values of a trial, a seed and a name."""
    return cfg.override(base, [*spaces.overrides(values), f"seed={seed}", f"name={name}"])


def read(path: Path) -> Settings:
    """Read and check a sweep file; the values of its keys are checked by `check`.

    Raises:
        ConfigError: with the file, line and key, and what was expected and received.
    """
    try:
        document, places = yaml_file.read(path)
    except FileNotFoundError as error:
        raise ConfigError(
            f"there is no sweep file {path}. It states base:, vary: and trials:; see docs/sweeps.md"
        ) from error
    stated = _validate(path, document, places)
    with spaces.all_faults() as fault:
        with fault():
            name = _name(path, stated)
        with fault():
            written = {key: places.get(("vary", key), str(path)) for key in stated.vary}
            space = spaces.parse(stated.vary, written)
            trials, sampler = _trials(path, stated, space)
        with fault():
            base = _base(path, stated.base)
            with fault():
                seeds = _seeds(path, stated, base)
            with fault():
                prune = _prune(path, stated, base)
    return Settings(
        name=name,
        file=path,
        base=base,
        vary=stated.vary,
        space=space,
        seeds=seeds,
        trials=trials,
        sampler=sampler,
        prune=prune,
    )


def _validate(path: Path, document: JsonObject, places: Mapping[Any, str]) -> _File:
    sections = set(cfg.Config.model_fields) - {*_File.model_fields, "seed"}
    misplaced = [key for key in document if key.partition(".")[0] in sections]
    lines = [
        f"{places.get((key,), path)}: {key}: a key of the config. To vary it, write it dotted "
        "under `vary:`, such as `train.learning_rate: [0.1, 0.2]`; to set it, write it in the base"
        for key in misplaced
    ]
    try:
        stated = _File.model_validate({k: v for k, v in document.items() if k not in misplaced})
        cause = None
    except pydantic.ValidationError as error:
        lines += messages.lines(error, document, places)
        cause = error
    if lines:
        listed = [f"  {line}" for line in lines]
        raise ConfigError("\n".join([f"{path} is not a valid sweep:", *listed])) from cause
    return stated


def _base(path: Path, stated: str) -> cfg.Config:
    beside = path.parent / stated
    is_name = "/" not in stated and not Path(stated).suffix and not beside.exists()
    if is_name and shipped_path(stated) is None and Path(f"{beside}.yaml").exists():
        raise ConfigError(
            f"{path}: base: there is no shipped config {stated}; did you mean {stated}.yaml?"
        )
    try:
        base = cfg.load(stated if is_name else beside)
    except ConfigError as error:
        raise ConfigError(f"{path}: base: {error}") from error
    if base.data.validation_fraction == 0.0 and base.data.source != "directory":
        raise ConfigError(
            f"{path}: base: {stated} holds out no validation images, which trials are compared "
            "on. Set data.validation_fraction above 0 in it"
        )
    return base


def _name(path: Path, stated: _File) -> str:
    name = stated.name or re.sub(r"(\.sweep)?(\.ya?ml)?$", "", path.name)
    if not re.fullmatch(_NAME, name):
        raise ConfigError(
            f"{path}: name: expected 1 to 40 letters, digits, `.`, `_` or `-`, the first a letter "
            f"or digit; the file's name gives {name!r}. State `name:`"
        )
    return name


def _trials(path: Path, stated: _File, space: Space) -> tuple[int, Any]:
    if stated.trials is not None:
        return stated.trials, stated.sampler or "tpe"
    points = spaces.grid_size(space)
    if points is None:
        raise ConfigError(
            f"{path}: trials: required, since not every key of `vary:` is a list of values"
        )
    if stated.sampler is not None:
        raise ConfigError(
            f"{path}: sampler: without `trials:` every combination is trained once, and nothing is "
            "sampled. Add `trials:`, or remove `sampler:`"
        )
    if points > MOST_TRIALS:
        raise ConfigError(f"{path}: the grid has {points:,} points, at most {MOST_TRIALS:,}")
    return points, "grid"


def _seeds(path: Path, stated: _File, base: cfg.Config) -> tuple[int, ...]:
    seeds = stated.seeds or (base.seed,)
    if len(set(seeds)) < len(seeds) or any(not 0 <= seed < 2**31 for seed in seeds):
        raise ConfigError(
            f"{path}: seeds: expected different integers from 0 to {2**31 - 1}, "
            f"received {list(seeds)}"
        )
    return seeds


def _prune(path: Path, stated: _File, base: cfg.Config) -> Halving | None:
    """Return the halving; by default it decides first after a fifth of the epochs, at least two."""
    if stated.prune is None:
        return None
    if any(key == "train" or key == "train.epochs" for key in stated.vary):
        raise ConfigError(
            f"{path}: prune: not where train.epochs varies: epochs of short and long trainings do "
            "not compare. Remove one"
        )
    epochs = base.train.epochs
    first = stated.prune.first or max(2, math.ceil(epochs / 5))
    if first >= epochs:
        raise ConfigError(
            f"{path}: prune.first: expected less than the {epochs:g} epochs of the base, "
            f"received {first}"
        )
    return Halving(first=first, factor=stated.prune.factor)
