"""The network that is served: its file, its name, its predict function."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cifarnet import artifacts, runs
from cifarnet.artifacts import Artifact
from cifarnet.callbacks import Callback
from cifarnet.errors import ArtifactError
from cifarnet.formatting import printable
from cifarnet.predictors import Predictor, Preprocessing
from cifarnet.runs import Export, Run, documents

INPUT, OUTPUT = "pixels", "probabilities"
VERSION = "1"
# By suffix: the platform that the metadata states, and images per call. LiteRT makes an interpreter
# for each number of images, so it gets one at a time.
_RUNTIMES: dict[str, tuple[str, int | None]] = {
    ".onnx": ("onnxruntime_onnx", None),
    ".tflite": ("litert", 1),
}
_WARM_UP = (1, 2, 16)  # images
_TIMED = 5  # calls


@dataclass(frozen=True)
class Network:
    """A network, loaded.

    Attributes:
        path: of its file.
        name: in the paths of the protocols.
        platform: as the Open Inference Protocol has it, such as `onnxruntime_onnx`.
        predictor: pixels to probabilities.
        classes: names, printable.
        is_calibrated: whether the probabilities were calibrated, as far as file and run say.
        mean_color: of the training images, RGB, 0-255, as far as the file says.
        run: that the file belongs to, if any.
    """

    path: Path
    name: str
    platform: str
    predictor: Predictor
    classes: list[str]
    is_calibrated: bool
    mean_color: list[int] | None
    run: Run | None = None

    @property
    def size(self) -> int:
        """Side of the images, pixels."""
        return self.predictor.size

    def warm_up(self) -> float:
        """Run the network at a few batch sizes, as the first call of each is slower.

        Returns:
            Seconds of a call with one image, the shortest of a few.
        """
        for count in _WARM_UP:
            self._seconds(count)
        return min(self._seconds(1) for _ in range(_TIMED))

    def _seconds(self, count: int) -> float:
        began = time.perf_counter()
        self.predictor(np.zeros((count, self.size, self.size, 3), np.uint8))
        return time.perf_counter() - began


def load(
    target: Run | str | Path, preprocessing: Preprocessing | None, callback: Callback
) -> Network:
    """Load what RUN or ARTIFACT stands for; a run by its ONNX or LiteRT export.

    A run without either of its present weights is exported to ONNX first, in a child process,
    which needs TensorFlow.

    Raises:
        RunError, ArtifactError: it cannot be found, exported or loaded.
    """
    artifact = _exported(artifacts.resolve(target), callback)
    suffix = artifact.path.suffix.lower()
    if suffix not in _RUNTIMES:
        raise ArtifactError(
            f"expected a run, or an .onnx or .tflite file, received {artifact.path}: the server "
            "has no TensorFlow. Train or convert it elsewhere, or serve a run"
        )
    platform, batch_size = _RUNTIMES[suffix]
    callback.on_stage(f"loading {artifact.path}")
    predictor = artifact.load(preprocessing, batch_size, threads=1)
    name = artifact.path.stem if artifact.run is None else artifact.config.name
    return Network(
        path=artifact.path,
        name=re.sub(r"[^\w.-]", "-", name, flags=re.ASCII),
        platform=platform,
        predictor=predictor,
        classes=[printable(name) for name in artifact.classes(predictor)],
        is_calibrated=_is_calibrated(artifact, predictor),
        mean_color=_mean_color(predictor),
        run=artifact.run,
    )


def _is_calibrated(artifact: Artifact, predictor: Predictor) -> bool:
    if "temperature" in predictor.metadata:
        return predictor.metadata["temperature"] is not None
    return artifact.run is not None and artifact.run.read_record().calibration is not None


def _mean_color(predictor: Predictor) -> list[int] | None:
    """Return what the file states; None for a foreign one or one of an earlier version."""
    color = predictor.metadata.get("mean_color")
    if not isinstance(color, list) or len(color) != 3:
        return None
    return color if all(type(value) is int and 0 <= value <= 255 for value in color) else None


def _exported(artifact: Artifact, callback: Callback) -> Artifact:
    """Return the export to serve in place of a run's `model.keras`."""
    if artifact.run is None or not artifact.is_run_model:
        return artifact
    for name in ("onnx", "litert"):
        file = artifact.run.exports_folder / name / "export.json"
        if file.is_file():
            export = documents.read(file, Export)
            if runs.is_current(artifact.run, export.weights_sha256):
                return artifacts.resolve(file.parent)
    callback.on_stage(f"exporting {artifact.run.path} to ONNX, once")
    _export(artifact.run)
    return artifacts.resolve(artifact.run.exports_folder / "onnx")


def _export(run: Run) -> None:
    options = ("--format", "onnx", "--quantize", "none", "--json")
    command = [sys.executable, "-m", "cifarnet", "export", str(run.path), *options]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
    if done.returncode == 0:
        return
    try:
        reason = json.loads(done.stdout)["error"]
    except (ValueError, KeyError, TypeError):
        reason = " ".join(done.stderr.split())[-300:]
    raise ArtifactError(
        f"{run.path} has no ONNX or LiteRT export of its weights, and cannot be exported: "
        f"{reason}. Then serve it again after: cifarnet export {run.path} --format onnx"
    )
