"""Load any model file as one function from raw pixels to probabilities."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from cifarnet.errors import ArtifactError
from cifarnet.predictors.base import MAX_BYTES, Metadata, Predict, Predictor, RuntimeModel
from cifarnet.predictors.preprocessing import RUN_PREPROCESSING, Preprocessing, refuse_options

__all__ = [
    "RUN_PREPROCESSING",
    "Metadata",
    "Predict",
    "Predictor",
    "Preprocessing",
    "RuntimeModel",
    "load",
    "refuse_options",
]

# By suffix (a folder has none): the package that a plain installation lacks, and its extra.
_NEEDS: dict[str, tuple[str, str] | None] = {
    "": None,
    ".keras": None,
    ".h5": None,
    ".onnx": ("onnxruntime", "onnx"),
    ".html": ("onnxruntime", "onnx"),
    ".tflite": ("ai_edge_litert", "litert"),
}


def load(
    path: Path,
    batch_size: int = 500,
    preprocessing: Preprocessing | None = None,
    threads: int | None = None,
) -> Predictor:
    """Load the predict function of a model file, from cifarnet or not.

    Args:
        path: a `.keras`, `.h5`, `.onnx` or `.tflite` file, a SavedModel folder, or the page of a
            `web` export.
        batch_size: images per call of the runtime, where the file leaves it open.
        preprocessing: what a foreign network takes and gives; what is None is found from the file,
            and `Predictor.assumed` lists what it does not say.
        threads: of ONNX Runtime and LiteRT; None: one per core.

    Raises:
        ArtifactError: no such file, another kind, larger than 1 GB, damaged, with code inside, not
            for images, or its runtime is not installed. The cause is the runtime's own error.
        ConfigError: preprocessing is stated for a file of cifarnet, which has its own.
    """
    if not path.exists():
        raise ArtifactError(f"there is no model file {path}")
    suffix = "" if path.is_dir() else path.suffix.lower()
    if suffix not in _NEEDS or (suffix == "" and not (path / "saved_model.pb").is_file()):
        raise ArtifactError(
            f"{path}: expected a .keras, .h5, .onnx or .tflite file, a SavedModel folder or the "
            "page of a web export, received "
            f"{'a folder without saved_model.pb' if path.is_dir() else repr(path.name)}"
        )
    needs = _NEEDS[suffix]
    if needs is not None and importlib.util.find_spec(needs[0]) is None:
        raise ArtifactError(
            f"{path.name} needs the package {needs[0]}; install it with: "
            f"pip install 'cifarnet[{needs[1]}]'"
        )
    _check_size(path)
    output_name = None if preprocessing is None else preprocessing.output_name
    model = _runtime_model(path, suffix, output_name, threads)
    return Predictor(model, batch_size, preprocessing)


def _check_size(path: Path) -> None:
    files = path.rglob("*") if path.is_dir() else [path]
    size = sum(file.stat().st_size for file in files if file.is_file())
    if size > MAX_BYTES:
        raise ArtifactError(
            f"{path} has {size:,} bytes, expected at most {MAX_BYTES:,}: no classifier of small "
            "images is larger"
        )


def _runtime_model(
    path: Path, suffix: str, output_name: str | None, threads: int | None
) -> RuntimeModel:
    """Load a file in its runtime, which is imported only for such files."""
    if suffix == "":
        from cifarnet.predictors import saved_model

        return saved_model.load(path, output_name)
    if suffix == ".onnx":
        from cifarnet.predictors import onnx

        return onnx.load(path, output_name, threads)
    if suffix == ".html":
        from cifarnet import browser
        from cifarnet.predictors import onnx

        return onnx.load(path, output_name, threads, browser.network_in(path))
    if suffix == ".tflite":
        from cifarnet.predictors import litert

        return litert.load(path, output_name, threads)
    from cifarnet.predictors import keras_file

    return keras_file.load(path, output_name)
