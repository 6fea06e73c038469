"""From a finished run to proven artifacts."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from cifarnet import config as cfg
from cifarnet import data, machine, rundir
from cifarnet.errors import ArtifactError, ConfigError, GateError, RunError
from cifarnet.export import formats, network, proof
from cifarnet.predictors import Predict, load
from cifarnet.rundir import RunDir
from cifarnet.sources.splits import balanced

# Enough for a difference of a tenth of a point; more only takes time.
_PROOF_IMAGES = 5_000


class Target(NamedTuple):
    """One artifact: a format and a quantisation that fits it."""

    format: str
    quantization: str

    @property
    def name(self) -> str:
        """Name of its folder: `litert`, `litert-int8`."""
        plain = formats.QUANTIZATIONS[self.format][0]
        return self.format + ("" if self.quantization == plain else f"-{self.quantization}")


def targets(wanted: Sequence[str], quantizations: Sequence[str]) -> list[Target]:
    """Each wanted format with each of the quantisations that it can have.

    Raises:
        ConfigError: a format that can have none of them, or whose packages are missing.
    """
    found = []
    for name in wanted:
        possible = formats.QUANTIZATIONS[name]
        # C is for microcontrollers, which is to say int8, whatever else is asked for.
        fitting = possible if name == "c" else [q for q in possible if q in quantizations]
        if not fitting:
            raise ConfigError(
                f"{name}: expected quantization {' or '.join(possible)}, received "
                f"{', '.join(quantizations)}"
            )
        packages, extra = formats.NEEDS.get(name, ((), ""))
        if missing := [p for p in packages if importlib.util.find_spec(p) is None]:
            raise ConfigError(
                f"{name} needs the packages {', '.join(missing)}; install them with: "
                f"pip install 'cifarnet[{extra}]'"
            )
        found += [Target(name, quantization) for quantization in fitting]
    return found


def run(
    source: RunDir,
    wanted: Sequence[Target],
    options: cfg.ExportConfig,
    told: Callable[[Target], None] = lambda _: None,
) -> list[dict[str, Any]]:
    """Export a run's network; every artifact is proven before it gets its name.

    Args:
        source: a run with a model.
        wanted: what to write, into `exports/<name>/` of the run; old ones are replaced.
        options: calibration and what a proof allows.
        told: called before each.

    Returns:
        What each `export.json` says.

    Raises:
        RunError, DataError: the run or its images cannot be read.
        ArtifactError: a format that cannot hold this network; nothing of it is written.
        GateError: an artifact that predicts something else; it is kept under `<name>.failed`.
    """
    config = cfg.load(source.config)
    trained = _trained(source)
    dataset = data.load(config.data, config.seed)
    calibration = _calibration(dataset, options.calibration_images, config.seed)
    split = "validation" if len(dataset.validation.labels) else "train"
    images = dataset.split(split)
    pixels, labels = images.pixels[:_PROOF_IMAGES], images.labels[:_PROOF_IMAGES]
    reference = _reference(trained)
    about = _about(source, dataset)
    found = []
    with rundir.lock(source):
        for target in wanted:
            told(target)
            with _folder(source.exports / target.name) as folder:
                artifact = formats.write(*target, trained, calibration, about, folder)
                proven = proof.prove(reference, load(artifact), pixels, labels)
                document = _document(target, artifact, folder, about) | {
                    "calibration": _calibration_note(target, calibration, config, dataset),
                    "proof": {"split": split, **proven},
                }
                rundir.write_json(folder / "export.json", document)
                quantized = target.quantization != "none"
                proof.check(proven, quantized, options.max_difference, options.max_accuracy_loss)
            found.append(document)
    return found


def _trained(source: RunDir) -> keras.Model:
    try:
        return keras.models.load_model(source.model, compile=False, safe_mode=True)
    except Exception as error:
        reason = " ".join(str(error).split())
        raise RunError(f"{source.model} cannot be loaded: {reason[:300]}") from None


def _reference(model: keras.Model) -> Predict:
    from cifarnet.predictors import keras_file

    return keras_file.from_model(model)


def _calibration(dataset: data.Dataset, count: int, seed: int) -> np.ndarray:
    labels = dataset.train.labels
    rows = balanced(labels, min(count, len(labels)), seed, dataset.classes)
    return dataset.train.pixels[rows]


def _calibration_note(
    target: Target, calibration: np.ndarray, config: cfg.Config, dataset: data.Dataset
) -> dict[str, Any] | None:
    if target.quantization != "int8":
        return None
    return {
        "images": len(calibration),
        "of": "training images, class-balanced",
        "seed": config.seed,
        "digest": hashlib.sha256(np.ascontiguousarray(calibration).data).hexdigest(),
        "training_digest": dataset.digests()["train"],
    }


def _about(source: RunDir, dataset: data.Dataset) -> dict[str, Any]:
    """What travels inside every artifact."""
    size = dataset.train.pixels.shape[1]
    classes = list(dataset.classes)
    return {
        "cifarnet": machine.versions()["cifarnet"],
        "run": source.path.name,
        "weights_sha256": hashlib.sha256(source.model.read_bytes()).hexdigest(),
        "classes": classes,
        "input": {"name": network.INPUT, "shape": ["N", size, size, 3], "what": "RGB, 0-255"},
        "output": {
            "name": network.OUTPUT,
            "shape": ["N", len(classes)],
            "what": "probabilities, in the order of `classes`",
        },
    }


def _document(
    target: Target, artifact: Path, folder: Path, about: dict[str, Any]
) -> dict[str, Any]:
    files = [file for file in [artifact, *artifact.rglob("*")] if file.is_file()]
    return {
        "format": target.format,
        "quantization": target.quantization,
        "artifact": str(artifact.relative_to(folder)),
        "bytes": sum(file.stat().st_size for file in files),
        "sha256": {
            str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
            for file in sorted(files)
        },
        "versions": machine.versions(),
        **about,
    }


@contextmanager
def _folder(path: Path) -> Iterator[Path]:
    """A new folder that replaces `path` if all goes well; after a failed proof it is kept beside.

    Raises:
        RunError: it cannot be written.
    """
    new = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        new.mkdir(parents=True)
        yield new
        _replace(path, new)
        shutil.rmtree(path.with_name(f"{path.name}.failed"), ignore_errors=True)
    except GateError as error:
        failed = path.with_name(f"{path.name}.failed")
        _replace(failed, new)
        raise GateError(f"{path.name}: {error}. It is kept as {failed}") from None
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}") from None
    except ArtifactError:
        raise
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _replace(path: Path, new: Path) -> None:
    """Give a folder its name; a rename cannot replace a folder that is not empty."""
    shutil.rmtree(path, ignore_errors=True)
    new.rename(path)
