"""Conversion in a child process: a converter or runtime that crashes ends only that process."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cifarnet import system
from cifarnet.backend import default_settings, initialize_devices, keras
from cifarnet.errors import ArtifactError
from cifarnet.exporters import formats, messages, micro, parity, web_format
from cifarnet.exporters.targets import Target
from cifarnet.predictors import Metadata, load
from cifarnet.runs.results import BrowserRecord, MicroRecord
from cifarnet.worker import Worker, WorkerDied


class Converted(NamedTuple):
    """An artifact and what it predicts.

    Attributes:
        path: the file or folder that a predictor loads.
        runtime: name and version.
        probabilities: of the images, float32 [N, K].
        seconds: that predicting them took.
        micro: how it was checked for microcontrollers; None for other formats than `c`.
        browser: how it was checked in a browser; None for other formats than `web`.
    """

    path: Path
    runtime: str
    probabilities: np.ndarray
    seconds: float
    micro: MicroRecord | None = None
    browser: BrowserRecord | None = None


def convert(
    worker: Worker,
    target: Target,
    model: keras.Model,
    calibration: np.ndarray,
    metadata: Metadata,
    images: parity.Images,
    folder: Path,
    unseen: np.ndarray | None = None,
) -> Converted:
    """Write a network in a format, and predict images with the artifact, in its own runtime.

    Args:
        worker: the child process.
        target: format and quantization.
        model, calibration, metadata, folder, unseen: as for `formats.write`.
        images: to predict.

    Raises:
        ArtifactError, ModelError: as for `formats.write`; or the artifact does not load or run; or
            the process crashed.
    """
    with tempfile.TemporaryDirectory(prefix=".network-", dir=folder) as temporary:
        file = Path(temporary) / "network.keras"
        model.save(file)
        try:
            return worker.call(
                _convert, target, file, calibration, metadata, images, folder, unseen
            )
        except RuntimeError as error:  # of what the worker does before and after the converter
            name = f"{target.format} ({target.quantization})"
            raise ArtifactError(f"{name}: {messages.last_telling_line(error, [])}") from error
        except WorkerDied as error:
            raise ArtifactError(
                f"{target.format} ({target.quantization}): the converter or the runtime crashed "
                f"({error}). {_suspects(model)} Leave this format out, or replace the layer."
            ) from error


@default_settings()
def _convert(
    target: Target,
    network: Path,
    calibration: np.ndarray,
    metadata: Metadata,
    images: parity.Images,
    folder: Path,
    unseen: np.ndarray | None,
) -> Converted:
    initialize_devices()
    model = keras.models.load_model(network, compile=False)
    path = formats.write(
        target.format, target.quantization, model, calibration, metadata, folder, unseen
    )
    try:
        with system.quiet():
            predictor = load(path)
            start = time.perf_counter()
            probabilities = parity.predict(predictor, images)
            seconds = round(time.perf_counter() - start, 3)
    except ArtifactError as error:
        reason = messages.last_telling_line(error, [layer.name for layer in model.layers])
        raise ArtifactError(
            f"{target.format} ({target.quantization}): the converted file does not run: {reason}"
        ) from error
    converted = Converted(path, predictor.runtime, probabilities, seconds)
    if target.format == "c":
        record = micro.check(path.read_bytes(), images.pixels, probabilities)
        return converted._replace(micro=record)
    if target.format == "web":
        shown = np.concatenate([images.pixels, images.extremes])
        return converted._replace(browser=web_format.prove(path, shown, probabilities))
    return converted


def _suspects(model: keras.Model) -> str:
    """Return a sentence that names the layers that crash converters."""
    kinds = keras.layers.RNN | keras.layers.Bidirectional
    found = [f"{one.name} ({type(one).__name__})" for one in model.layers if isinstance(one, kinds)]
    if not found:
        return "No layer of the network is known to cause this."
    return (
        f"Known to cause this: recurrent layers, here {', '.join(found)}; an LSTM converts with "
        "`unroll: true`."
    )
