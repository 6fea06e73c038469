"""Work that is killed at some instant, and what must hold of what is left of it.

The work is done by processes that are forked from one that has TensorFlow loaded, so that a kill
costs three seconds and not eight.
"""

import contextlib
import json
import os
import random
import signal
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from cifarnet import runs
from cifarnet.runs import Run
from helpers.commands import forking

# Everything that has a state of its own: dropout, augmentation, both averages, the best epoch.
CONFIG: dict[str, Any] = {
    "name": "crash",
    "data": {
        "source": "synthetic",
        "limit": 200,
        "validation_fraction": 0.2,
        "augment": [{"kind": "flip"}, {"kind": "crop", "pixels": 2}],
    },
    "model": {
        "layers": [
            {"Conv2D": {"filters": 4, "kernel_size": 3, "strides": 4}},
            "BatchNormalization",
            "ReLU",
            "Flatten",
            {"Dropout": {"rate": 0.2}},
            {"Dense": {"units": 10}},
        ]
    },
    "train": {
        "epochs": 4,
        "batch_size": 40,
        "learning_rate": 0.05,
        "momentum": 0.9,
        "precision": "float32",
        "ema": 0.9,
        "lookahead": {"every": 3},
        "select": "best",
        "early_stopping": {"patience": 3},
        "checkpoint": {"every_steps": 3},
    },
}


# --- what the processes do ------------------------------------------------------------


def train_or_resume(root: Path, document: dict[str, Any]) -> None:
    """Train in a new run of `root`, or resume the one that is there."""
    from cifarnet import config, training

    found = runs.all_runs(root)
    if found:
        training.resume(found[-1])
    else:
        training.train(config.parse(document), root)


def export(run: Path) -> None:
    """Export a run to two formats."""
    from cifarnet import exporters

    exporters.export(Run(run), ["keras", "savedmodel"], ["none"])


def fetch(home: Path, settings: dict[str, Any]) -> None:
    """Fetch a stand-in for CIFAR-10 (see `images.Tiny.settings`), with no npm at hand."""
    from cifarnet.data import cifar10
    from helpers import images

    os.environ.update(CIFARNET_HOME=str(home), PATH="/nothing")
    images.apply(settings)
    cifar10.fetch(None)


def dying(moment: int, file: Path, work: Callable[..., None], *arguments: Any) -> None:
    """Do some work and get SIGKILL just before its `moment`th fsync, rename or removal of a file.

    Moments count from 1; each one's call is noted in `file`.
    """
    count = 0

    def watched(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def instead(*given: Any, **named: Any) -> Any:
            nonlocal count
            count += 1
            with file.open("a") as notes:
                notes.write(f"{name}\n")
            if count == moment:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*given, **named)

        return instead

    for name in ("fsync", "rename", "replace", "unlink"):
        setattr(os, name, watched(name, getattr(os, name)))
    work(*arguments)


# --- doing it -------------------------------------------------------------------------


def whole(work: Callable[..., None], *arguments: Any) -> float:
    """Let some work end; how long it took, seconds."""
    start = time.perf_counter()
    process = forking().Process(target=work, args=arguments)
    process.start()
    process.join()
    assert process.exitcode == 0, f"{work.__name__} ended with {process.exitcode}"
    return time.perf_counter() - start


def killed_after(seconds: float, work: Callable[..., None], *arguments: Any) -> bool:
    """Kill some work after a while; return whether it was still running."""
    process = forking().Process(target=work, args=arguments)
    process.start()
    process.join(timeout=seconds)
    process.kill()
    process.join()
    return process.exitcode == -signal.SIGKILL


def killed_at(moment: int, notes: Path, work: Callable[..., None], *arguments: Any) -> bool:
    """Kill some work at one of its moments (see `dying`); whether it had that many."""
    process = forking().Process(target=dying, args=(moment, notes, work, *arguments))
    process.start()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode == -signal.SIGKILL


# --- what must hold -------------------------------------------------------------------


def assert_readable(root: Path) -> None:
    """Every directory under `root` is a run whose record, config and checkpoints are whole."""
    from cifarnet import config

    for path in root.glob("[!.]*"):
        run = Run(path)
        assert runs.status(run) in ("killed", "finished"), path
        config.load(run.config_file)
        for checkpoint in run.checkpoints():
            runs.read_arrays(checkpoint)
        assert [one for one in runs.verify(run) if one.right is False] == []


def assert_clean(root: Path) -> None:
    """Nothing half-written is left."""
    assert {path.name for path in root.rglob(".*")} <= {".lock"}


def result(run: Run) -> dict[str, Any]:
    """All that a training computed: weights, optimizer, history, selection; no times."""
    arrays = runs.read_arrays(run.checkpoints()[-1])
    progress = json.loads(arrays.pop("about").tobytes())["progress"]
    with contextlib.suppress(KeyError):
        del progress["seconds"], progress["epoch_seconds"]
    for row in progress["rows"]:
        del row["seconds"], row["images_per_second"]
    with zipfile.ZipFile(run.model_file) as archive:
        model = {name: archive.read(name) for name in archive.namelist() if "weights" in name}
    text = run.history_file.read_text().splitlines()
    history = [line.split(",")[:-2] for line in text]
    return {"arrays": arrays, "progress": progress, "model": model, "history": history}


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    """To the bit."""
    assert one["arrays"].keys() == other["arrays"].keys()
    for name, array in one["arrays"].items():
        np.testing.assert_array_equal(array, other["arrays"][name], err_msg=name)
    for part in ("progress", "history", "model"):
        assert one[part] == other[part], part


def kill_and_finish(
    root: Path, document: dict[str, Any], expected: dict[str, Any], kill: Callable[[], bool]
) -> bool:
    """Kill a training, look at what is left, finish it, compare; whether the kill came in time."""
    in_time = kill()
    assert_readable(root)
    if not runs.all_runs(root) or runs.status(runs.all_runs(root)[-1]) != "finished":
        whole(train_or_resume, root, document)
    (run,) = runs.all_runs(root)
    assert runs.status(run) == "finished"
    assert_same(expected, result(run))
    assert_readable(root)
    assert_clean(root)
    return in_time


def seeds() -> tuple[int, random.Random]:
    """A new seed, or the one of a failure to replay, `CRASH_SEED`; print it."""
    seed = int(os.environ.get("CRASH_SEED", random.SystemRandom().randrange(2**32)))
    print(f"replay with CRASH_SEED={seed}")
    return seed, random.Random(seed)
