"""Export a finished run, and check the parity of each artifact."""

from __future__ import annotations

import functools
import hashlib
import shutil
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from cifarnet import artifacts, data, runs, system
from cifarnet import config as cfg
from cifarnet.backend import default_settings, keras
from cifarnet.callbacks import Callback, job
from cifarnet.data.sampling import balanced
from cifarnet.errors import ConfigError, GateError, RunError
from cifarnet.exporters import formats, network, parity, pruning, qat
from cifarnet.exporters.targets import Target, targets
from cifarnet.predictors import Metadata, keras_file, load
from cifarnet.runs import Export, Run, documents
from cifarnet.runs.results import CalibrationRecord, Parity, PruneRecord, QatRecord

# Loss of accuracy in int8 above which the network is trained for it.
_QAT_ABOVE = 0.005


@default_settings()
def export(
    run: Run | str | Path,
    formats: Sequence[str] | None = None,
    quantize: Sequence[str] | None = None,
    prune: float | None = None,
    callbacks: Iterable[Callback] | None = None,
) -> list[Export]:
    """Export a run's network; every artifact must pass a parity check in its own runtime.

    An int8 artifact that loses more than half a percentage point of accuracy is written again
    after quantization-aware training; the better of the two remains.

    Args:
        run: a finished run, its path or name, or `latest`.
        formats: names of `exporters.FORMATS`; None: `export.formats` of the run's config.
        quantize: quantizations; each format gets those it can hold. None: `export.quantize`.
        prune: share of the weights to set to zero first, 0 to 1.
        callbacks: notified of each stage; None: show progress on a terminal or in a notebook.

    Returns:
        The record of each artifact, in the order of `formats`.

    Raises:
        ConfigError: no format, unknown names, no such quantization, or a missing package.
        RunError, DataError: the run or its images cannot be read.
        ArtifactError: a format cannot hold this network; nothing of it is written.
        GateError: an artifact's predictions differ; it is written to `<name>.failed`. Or a pruned
            network loses too much accuracy; nothing is written.

    Example:
        for artifact in cifarnet.export("latest", formats=["onnx", "litert"], quantize=["int8"]):
            print(artifact.path, artifact.parity.accuracy, artifact.parity.max_difference)
    """
    source = artifacts.trained_run(run)
    overrides = [] if prune is None else [f"export.prune.sparsity={prune}"]
    options = cfg.load(source.config_file, overrides).export
    names = options.formats if formats is None else formats
    if not names:
        raise ConfigError("nothing to export: name formats, or set export.formats in the config")
    quantizations = options.quantize if quantize is None else quantize
    wanted = targets(names, quantizations, options.prune is not None)
    with job(callbacks) as callback, runs.lock(source):
        runs.check(source, source.model_file)
        exporter = _Exporter(source, options, callback)
        exported = []
        for target in wanted:
            with runs.changing(source, source.exports_folder / target.name):
                exported.append(exporter.export(target))
        return exported


class _Exporter:
    """Writes artifacts of one run's network."""

    def __init__(self, source: Run, options: cfg.ExportConfig, callback: Callback) -> None:
        callback.on_stage("reading the run")
        self._source = source
        self._options = options
        self._callback = callback
        self._config = cfg.load(source.config_file)
        self._network = _load_model(source)
        self._dataset = data.load(self._config.data, self._config.seed, callback.on_fetch)
        self._metadata = _metadata(source, self._dataset)
        self._calibration = _calibration(
            self._dataset, options.calibration_images, self._config.seed
        )
        self._split, self._pixels, self._labels = self._dataset.comparison()
        self._pruned = None if options.prune is None else self._prune(options.prune)
        self._reference = keras_file.from_model(self._network)

    def export(self, target: Target) -> Export:
        """Write one artifact and check its parity."""
        self._callback.on_stage(f"exporting {target.name}")
        options = self._options
        final = self._source.exports_folder / target.name
        with _folder(final) as folder:
            artifact, measured = self._write(target, self._network, folder)
            loss = measured.reference_accuracy - measured.accuracy
            qat_note = None
            if target.quantization == "int8" and loss > _QAT_ABOVE:
                self._callback.on_stage(
                    f"{target.name} loses {100 * loss:.2f} points; quantization-aware training"
                )
                artifact, again = self._write(target, self._network_for_int8, folder)
                if again.accuracy < measured.accuracy:
                    artifact, measured = self._write(target, self._network, folder)
                else:
                    qat_note = QatRecord(accuracy_before=measured.accuracy)
                    measured = again
            record = _record(target, artifact, folder, self._metadata, measured).model_copy(
                update={
                    "calibration": self._calibration_note(target),
                    "prune": self._pruned,
                    "qat": qat_note,
                }
            )
            documents.write(folder / "export.json", record)
            quantized = target.quantization != "none"
            parity.check(measured, quantized, options.max_difference, options.max_accuracy_loss)
        return documents.read(final / "export.json", Export)

    def _write(self, target: Target, model: keras.Model, folder: Path) -> tuple[Path, Parity]:
        """Write an artifact and measure its parity."""
        kind = (target.format, target.quantization)
        artifact = formats.write(*kind, model, self._calibration, self._metadata, folder)
        predictor = load(artifact)
        split, pixels, labels = self._split, self._pixels, self._labels
        return artifact, parity.measure(self._reference, predictor, split, pixels, labels)

    @functools.cached_property
    def _network_for_int8(self) -> keras.Model:
        optimizer = None if self._pruned is None else pruning.keep_zeros
        return qat.fine_tune_for_int8(
            self._network, self._config, self._dataset, optimizer=optimizer
        )

    def _prune(self, options: cfg.PruneConfig) -> PruneRecord:
        """Prune the network; return what its artifacts' records say of it."""
        self._callback.on_stage(f"pruning and training {options.epochs:g} epochs")
        original = self._network
        self._network = pruning.prune(original, self._config, options, self._dataset)
        allowed = self._options.max_accuracy_loss
        accuracies = _check_pruned(original, self._network, self._pixels, self._labels, allowed)
        reached = pruning.sparsity(self._network)
        return PruneRecord(**options.model_dump(), sparsity_reached=reached, **accuracies)

    def _calibration_note(self, target: Target) -> CalibrationRecord | None:
        if target.quantization != "int8":
            return None
        return CalibrationRecord(
            images=len(self._calibration),
            of="training images, class-balanced",
            seed=self._config.seed,
            digest=hashlib.sha256(np.ascontiguousarray(self._calibration).data).hexdigest(),
            training_digest=self._dataset.digests()["train"],
        )


def _check_pruned(
    original: keras.Model,
    pruned: keras.Model,
    pixels: np.ndarray,
    labels: np.ndarray,
    allowed: float,
) -> dict[str, float]:
    """Return the accuracies before and after pruning.

    Raises:
        GateError: it fell by more than `allowed`.
    """
    before, after = (
        float((keras_file.from_model(model)(pixels).argmax(axis=1) == labels).mean())
        for model in (original, pruned)
    )
    if before - after > allowed:
        raise GateError(
            f"the pruned network loses {100 * (before - after):.2f} points of accuracy on "
            f"{len(labels):,} images ({100 * before:.2f} % to {100 * after:.2f} %), allowed "
            f"{100 * allowed:.2f} (export.max_accuracy_loss). Prune less, or train longer after it "
            "(export.prune.epochs)"
        )
    return {"accuracy_before": before, "accuracy": after}


def _load_model(source: Run) -> keras.Model:
    try:
        return keras.models.load_model(source.model_file, compile=False, safe_mode=True)
    except Exception as error:
        reason = " ".join(str(error).split())
        raise RunError(f"{source.model_file} cannot be loaded: {reason[:300]}") from error


def _calibration(dataset: data.Dataset, count: int, seed: int) -> np.ndarray:
    """Return at most `count` training images, class-balanced: uint8 [N, S, S, 3]."""
    labels = dataset.train.labels
    rows = balanced(labels, min(count, len(labels)), seed, dataset.classes)
    return dataset.train.pixels[rows]


def _metadata(source: Run, dataset: data.Dataset) -> Metadata:
    """Return what is stored inside every artifact."""
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
    target: Target, artifact: Path, folder: Path, metadata: Metadata, measured: Parity
) -> Export:
    files = sorted(file for file in [artifact, *artifact.rglob("*")] if file.is_file())
    contents = {str(file.relative_to(folder)): file.read_bytes() for file in files}
    more = {
        "sha256": {name: hashlib.sha256(one).hexdigest() for name, one in contents.items()},
        "versions": system.versions(),
        **metadata,
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
    """Give a new folder that replaces `path`, or after a failed check `<path>.failed`.

    Raises:
        RunError: it cannot be written.
        GateError: from the check, with the name of the artifact and the folder.
    """
    failed = path.with_name(f"{path.name}.failed")
    with runs.replace_folder(path) as new:
        try:
            yield new
        except GateError as error:
            shutil.rmtree(failed, ignore_errors=True)
            new.rename(failed)
            raise GateError(f"{path.name}: {error}. See {failed}") from error
    shutil.rmtree(failed, ignore_errors=True)
