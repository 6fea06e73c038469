"""From a finished run to proven artifacts."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import shutil
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cifarnet import artifacts, data, runs, system
from cifarnet import config as cfg
from cifarnet.backend import keras
from cifarnet.callbacks import Callback, Callbacks
from cifarnet.data.sampling import balanced
from cifarnet.errors import ConfigError, GateError, RunError
from cifarnet.exporters import formats, network, parity, pruning, qat
from cifarnet.predictors import keras_file, load
from cifarnet.runs import Export, Run, records
from cifarnet.runs.records import Parity

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


def export(
    run: Run | str | Path,
    formats: Sequence[str] | None = None,
    quantize: Sequence[str] | None = None,
    prune: float | None = None,
    callbacks: Iterable[Callback] = (),
) -> list[Export]:
    """Export a run's network; every artifact passes its parity check before it gets its name.

    Where int8 loses more than half a point, the network is fine-tuned for int8 and written again;
    the better of the two stays.

    Args:
        run: a run with a model, or its path, name or `latest`.
        formats: some of `QUANTIZATIONS`; None: `export.formats` of the run's config.
        quantize: quantizations; each format gets those it can have. None: `export.quantize`.
        prune: share of the weights to set to zero first, 0 to 1.
        callbacks: told of each stage.

    Returns:
        The record of each artifact, in the order of `formats`.

    Raises:
        ConfigError: no format, a format without such a quantization, or a missing package.
        RunError, DataError: the run or its images cannot be read.
        ArtifactError: a format that cannot hold this network; nothing of it is written.
        GateError: an artifact that predicts something else; it is kept under `<name>.failed`.
            Or a pruned network that is too bad; nothing is written.
    """
    source = artifacts.trained_run(run)
    overrides = [] if prune is None else [f"export.prune.sparsity={prune}"]
    options = cfg.load(source.config_file, overrides).export
    names = formats or options.formats
    if not names:
        raise ConfigError("nothing to export: name formats, or set export.formats in the config")
    wanted = targets(names, quantize or options.quantize, options.prune is not None)
    told = Callbacks(callbacks)
    told.on_stage("reading the run")
    with runs.lock(source):
        runs.check(source, source.model_file)
        exporter = _Exporter(source, options, told)
        records_ = []
        for target in wanted:
            with runs.changing(source, source.exports_folder / target.name):
                records_.append(exporter.export(target))
        return records_


class _Exporter:
    """A run's network and images, and what is written of them."""

    def __init__(self, source: Run, options: cfg.ExportConfig, callbacks: Callback) -> None:
        self._source = source
        self._options = options
        self._callbacks = callbacks
        self._config = cfg.load(source.config_file)
        self._network = _trained(source)
        self._dataset = data.load(self._config.data, self._config.seed, callbacks.on_fetch)
        self._about = _about(source, self._dataset)
        self._calibration = _calibration(
            self._dataset, options.calibration_images, self._config.seed
        )
        self._split, self._pixels, self._labels = self._dataset.comparison()
        self._pruned = None if options.prune is None else self._prune(options.prune)
        self._reference = keras_file.from_model(self._network)

    def export(self, target: Target) -> Export:
        """Write one artifact and check its parity."""
        self._callbacks.on_stage(f"exporting {target.name}")
        options = self._options
        final = self._source.exports_folder / target.name
        with _folder(final) as folder:
            artifact, measured = self._write(target, self._network, folder)
            lost = measured.reference_accuracy - measured.accuracy
            fine_tuned = None
            if target.quantization == "int8" and lost > _TRAIN_ABOVE:
                fine_tuned = {"accuracy_before": measured.accuracy}
                self._callbacks.on_stage(
                    f"{target.name} loses {100 * lost:.2f} points; quantization-aware training"
                )
                artifact, again = self._write(target, self._network_for_int8, folder)
                if again.accuracy < measured.accuracy:
                    artifact, again = self._write(target, self._network, folder)
                measured = again
            record = _record(target, artifact, folder, self._about, measured).model_copy(
                update={
                    "calibration": self._calibration_note(target),
                    "prune": self._pruned,
                    "qat": fine_tuned,
                }
            )
            records.write(folder / "export.json", record)
            quantized = target.quantization != "none"
            parity.check(measured, quantized, options.max_difference, options.max_accuracy_loss)
        return records.read(final / "export.json", Export)

    def _write(self, target: Target, model: keras.Model, folder: Path) -> tuple[Path, Parity]:
        """Write an artifact and measure its parity."""
        kind = (target.format, target.quantization)
        artifact = formats.write(*kind, model, self._calibration, self._about, folder)
        predictor = load(artifact)
        split, pixels, labels = self._split, self._pixels, self._labels
        return artifact, parity.measure(self._reference, predictor, split, pixels, labels)

    @functools.cached_property
    def _network_for_int8(self) -> keras.Model:
        return qat.fine_tune_for_int8(self._network, self._config, self._dataset)

    def _prune(self, options: cfg.PruneConfig) -> dict[str, Any]:
        """Prune the network; what is noted of it."""
        self._callbacks.on_stage(f"pruning and training {options.epochs:g} epochs")
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


def _trained(source: Run) -> keras.Model:
    try:
        return keras.models.load_model(source.model_file, compile=False, safe_mode=True)
    except Exception as error:
        reason = " ".join(str(error).split())
        raise RunError(f"{source.model_file} cannot be loaded: {reason[:300]}") from error


def _calibration(dataset: data.Dataset, count: int, seed: int) -> np.ndarray:
    labels = dataset.train.labels
    rows = balanced(labels, min(count, len(labels)), seed, dataset.classes)
    return dataset.train.pixels[rows]


def _about(source: Run, dataset: data.Dataset) -> dict[str, Any]:
    """What travels inside every artifact."""
    size = dataset.train.pixels.shape[1]
    classes = list(dataset.classes)
    return {
        "cifarnet": system.versions()["cifarnet"],
        "run": source.path.name,
        "weights_sha256": hashlib.sha256(source.model_file.read_bytes()).hexdigest(),
        "classes": classes,
        "input": {"name": network.INPUT, "shape": ["N", size, size, 3], "what": "RGB, 0-255"},
        "output": {
            "name": network.OUTPUT,
            "shape": ["N", len(classes)],
            "what": "probabilities, in the order of `classes`",
        },
    }


def _record(
    target: Target, artifact: Path, folder: Path, about: dict[str, Any], measured: Parity
) -> Export:
    files = sorted(file for file in [artifact, *artifact.rglob("*")] if file.is_file())
    contents = {str(file.relative_to(folder)): file.read_bytes() for file in files}
    more = {
        "sha256": {name: hashlib.sha256(one).hexdigest() for name, one in contents.items()},
        "versions": system.versions(),
        **about,
    }
    return Export(
        artifact=str(artifact.relative_to(folder)),
        format=target.format,
        quantization=target.quantization,
        bytes=sum(map(len, contents.values())),
        compressed_bytes=sum(len(zlib.compress(one, 9)) for one in contents.values()),
        parity=measured,
        **more,
    )


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
            raise GateError(f"{path.name}: {error}. It is kept as {failed}") from error
    shutil.rmtree(failed, ignore_errors=True)
