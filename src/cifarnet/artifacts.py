"""What evaluate, predict and benchmark work on: a run, or any model file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

if TYPE_CHECKING:
    from cifarnet.config import Config
    from cifarnet.predictors import Predictor, Preprocessing
    from cifarnet.runs import RunDir

_WAIT = 30.0  # seconds that another command gets to write its results into the same run
_RANGES = ("0-255", "0-1", "-1-1")


class Target(NamedTuple):
    """A model file, the run it belongs to, and what is known of its data.

    Attributes:
        artifact: the file, or the SavedModel's folder.
        run: None for a file outside any run.
        config: the run's; for a lone file that of a CIFAR-10 network.
    """

    artifact: Path
    run: RunDir | None
    config: Config

    @property
    def whole_run(self) -> bool:
        """Whether the run itself is meant, not one of its exports."""
        return self.run is not None and self.artifact == self.run.model

    def load(self, **wanted: Any) -> Predictor:
        """The predict function; `wanted` are the values of the options of `foreign`.

        Raises:
            ArtifactError: see `predictors.load`; or a file of a run that has changed since.
        """
        from cifarnet import predictors, runs

        if self.run is not None:
            runs.check(self.run, self.artifact)
        size = self.config.evaluate.batch_size
        return predictors.load(self.artifact, size, self.preprocessing(**wanted))

    @contextmanager
    def writing(self, path: Path) -> Iterator[None]:
        """Hold the run, if there is one, while results are written to a file or folder of it.

        Raises:
            RunError: another process holds it for long.
        """
        from cifarnet import runs

        if self.run is None:
            yield
            return
        with runs.lock(self.run, wait=_WAIT), runs.changing(self.run, path):
            yield

    def preprocessing(self, **wanted: Any) -> Preprocessing:
        """What the file takes, as far as it is known: a run's own, or by the user's options."""
        from cifarnet import predictors

        if self.run is None:
            names = ("input_range", "mean", "std", "layout", "logits")
            return predictors.Preprocessing(*(wanted[name] for name in names))
        # Exports of a run say themselves what they take.
        return predictors.OF_RUNS if self.whole_run else predictors.Preprocessing()

    def classes(self, predictor: Predictor) -> list[str]:
        """The class names: the file's own, the run's, CIFAR-10's for ten, else numbers."""
        from cifarnet import data

        if "classes" in predictor.metadata:
            return list(predictor.metadata["classes"])
        if self.run is not None:
            return list(self.run.read_manifest()["data"]["classes"])
        if predictor.classes == len(data.CIFAR10_CLASSES):
            return list(data.CIFAR10_CLASSES)
        return [f"class {i}" for i in range(predictor.classes)]


def resolve(text: str) -> Target:
    """What a user means by a path, a run's name, or `latest`.

    Raises:
        RunError: no such run or file, or a run without a model.
    """
    from cifarnet import config, runs

    path = Path(text)
    if (path.is_file() and path.suffix) or (path / "saved_model.pb").is_file():
        homes = [parent for parent in path.resolve().parents if (parent / "run.json").is_file()]
        if not homes:
            return Target(path, None, config.of_data())
        run = runs.RunDir(homes[0])
        return Target(path, run, config.load(run.config))
    run = trained_run(text)
    return Target(run.model, run, config.load(run.config))


def trained_run(text: str) -> RunDir:
    """The run a user means by a path, a name, or `latest`, with its model.

    Raises:
        RunError: no such run, or it has no model yet.
    """
    from cifarnet import runs
    from cifarnet.errors import RunError

    run = runs.find(text)
    if not run.model.is_file():
        raise RunError(
            f"{run.path} has no model yet ({runs.status(run)}). "
            f"Finish it with: cifarnet train --resume {run.path}"
        )
    return run


def _three(
    context: click.Context, option: click.Parameter, value: str | None
) -> tuple[float, ...] | None:
    if value is None:
        return None
    try:
        numbers = tuple(float(part) for part in value.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) != 3 or (option.name == "std" and 0.0 in numbers):
        raise click.BadParameter(f"expected three numbers such as 0.49,0.48,0.45, received {value}")
    return numbers


def foreign(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say what a file of unknown origin takes; `Target.load` has them."""
    options = [
        click.option(
            "--input-range",
            type=click.Choice(_RANGES),
            help="What pixels 0 to 255 become for a foreign file.",
        ),
        click.option(
            "--mean",
            callback=_three,
            metavar="R,G,B",
            help="Then subtracted, in the input range.",
        ),
        click.option(
            "--std", callback=_three, metavar="R,G,B", help="Then divided by, in the input range."
        ),
        click.option(
            "--layout", type=click.Choice(["nhwc", "nchw"]), help="Order of a foreign file's input."
        ),
        click.option("--logits", is_flag=True, default=None, help="It gives logits."),
    ]
    for option in reversed(options):
        command = option(command)
    return command
