"""Compare runs from their stored predictions."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from itertools import count
from pathlib import Path
from typing import get_args

from cifarnet import config as cfg
from cifarnet import runs
from cifarnet.callbacks import Callback, job
from cifarnet.choices import Split, Tta
from cifarnet.comparison import groups as grouping
from cifarnet.comparison import stored as predictions
from cifarnet.comparison.differences import differences
from cifarnet.comparison.groups import Group
from cifarnet.cost import Meter, Power
from cifarnet.errors import CifarnetError, ConfigError, RunError
from cifarnet.reporting import comparisons as reports
from cifarnet.reporting import page
from cifarnet.runs import Run, documents
from cifarnet.runs.atomic import unwritable
from cifarnet.runs.comparisons import ComparedGroup, Comparison


def compare(
    *targets: Run | str | Path,
    versus: Iterable[Run | str | Path] = (),
    split: str = "test",
    tta: str | None = None,
    callbacks: Iterable[Callback] | None = None,
    output: str | Path | None = None,
    power: Power | None = None,
) -> Comparison:
    """Compare runs statistically, from the predictions that `evaluate` stored.

    Runs of one config that differ in their seeds are a group. Groups with several seeds each are
    compared as configs, single runs as weight files. Writes `compare.json` and a picture into a new
    folder `comparisons/<UTC time>-<name>` in the folder of runs.

    Args:
        targets: runs, their paths or names, or `latest`.
        versus: the runs of the other side, if you choose the two groups; each of one config.
        split: `test` or `validation`.
        tta: test-time augmentation of the predictions; None: the configs', if they agree.
        callbacks: notified of each stage; None: show progress on a terminal or in a notebook.
        output: folder to write into instead.
        power: of this machine, and its electricity, for the record's cost.

    Returns:
        The comparison; `path` is the file it is written to.

    Raises:
        ConfigError: an unknown `split` or `tta`, no run, the same run twice, configs with different
            test-time augmentation, or a side of several configs.
        RunError: no such run, one that is not finished, predictions that are missing or not of its
            weights and images; different images; the same predictions twice.
        ArtifactError: predictions that are damaged.

    Example:
        comparison = cifarnet.compare("new-0", "new-1", "new-2", versus=["old-0", "old-1", "old-2"])
        print(comparison.differences[0].verdict)
    """
    meter = Meter(power)
    with job(callbacks) as callback:
        sides = list(targets), list(versus)
        _check(sides, split, tta)
        callback.on_stage(f"comparing {len(sides[0]) + len(sides[1])} runs")
        found = predictions.read([*sides[0], *sides[1]], split, tta)
        first, second = found[: len(sides[0])], found[len(sides[0]) :]
        groups = grouping.by_side(first, second) if second else grouping.by_config(first)
        record = _record(groups).replace(cost=meter.read())
        callback.on_result(record)
        with page.refreshed([one.run for one in found], callback):
            return _write(record, output)


def unused_seed(group: ComparedGroup) -> int:
    """Return the lowest seed that no run of the group's config in the folder of runs has."""
    seeds = {run.seed for run in group.runs}
    for run in runs.all_runs():
        with suppress(CifarnetError):  # a damaged run
            config = cfg.load(run.config_file)
            if cfg.recipe_digest(config) == group.config_digest:
                seeds.add(config.seed)
    return next(seed for seed in count() if seed not in seeds)


def _check(sides: tuple[Sequence[object], Sequence[object]], split: str, tta: str | None) -> None:
    known = (("split", split, get_args(Split)), ("tta", tta, (None, *get_args(Tta))))
    for name, value, choices in known:
        if value not in choices:
            listed = ", ".join(map(str, choices))
            raise ConfigError(f"{name}: expected one of {listed}; received {value!r}")
    total = sum(map(len, sides))
    if total < 2 or not sides[0]:
        raise ConfigError(f"expected at least two runs to compare, received {total}")


def _record(groups: Sequence[Group]) -> Comparison:
    evaluation, labels = groups[0].stored[0].evaluation, groups[0].stored[0].labels
    return Comparison(
        split=evaluation.about.split,
        tta=evaluation.about.tta,
        images=len(labels),
        data=evaluation.about.data,
        digest=evaluation.about.digest,
        groups=[grouping.describe(group, groups[0]) for group in groups],
        differences=differences(groups, labels, evaluation.classes),
        notes=_notes(groups, evaluation.about.split),
    )


def _notes(groups: Sequence[Group], split: str) -> list[str]:
    notes = []
    for group in groups:
        seeds = Counter(one.config.seed for one in group.stored)
        if repeated := [str(seed) for seed, number in seeds.items() if number > 1]:
            notes.append(
                f"{group.name} has several runs with seed {', '.join(repeated)}: they differ in "
                "machine, threads or versions, and count as seeds"
            )
    if len(groups) == 2 and groups[0].digest == groups[1].digest:
        notes.append("both sides have the same config")
    return notes


# --- files ----------------------------------------------------------------------------


def _write(record: Comparison, output: str | Path | None) -> Comparison:
    if output is not None:
        return _write_into(Path(output), record)
    folder = _new_folder(record)
    try:
        return _write_into(folder, record)
    except BaseException:
        with suppress(OSError):
            folder.rmdir()  # if it is empty
        raise


def _write_into(folder: Path, record: Comparison) -> Comparison:
    record = documents.write(folder / "compare.json", record)
    reports.picture(record, folder / "compare.png")
    return record


def _new_folder(record: Comparison) -> Path:
    """Make a new folder in the folder of runs, named by the time and the first groups."""
    names = [re.sub(r"[^A-Za-z0-9._-]+", "-", one.name).strip("-") for one in record.groups[:2]]
    stem = f"{datetime.now(timezone.utc):%Y%m%d-%H%M%S}-{'-vs-'.join(names)}"
    root = runs.root_folder() / "comparisons"
    for number in range(1, 10_000):
        path = root / (stem if number == 1 else f"{stem}-{number}")
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise unwritable(path, error) from error
        return path
    raise RunError(f"cannot make a new folder: {root / stem} and 9,999 numbered ones exist")
