"""What a user means by RUN or ARTIFACT: a model file, its run, its preprocessing, its classes."""

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

_LOCK_TIMEOUT = 30.0  # seconds that another command gets to write its results into the same run


@dataclass(frozen=True)
class Artifact:
    """A model file, the run it belongs to, and what is known of its data.

    Attributes:
        path: the file, or the SavedModel's folder.
        run: None for a file outside any run.
        config: the run's; for a file outside any run that of a CIFAR-10 network.
    """

    path: Path
    run: Run | None
    config: cfg.Config

    @property
    def is_run_model(self) -> bool:
        """Whether the run itself is meant, not one of its exports."""
        return self.run is not None and self.path == self.run.model_file

    @property
    def name(self) -> str:
        """Name for a table: of the file, or of an export's folder."""
        in_run = self.run is not None and not self.is_run_model
        return self.path.parent.name if in_run else self.path.name

    def load(self, preprocessing: Preprocessing | None = None) -> Predictor:
        """Load the predict function; `preprocessing` is for a file outside any run.

        Raises:
            ArtifactError: see `predictors.load`; or a file of a run that has changed since.
        """
        if self.run is not None:
            runs.check(self.run, self.path)
        size = self.config.evaluate.batch_size
        return predictors.load(self.path, size, self.preprocessing(preprocessing))

    def preprocessing(self, stated: Preprocessing | None = None) -> Preprocessing:
        """Return what the file takes, as far as it is known: a run's own, or as the user states."""
        if self.run is None:
            return stated or Preprocessing()
        # Exports of a run state in their metadata what they take.
        return predictors.OF_RUNS if self.is_run_model else Preprocessing()

    @contextmanager
    def writing(self, path: Path) -> Iterator[None]:
        """Hold the run's lock, if there is a run, while results are written to `path` in it.

        Raises:
            RunError: another process holds it for long.
        """
        if self.run is None:
            yield
            return
        with runs.lock(self.run, wait=_LOCK_TIMEOUT), runs.changing(self.run, path):
            yield

    def classes(self, predictor: Predictor) -> list[str]:
        """Return the class names: the file's own, the run's, CIFAR-10's for ten, else numbers."""
        if "classes" in predictor.metadata:
            return list(predictor.metadata["classes"])
        if self.run is not None:
            return list(self.run.read_record().data.classes)
        if predictor.classes == len(data.CIFAR10_CLASSES):
            return list(data.CIFAR10_CLASSES)
        return [f"class {i}" for i in range(predictor.classes)]


def resolve(target: Run | str | Path) -> Artifact:
    """Find what a user means by a run, a path, a run's name, or `latest`.

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
    """Find the run a user means, with its model.

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
    """Load the predict function of a run or model file: pixels to probabilities.

    Args:
        target: a run, its path or name, `latest`, or a model file, ours or foreign.
        preprocessing: what a foreign file takes; see `predictors.Preprocessing`.

    Returns:
        A function of uint8 [N, S, S, 3], RGB, 0-255, to float32 [N, classes].

    Raises:
        RunError, ArtifactError: it cannot be found or loaded, or has changed since.
    """
    return resolve(target).load(preprocessing)
