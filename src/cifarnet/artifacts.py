"""Find what RUN or ARTIFACT stands for: a model file, its run, preprocessing and class names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cifarnet import config as cfg
from cifarnet import data, predictors, runs
from cifarnet.errors import RunError
from cifarnet.predictors import Predictor, Preprocessing
from cifarnet.runs import Run

_LOCK_TIMEOUT = 30.0  # seconds to wait for another command that writes into the same run


@dataclass(frozen=True)
class Artifact:
    """A model file, and the run it belongs to.

    Attributes:
        path: the file, or the SavedModel's folder.
        run: None for a file outside any run.
        config: of the run; outside any run, defaults with the CIFAR-10 dataset.
    """

    path: Path
    run: Run | None
    config: cfg.Config

    @property
    def is_run_model(self) -> bool:
        """Whether this is `model.keras` of a run, not an export."""
        return self.run is not None and self.path == self.run.model_file

    @property
    def name(self) -> str:
        """Name in tables: of the file, or of an export's folder."""
        in_run = self.run is not None and not self.is_run_model
        return self.path.parent.name if in_run else self.path.name

    def load(self, preprocessing: Preprocessing | None = None) -> Predictor:
        """Load the predict function; `preprocessing` is for a file outside any run.

        Raises:
            ArtifactError: as for `predictors.load`.
            RunError: a file of a run that has changed since it was written.
        """
        if self.run is not None:
            runs.check(self.run, self.path)
        size = self.config.evaluate.batch_size
        return predictors.load(self.path, size, self.preprocessing(preprocessing))

    def preprocessing(self, stated: Preprocessing | None = None) -> Preprocessing:
        """Return a run's preprocessing, or for a file outside any run what the user states."""
        if self.run is None:
            return stated or Preprocessing()
        # Exports take raw pixels and return probabilities, which are the defaults.
        return predictors.RUN_PREPROCESSING if self.is_run_model else Preprocessing()

    @contextmanager
    def writing(self, path: Path) -> Iterator[None]:
        """Hold the run's lock, if there is a run, while `path` in it is written.

        Raises:
            RunError: another process still holds it after 30 s.
        """
        if self.run is None:
            yield
            return
        with runs.lock(self.run, wait=_LOCK_TIMEOUT), runs.changing(self.run, path):
            yield

    def classes(self, predictor: Predictor) -> list[str]:
        """Return the class names: of the file, of the run, CIFAR-10's if ten, else numbers."""
        if "classes" in predictor.metadata:
            return list(predictor.metadata["classes"])
        if self.run is not None:
            return list(self.run.read_record().data.classes)
        if predictor.classes == len(data.CIFAR10_CLASSES):
            return list(data.CIFAR10_CLASSES)
        return [f"class {i}" for i in range(predictor.classes)]


def resolve(target: Run | str | Path) -> Artifact:
    """Find the artifact that a run, a path, a run's name or `latest` stands for.

    Raises:
        RunError: no such run or file, or a run without a model.
    """
    path = target.path if isinstance(target, Run) else Path(target)
    if (path.is_file() and path.suffix) or (path / "saved_model.pb").is_file():
        homes = [parent for parent in path.resolve().parents if (parent / "run.json").is_file()]
        if not homes:
            return Artifact(path, None, cfg.data_only())
        run = Run(homes[0])
        return Artifact(path, run, cfg.load(run.config_file))
    run = trained_run(target)
    return Artifact(run.model_file, run, cfg.load(run.config_file))


def trained_run(target: Run | str | Path) -> Run:
    """Find a run that has a model.

    Raises:
        RunError: no such run, or it has no model yet.
    """
    run = runs.open_run(target)
    if not run.model_file.is_file():
        raise RunError(
            f"{run.path} has no model yet ({runs.status(run)}). "
            f"Finish it with: cifarnet train --resume {run.path}"
        )
    return run


def load_predictor(
    target: Run | str | Path, preprocessing: Preprocessing | None = None
) -> Predictor:
    """Load the predict function of a run or model file: raw pixels to probabilities.

    Args:
        target: a run, its path or name, `latest`, or a `.keras`, `.h5`, `.onnx` or `.tflite` file
            or SavedModel folder, whether cifarnet wrote it or not.
        preprocessing: what a foreign file takes; see `Preprocessing`.

    Returns:
        A function of uint8 [N, S, S, 3], RGB, 0-255, to float32 [N, classes].

    Raises:
        RunError: no such run, one without a model, or a file of it has changed.
        ArtifactError: the file cannot be loaded.

    Example:
        predict = cifarnet.load_predictor("runs/article/exports/onnx/model.onnx")
        probabilities = predict(pixels)  # pixels: uint8 [N, 32, 32, 3]
        classes = probabilities.argmax(axis=1)
    """
    return resolve(target).load(preprocessing)
