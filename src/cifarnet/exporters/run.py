"""From a finished run to proven artifacts."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import shutil
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from cifarnet import config as cfg
from cifarnet import data, runs, system
from cifarnet.data.sampling import balanced
from cifarnet.errors import ConfigError, GateError, RunError
from cifarnet.exporters import formats, network, parity, pruning, qat
from cifarnet.predictors import keras_file, load
from cifarnet.runs import RunDir

# Accuracy that int8 may lose before the network is trained for it.
_TRAIN_ABOVE = 0.005


class Target(NamedTuple):
    """One artifact: a format, a quantisation that fits it, whether the network was pruned."""

    format: str
    quantization: str
    pruned: bool = False

    @property
    def name(self) -> str:
        """Name of its folder: `litert`, `litert-int8`, `litert-int8-pruned`."""
        plain = formats.QUANTIZATIONS[self.format][0]
        quantized = "" if self.quantization == plain else f"-{self.quantization}"
        return self.format + quantized + ("-pruned" if self.pruned else "")


def targets(
    wanted: Sequence[str], quantizations: Sequence[str], pruned: bool = False
) -> list[Target]:
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
        found += [Target(name, quantization, pruned) for quantization in fitting]
    return found


def run(
    source: RunDir,
    wanted: Sequence[Target],
    options: cfg.ExportConfig,
    told: Callable[[str], None] = lambda _: None,
) -> list[dict[str, Any]]:
    """Export a run's network; every artifact is proven before it gets its name.

    Where int8 loses more than half a point, the network is trained on for int8 and written
    again; the better of the two stays.

    Args:
        source: a run with a model.
        wanted: what to write, into `exports/<name>/` of the run; old ones are replaced.
        options: calibration, pruning and what a proof allows.
        told: called with what is done next.

    Returns:
        What each `export.json` says.

    Raises:
        RunError, DataError: the run or its images cannot be read.
        ArtifactError: a format that cannot hold this network; nothing of it is written.
        GateError: an artifact that predicts something else; it is kept under `<name>.failed`.
            Or a pruned network that is too bad; nothing is written.
    """
    with runs.lock(source):
        runs.check(source, source.model)
        exporter = _Exporter(source, options, told)
        documents = []
        for target in wanted:
            with runs.changing(source, source.exports / target.name):
                documents.append(exporter.export(target))
        return documents


class _Exporter:
    """A run's network and images, and what is written of them."""

    def __init__(
        self, source: RunDir, options: cfg.ExportConfig, told: Callable[[str], None]
    ) -> None:
        self._source = source
        self._options = options
        self._told = told
        self._config = cfg.load(source.config)
        self._network = _trained(source)
        self._dataset = data.load(self._config.data, self._config.seed)
        self._about = _about(source, self._dataset)
        self._calibration = _calibration(
            self._dataset, options.calibration_images, self._config.seed
        )
        self._split, self._pixels, self._labels = self._dataset.comparison()
        self._pruned = None if options.prune is None else self._prune(options.prune)
        self._reference = keras_file.from_model(self._network)

    def export(self, target: Target) -> dict[str, Any]:
        """Write and prove one artifact; what its `export.json` says."""
        self._told(f"exporting and proving {target.name}")
        options = self._options
        with _folder(self._source.exports / target.name) as folder:
            artifact, proven = self._write(target, self._network, folder)
            lost = proven["reference_accuracy"] - proven["accuracy"]
            rounded = None
            if target.quantization == "int8" and lost > _TRAIN_ABOVE:
                rounded = {"accuracy_before": proven["accuracy"]}
                self._told(f"{target.name} loses {100 * lost:.2f} points; training it for int8")
                artifact, again = self._write(target, self._network_for_int8, folder)
                if again["accuracy"] < proven["accuracy"]:
                    artifact, again = self._write(target, self._network, folder)
                proven = again
            document = _document(target, artifact, folder, self._about) | {
                "calibration": self._calibration_note(target),
                "prune": self._pruned,
                "trained_for_int8": rounded,
                "proof": {"split": self._split, **proven},
            }
            runs.write_json(folder / "export.json", document)
            quantized = target.quantization != "none"
            parity.check(proven, quantized, options.max_difference, options.max_accuracy_loss)
        return document

    def _write(
        self, target: Target, model: keras.Model, folder: Path
    ) -> tuple[Path, dict[str, Any]]:
        """An artifact and its proof."""
        kind = (target.format, target.quantization)
        artifact = formats.write(*kind, model, self._calibration, self._about, folder)
        return artifact, parity.prove(self._reference, load(artifact), self._pixels, self._labels)

    @functools.cached_property
    def _network_for_int8(self) -> keras.Model:
        return qat.prepare(self._network, self._config, self._dataset)

    def _prune(self, options: cfg.PruneConfig) -> dict[str, Any]:
        """Prune the network; what is noted of it."""
        self._told(f"pruning and training {options.epochs:g} epochs")
        whole = self._network
        self._network = pruning.prune(whole, self._config, options, self._dataset)
        allowed = self._options.max_accuracy_loss
        kept = _accuracy_kept(whole, self._network, self._pixels, self._labels, allowed)
        reached = pruning.sparsity(self._network)
        return {**options.model_dump(), "sparsity_reached": reached, **kept}

    def _calibration_note(self, target: Target) -> dict[str, Any] | None:
        if target.quantization != "int8":
            return None
        return {
            "images": len(self._calibration),
            "of": "training images, class-balanced",
            "seed": self._config.seed,
            "digest": hashlib.sha256(np.ascontiguousarray(self._calibration).data).hexdigest(),
            "training_digest": self._dataset.digests()["train"],
        }


def _accuracy_kept(
    whole: keras.Model, pruned: keras.Model, pixels: np.ndarray, labels: np.ndarray, allowed: float
) -> dict[str, float]:
    """Accuracy before and after pruning.

    Raises:
        GateError: it fell by more than `allowed`.
    """
    before, after = (
        float((keras_file.from_model(one)(pixels).argmax(axis=1) == labels).mean())
        for one in (whole, pruned)
    )
    if before - after > allowed:
        raise GateError(
            f"the pruned network loses {100 * (before - after):.2f} points of accuracy on "
            f"{len(labels):,} images ({100 * before:.2f} % to {100 * after:.2f} %), allowed "
            f"{100 * allowed:.2f} (export.max_accuracy_loss). Prune less, or train longer after it "
            "(export.prune.epochs)"
        )
    return {"accuracy_before": before, "accuracy": after}


def _trained(source: RunDir) -> keras.Model:
    try:
        return keras.models.load_model(source.model, compile=False, safe_mode=True)
    except Exception as error:
        reason = " ".join(str(error).split())
        raise RunError(f"{source.model} cannot be loaded: {reason[:300]}") from None


def _calibration(dataset: data.Dataset, count: int, seed: int) -> np.ndarray:
    labels = dataset.train.labels
    rows = balanced(labels, min(count, len(labels)), seed, dataset.classes)
    return dataset.train.pixels[rows]


def _about(source: RunDir, dataset: data.Dataset) -> dict[str, Any]:
    """What travels inside every artifact."""
    size = dataset.train.pixels.shape[1]
    classes = list(dataset.classes)
    return {
        "cifarnet": system.versions()["cifarnet"],
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
    files = sorted(file for file in [artifact, *artifact.rglob("*")] if file.is_file())
    contents = {str(file.relative_to(folder)): file.read_bytes() for file in files}
    return {
        "format": target.format,
        "quantization": target.quantization,
        "artifact": str(artifact.relative_to(folder)),
        "bytes": sum(map(len, contents.values())),
        "compressed_bytes": sum(len(zlib.compress(one, 9)) for one in contents.values()),
        "sha256": {name: hashlib.sha256(one).hexdigest() for name, one in contents.items()},
        "versions": system.versions(),
        **about,
    }


@contextmanager
def _folder(path: Path) -> Iterator[Path]:
    """A new folder that replaces `path` if all goes well; after a failed proof it is kept beside.

    Raises:
        RunError: it cannot be written.
    """
    failed = path.with_name(f"{path.name}.failed")
    with runs.replace_folder(path) as new:
        try:
            yield new
        except GateError as error:
            shutil.rmtree(failed, ignore_errors=True)
            new.rename(failed)
            raise GateError(f"{path.name}: {error}. It is kept as {failed}") from None
    shutil.rmtree(failed, ignore_errors=True)
