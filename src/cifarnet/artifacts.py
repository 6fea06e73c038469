"""Find what RUN or ARTIFACT stands for: a model file, its run, preprocessing and class names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cifarnet import config as cfg
from cifarnet import data, predictors, runs
from cifarnet.callbacks import Callback
from cifarnet.errors import ArtifactError, ConfigError, RunError
from cifarnet.predictors import Predict, Predictor, Preprocessing
from cifarnet.runs import Export, Run, documents
from cifarnet.runs.results import EvaluationSource

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
        homes = (one for one in self.path.absolute().parents if (one / "export.json").is_file())
        return next(homes, self.path).name

    def load(
        self,
        preprocessing: Preprocessing | None = None,
        batch_size: int | None = None,
        threads: int | None = None,
    ) -> Predictor:
        """Load the predict function.

        Args:
            preprocessing: of a file outside any run.
            batch_size: images per call of the runtime; None: the config's.
            threads: as for `predictors.load`.

        Raises:
            ArtifactError: as for `predictors.load`.
            ConfigError: it is stated for a file of cifarnet.
            RunError: a file of a run that has changed since it was written.
        """
        if self.run is not None:
            predictors.refuse_options(str(self.run.path), preprocessing)
            runs.check(self.run, self.path)
        size = batch_size or self.config.evaluate.batch_size
        return predictors.load(self.path, size, self.preprocessing(preprocessing), threads)

    def preprocessing(self, stated: Preprocessing | None = None) -> Preprocessing:
        """Return a run's preprocessing, or for a file outside any run what the user states."""
        if self.run is None:
            return stated or Preprocessing()
        # Exports take raw pixels and return probabilities, which are the defaults.
        return predictors.RUN_PREPROCESSING if self.is_run_model else Preprocessing()

    def dataset(
        self,
        on_fetch: data.OnFetch | None = None,
        allow_changed: bool = False,
        predictor: Predictor | None = None,
    ) -> data.Dataset:
        """Load the images of the run in its recorded splits; outside any run, those of `config`.

        Args:
            on_fetch, allow_changed: as for `data.load_recorded`.
            predictor: of a file outside any run: a given folder is read at its size, and only
                images are used that it was not trained on, as far as the file says.

        Raises:
            DataError: as for `data.load_recorded`.
        """
        if self.run is not None:
            return data.load_recorded(self.run, self.config, on_fetch, allow_changed)
        if predictor is None or self.config.data.source != "directory":
            return data.load(self.config.data, self.config.seed, on_fetch)
        resized = self.config.data.model_copy(update={"image_size": predictor.size})
        return data.load_given(resized, predictor.test_fraction, on_fetch)

    def evaluation_folder(self, output: str | Path | None = None) -> Path:
        """Return where results are written: to `output`, in the run, or beside a model file."""
        if output is not None:
            return Path(output)
        if self.run is not None and self.is_run_model:
            return self.run.evaluation_folder
        return self.path.with_name(f"{self.path.name}.evaluation")

    def source(
        self, predictor: Predictor, dataset: data.Dataset, split: str, order: Sequence[str] = ()
    ) -> EvaluationSource:
        """Describe what is evaluated: the artifact and the images.

        Args:
            predictor, dataset, split: what is evaluated on what.
            order: what is assumed of the classes' order; see `align`.
        """
        return EvaluationSource(
            artifact=str(self.path),
            runtime=predictor.runtime,
            assumed=[*predictor.assumed, *(order if self.run is None else [])],
            data=dataset.description,
            split=split,
            digest=dataset.digest(split),
            duplicates=dataset.duplicates(split),
            changed_data=dataset.changes,
            weights_sha256=self._weights(predictor),
        )

    def _weights(self, predictor: Predictor) -> str:
        if self.run is not None and self.is_run_model:
            return runs.weights_digest(self.run)
        return str(predictor.metadata.get("weights_sha256", ""))

    @contextmanager
    def writing(self, path: Path, callback: Callback) -> Iterator[None]:
        """Write a result to `path`; if that is in the run, hold its lock, then write its page.

        Raises:
            RunError: it cannot be written, or another process still writes the run after 30 s.
        """
        from cifarnet.reporting import page  # with its templates, which `predict` does without

        try:
            if self.run is None or not path.resolve().is_relative_to(self.run.path.resolve()):
                yield
                return
            with (
                runs.lock(self.run, wait=_LOCK_TIMEOUT),
                page.refreshed([self.run], callback),
                runs.changing(self.run, path),
            ):
                yield
        except RunError as error:
            raise RunError(f"{error} To write elsewhere, give --output FOLDER.") from error

    def classes(self, predictor: Predictor) -> list[str]:
        """Return the class names: of the file, of the run, CIFAR-10's if ten, else numbers."""
        if predictor.class_names is not None:
            return predictor.class_names
        if self.run is not None:
            return list(self.run.read_record().data.classes)
        if predictor.classes == len(data.CIFAR10_CLASSES):
            return list(data.CIFAR10_CLASSES)
        return [f"class {i}" for i in range(predictor.classes)]


def align(predictor: Predictor, classes: Sequence[str]) -> tuple[Predict, list[str]]:
    """Give a network's outputs in the order of a dataset's classes.

    Returns:
        The predict function; and what is assumed of the order.

    Raises:
        ArtifactError: as for `class_order`.
    """
    order, assumed = class_order(predictor, classes)
    if order == list(range(len(order))):
        return predictor, assumed
    return (lambda pixels: predictor(pixels)[:, order]), assumed


def class_order(predictor: Predictor, classes: Sequence[str]) -> tuple[list[int], list[str]]:
    """Find a dataset's classes among a network's outputs.

    Returns:
        The column of each class in the outputs; and what is assumed of the order.

    Raises:
        ArtifactError: the network has another number of classes; or a file of cifarnet has others.
    """
    if predictor.classes != len(classes):
        raise ArtifactError(
            f"the network gives {predictor.classes} classes, the images have {len(classes)}: "
            f"{', '.join(classes[:5])}, ... Give images of its classes with "
            "-o data.source=directory -o data.path=FOLDER"
        )
    names = predictor.class_names
    if names is not None and set(names) == set(classes):
        return [names.index(name) for name in classes], []
    if names is not None and predictor.metadata:
        raise ArtifactError(
            f"the network has the classes {', '.join(names[:5])}, ..., the images have "
            f"{', '.join(classes[:5])}, ... Give images of its classes with -o data.path=FOLDER"
        )
    own = "" if names is None else f" for its own {', '.join(names[:3])}, ..."
    order = list(range(predictor.classes))
    return order, [f"outputs in the order {', '.join(classes[:3])}, ...{own}"]


def resolve(target: Run | str | Path, overrides: Iterable[str] = ()) -> Artifact:
    """Find the artifact that a run, a path, a run's name or `latest` stands for.

    Args:
        target: what to find; also the folder of an export.
        overrides: `key=value` texts: `data.path` of a run whose images have moved; outside any
            run, `data` keys that say which images to use instead of CIFAR-10.

    Raises:
        RunError: no such run or file, or a run without a model.
        ConfigError: an override of another key, or the run's config is damaged.
    """
    path = target.path if isinstance(target, Run) else Path(target)
    if (path / "export.json").is_file():
        path = documents.read(path / "export.json", Export).path
    if (path.is_file() and path.suffix) or (path / "saved_model.pb").is_file():
        run = runs.run_of(path.resolve())
        if run is None:
            return Artifact(path, None, _data_config(overrides))
        return Artifact(path, run, run_config(run, overrides))
    run = trained_run(target)
    return Artifact(run.model_file, run, run_config(run, overrides))


def run_config(run: Run, overrides: Iterable[str] = ()) -> cfg.Config:
    """Read the config of a run, whose `data.path` may be overridden.

    Raises:
        ConfigError: an override of another key, or the config is damaged.
    """
    stored, config = cfg.load(run.config_file), cfg.load(run.config_file, overrides)
    if refused := [key for key in cfg.changes(stored, config) if key != "data.path"]:
        raise ConfigError(
            f"{', '.join(refused)}: only data.path of {run.path} may be overridden, where its "
            "images have moved; everything else is what it was trained with"
        )
    return config


def _data_config(overrides: Iterable[str]) -> cfg.Config:
    config = cfg.data_only(overrides)
    refused = [key for key in cfg.changes(cfg.data_only(), config) if not key.startswith("data.")]
    if refused:
        raise ConfigError(
            f"{', '.join(refused)}: expected keys of `data`, such as data.path, for a model file "
            "outside any run"
        )
    return config


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
        preprocessing: what a foreign file takes and gives; see `Preprocessing`.

    Returns:
        A function of uint8 [N, S, S, 3], RGB, 0-255, to float32 [N, classes].

    Raises:
        RunError: no such run, one without a model, or a file of it has changed.
        ArtifactError: the file cannot be loaded.
        ConfigError: preprocessing is stated for a file of cifarnet.

    Example:
        predict = cifarnet.load_predictor("runs/article/exports/onnx/model.onnx")
        probabilities = predict(pixels)  # pixels: uint8 [N, 32, 32, 3]
        classes = probabilities.argmax(axis=1)
    """
    return resolve(target).load(preprocessing)
