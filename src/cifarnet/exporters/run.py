"""Export a finished run, and check the parity of each artifact."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from cifarnet import artifacts, data, runs
from cifarnet import config as cfg
from cifarnet.backend import default_settings, keras
from cifarnet.callbacks import Callback, job, warn_unfinished
from cifarnet.cost import Meter, Power
from cifarnet.data.sampling import balanced_order
from cifarnet.errors import (
    ArtifactError,
    ConfigError,
    DataError,
    ExportError,
    ExportFailure,
    GateError,
    ModelError,
    RunError,
    TrainingError,
)
from cifarnet.exporters import description, parity, pruning, qat, web_format
from cifarnet.exporters.conversion import Converted, convert
from cifarnet.exporters.formats import FORMATS
from cifarnet.exporters.targets import Target, targets
from cifarnet.predictors import keras_file
from cifarnet.reporting import page
from cifarnet.runs import Export, Run, documents
from cifarnet.runs.results import CalibrationRecord, Parity, PruneRecord, QatRecord
from cifarnet.worker import Worker

# Loss of accuracy in int8 above which the network is trained for it.
_QAT_ABOVE = 0.005


@default_settings()
def export(
    run: Run | str | Path,
    formats: Sequence[str] | None = None,
    quantize: Sequence[str] | None = None,
    prune: float | None = None,
    callbacks: Iterable[Callback] | None = None,
    overrides: Iterable[str] = (),
    allow_changed_data: bool = False,
    power: Power | None = None,
) -> list[Export]:
    """Export a run's network; every artifact must pass a parity check in its own runtime.

    All artifacts are tried, in a child process, whatever happens to one of them. An int8 artifact
    that loses more than half a percentage point of accuracy is written again after
    quantization-aware training; the better of the two remains.

    Args:
        run: a finished run, its path or name, or `latest`.
        formats: names of `exporters.FORMATS`; None: `export.formats` of the run's config.
        quantize: quantizations; each format gets those it can hold. None: `export.quantize`.
        prune: share of the weights to set to zero first, 0 to 1.
        callbacks, overrides, allow_changed_data, power: as for `evaluate`.

    Returns:
        The record of each artifact, in the order of `formats`; the first bears the shared cost.

    Raises:
        ConfigError: no format, unknown names, no such quantization, or a missing package.
        RunError, DataError: the run or its images cannot be read, or are not those of the run.
        ExportError: of several artifacts, some failed as below; has the records of the others.
        ArtifactError: a format cannot hold this network; nothing of it is written.
        GateError: an artifact, written to `<name>.failed`, or a pruned network loses too much.

    Example:
        for artifact in cifarnet.export("latest", formats=["onnx", "litert"], quantize=["int8"]):
            print(artifact.path, artifact.parity.accuracy, artifact.parity.max_difference)
    """
    meter = Meter(power)
    source = artifacts.trained_run(run)
    config = artifacts.run_config(source, overrides)
    wanted = _wanted(options := _options(source, prune), formats, quantize)
    with job(callbacks) as callback, runs.lock(source), Worker() as worker:
        runs.check(source, source.model_file)
        warn_unfinished(source, callback)
        callback.on_stage("reading the run")
        dataset = data.load_recorded(source, config, callback.on_fetch, allow_changed_data)
        exporter = _Exporter(source, config, options, dataset, callback, worker)
        with page.refreshed([source], callback):
            return _export_all(wanted, exporter, meter, power)


def _options(source: Run, prune: float | None) -> cfg.ExportConfig:
    pruned = [] if prune is None else [f"export.prune.sparsity={prune}"]
    return cfg.load(source.config_file, pruned).export


def _wanted(
    options: cfg.ExportConfig, formats: Sequence[str] | None, quantize: Sequence[str] | None
) -> list[Target]:
    names = options.formats if formats is None else formats
    if not names:
        raise ConfigError("nothing to export: name formats, or set export.formats in the config")
    quantizations = options.quantize if quantize is None else quantize
    return targets(names, quantizations, options.prune is not None, defaults=quantize is None)


def _export_all(
    wanted: Sequence[Target], exporter: _Exporter, meter: Meter, power: Power | None
) -> list[Export]:
    written: list[Export] = []
    failures: list[ExportFailure] = []
    for target in wanted:
        try:
            written.append(exporter.export(target, meter))
        except (ArtifactError, ConfigError, GateError, ModelError, TrainingError) as error:
            if len(wanted) == 1:
                raise
            failures.append(ExportFailure(target.name, error))
        meter = Meter(power)
    if failures:
        raise ExportError(written, failures)
    return written


class _Exporter:
    """Writes artifacts of one run's network."""

    def __init__(
        self,
        source: Run,
        config: cfg.Config,
        options: cfg.ExportConfig,
        dataset: data.Dataset,
        callback: Callback,
        worker: Worker,
    ) -> None:
        self._source = source
        self._options = options
        self._callback = callback
        self._worker = worker
        self._config = config
        self._network = _load_model(source)
        self._for_int8: dict[int, keras.Model] = {}  # by the bits of their weights
        self._dataset = dataset
        self._metadata = description.metadata(source, config, self._dataset)
        self._calibration = _calibration(
            self._dataset, options.calibration_images, self._config.seed
        )
        self._split, pixels, self._labels = self._dataset.comparison()
        self._images = parity.images(pixels)
        self._unseen = web_format.unseen(self._split, pixels, self._labels, config.seed)
        self._pruned = None if options.prune is None else self._prune(options.prune)
        self._expected = parity.predict(keras_file.from_model(self._network), self._images)

    def export(self, target: Target, meter: Meter) -> Export:
        """Write one artifact and check its parity."""
        format_ = FORMATS[target.format]
        format_.require_packages(target.format)
        if format_.fetch is not None:
            format_.fetch(self._callback.on_fetch)
        self._callback.on_stage(f"exporting {target.name}")
        final = self._source.exports_folder / target.name
        with runs.changing(self._source, final), _folder(final) as folder:
            converted, measured, qat_note = self._write_best(target, folder)
            record = description.describe(
                target, converted.path, folder, self._metadata, measured
            ).model_copy(
                update={
                    "calibration": self._calibration_note(target),
                    "prune": self._pruned,
                    "qat": qat_note,
                    "micro": converted.micro,
                    "browser": converted.browser,
                    "changed_data": self._dataset.changes,
                    "cost": meter.read(),
                }
            )
            documents.write(folder / "export.json", record)
            parity.check(measured, target.quantization != "none", self._options)
            if converted.browser is not None:
                web_format.check(converted.browser)
        return documents.read(final / "export.json", Export)

    def _write_best(
        self, target: Target, folder: Path
    ) -> tuple[Converted, Parity, QatRecord | None]:
        """Write an artifact; in int8 also of a network that was trained for it, if that is better.

        Better is what passes the parity check, then what is more accurate.
        """
        converted, measured = self._write(target, self._network, folder)
        loss = measured.reference_accuracy - measured.accuracy
        if target.quantization != "int8" or loss <= _QAT_ABOVE:
            return converted, measured, None
        self._callback.on_stage(
            f"{target.name} loses {100 * loss:.2f} points; quantization-aware training"
        )
        again, measured_again = self._write(target, self._network_for_int8(target), folder)
        if self._rank(measured_again) < self._rank(measured):
            return *self._write(target, self._network, folder), None
        return again, measured_again, QatRecord(accuracy_before=measured.accuracy)

    def _rank(self, measured: Parity) -> tuple[bool, float]:
        try:
            parity.check(measured, True, self._options)
        except GateError:
            return False, measured.accuracy
        return True, measured.accuracy

    def _write(self, target: Target, model: keras.Model, folder: Path) -> tuple[Converted, Parity]:
        """Write an artifact and measure its parity."""
        converted = convert(
            self._worker,
            target,
            model,
            self._calibration,
            self._metadata,
            self._images,
            folder,
            self._unseen,
        )
        measured = parity.measure(
            self._expected, converted.probabilities, converted.runtime, self._split, self._labels
        )
        return converted, measured.model_copy(update={"seconds": converted.seconds})

    def _network_for_int8(self, target: Target) -> keras.Model:
        bits = FORMATS[target.format].weight_bits
        if bits not in self._for_int8:
            optimizer = None if self._pruned is None else pruning.keep_zeros
            self._for_int8[bits] = qat.fine_tune_for_int8(
                self._network, self._config, self._dataset, bits, optimizer=optimizer
            )
        return self._for_int8[bits]

    def _prune(self, options: cfg.PruneConfig) -> PruneRecord:
        """Prune the network; return what its artifacts' records say of it."""
        self._callback.on_stage(f"pruning and training {options.epochs:g} epochs")
        original = self._network
        self._network = pruning.prune(original, self._config, options, self._dataset)
        allowed = self._options.max_accuracy_loss
        accuracies = pruning.check(
            original, self._network, self._images.pixels, self._labels, allowed
        )
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
            training_digest=self._dataset.digest("train"),
        )


def _load_model(source: Run) -> keras.Model:
    try:
        return keras.models.load_model(source.model_file, compile=False, safe_mode=True)
    except Exception as error:
        reason = " ".join(str(error).split())
        raise RunError(f"{source.model_file} cannot be loaded: {reason[:300]}") from error


def _calibration(dataset: data.Dataset, count: int, seed: int) -> np.ndarray:
    """Return at most `count` training images, class-balanced: uint8 [N, S, S, 3]."""
    labels = dataset.train.labels
    if len(np.unique(labels)) < len(dataset.classes):
        raise DataError(
            f"an export needs training images of every class, to calibrate int8: {dataset.changes}"
        )
    # As even over the classes as can be: of more classes than images, some have none.
    rows = np.sort(balanced_order(labels, seed)[:count])
    return np.asarray(dataset.train.pixels[rows])


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
