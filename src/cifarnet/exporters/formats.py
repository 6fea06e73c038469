"""The registry of export formats: what each can hold, what it needs, and what writes it."""

from __future__ import annotations

import functools
import importlib.util
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cifarnet import system
from cifarnet.backend import keras
from cifarnet.choices import ExportFormat, Quantization
from cifarnet.data import OnFetch
from cifarnet.errors import ArtifactError, ConfigError
from cifarnet.exporters import (
    c_source,
    keras_format,
    litert_format,
    messages,
    network,
    onnx_format,
    saved_model,
    triton_format,
    web_format,
)
from cifarnet.predictors import Metadata

# (model, quantization, calibration, metadata, folder) -> the file or folder that a predictor
# loads. The model is as `network.build` returns it; the rest as for `write`.
Writer = Callable[[keras.Model, str, np.ndarray, Metadata, Path], Path]


@dataclass(frozen=True)
class Format:
    """An export format.

    Attributes:
        write: writes an artifact.
        packages: that it needs and a plain installation lacks.
        extra: the extra of cifarnet that installs them.
        fetch: fetches into the cache what its writer needs.
        missing: returns what this machine lacks besides packages, a sentence; empty: nothing.
        portable: whether other runtimes than Keras read it; see `network.build`.
        weight_bits: of the weights of its int8 files.
    """

    write: Writer
    packages: tuple[str, ...] = ()
    extra: str = ""
    portable: bool = True
    fetch: Callable[[OnFetch | None], None] | None = None
    missing: Callable[[], str] = lambda: ""
    weight_bits: int = 8

    def require_packages(self, name: str) -> None:
        """Check that the packages are installed.

        Raises:
            ConfigError: one is missing.
        """
        if problem := self._missing_packages(name):
            raise ConfigError(problem)

    def problem(self, name: str) -> str:
        """Return why this format cannot be written on this machine; empty: it can."""
        return self._missing_packages(name) or self.missing()

    def _missing_packages(self, name: str) -> str:
        missing = [p for p in self.packages if importlib.util.find_spec(p) is None]
        if not missing:
            return ""
        return (
            f"{name} needs the packages {', '.join(missing)}; install them with: "
            f"pip install 'cifarnet[{self.extra}]'"
        )


# In the order of `choices.ExportFormat`, from which the config and the command line take
# the names.
FORMATS: dict[ExportFormat, Format] = {
    "keras": Format(keras_format.write, portable=False),
    "savedmodel": Format(saved_model.write),
    "onnx": Format(
        onnx_format.write,
        ("tf2onnx", "onnxruntime"),
        "onnx",
        weight_bits=onnx_format.WEIGHT_BITS,
    ),
    "litert": Format(litert_format.write, ("ai_edge_litert",), "litert"),
    "c": Format(c_source.write, ("ai_edge_litert",), "litert"),
    "web": Format(
        web_format.write,
        ("tf2onnx", "onnxruntime"),
        "onnx",
        fetch=web_format.fetch,
        missing=web_format.missing,
    ),
    "triton": Format(
        triton_format.write,
        ("tf2onnx", "onnxruntime"),
        "onnx",
        weight_bits=onnx_format.WEIGHT_BITS,
    ),
}


def problems() -> dict[ExportFormat, str]:
    """Return the formats that cannot be written on this machine, and why: a sentence of each."""
    found = {name: format_.problem(name) for name, format_ in FORMATS.items()}
    return {name: problem for name, problem in found.items() if problem}


def write(
    name: ExportFormat,
    quantization: Quantization,
    model: keras.Model,
    calibration: np.ndarray,
    metadata: Metadata,
    folder: Path,
    unseen: np.ndarray | None = None,
) -> Path:
    """Write a network in a format.

    Args:
        name: of the format.
        quantization: one that the format can hold.
        model: float32, of Keras' own layers, logits out.
        calibration: uint8 [N, S, S, 3], training images that int8 ranges are measured on.
        metadata: JSON-able, stored inside the artifact.
        folder: an empty folder.
        unseen: uint8 [N, S, S, 3], images that `web` offers as examples; None: it has none.

    Returns:
        The file or folder that a predictor loads.

    Raises:
        ArtifactError: the network does not convert; its cause is the converter's own error.
        ModelError: the network is not float32.
    """
    format_ = FORMATS[name]
    writer = format_.write
    if name == "web":
        writer = functools.partial(web_format.write, unseen=unseen)
    model = network.build(model, portable=format_.portable)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with system.quiet(), _temporary_files_in(folder):
                return writer(model, quantization, calibration, metadata, folder)
        except ArtifactError as error:
            raise ArtifactError(f"{name} ({quantization}): {error}") from error
        except Exception as error:  # each converter raises its own
            reason = messages.last_telling_line(error, [layer.name for layer in model.layers])
            raise ArtifactError(
                f"{name} ({quantization}): {reason}\nLeave this format out, or replace the layer; "
                "--debug shows the converter's whole error."
            ) from error


@contextmanager
def _temporary_files_in(folder: Path) -> Iterator[None]:
    """Have converters keep temporary files in `folder`, which is removed if the process dies."""
    before, own = tempfile.tempdir, folder / ".temporary"
    own.mkdir()
    tempfile.tempdir = str(own)
    try:
        yield
    finally:
        tempfile.tempdir = before
        shutil.rmtree(own, ignore_errors=True)
