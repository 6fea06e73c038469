"""The stated failures, by kind. The command line prints them without a traceback.

A message says what was expected, what was received and what to do next.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from cifarnet.runs import Export

JsonObject = dict[str, Any]  # what `json.loads` gives for an object


class CifarnetError(Exception):
    """Base of every stated failure; `exit_code` is what the process ends with."""

    exit_code = 1

    def details(self) -> JsonObject:
        """Return what `--json` shows beside the message, the kind and the exit code."""
        return {}


class BackendError(CifarnetError):
    """Keras does not run on TensorFlow in this process."""


class ConfigError(CifarnetError):
    """A YAML file or an override that cannot become a `Config`."""


class DataError(CifarnetError):
    """Images or labels that are missing, damaged or not what they should be."""


class ModelError(CifarnetError):
    """A layer list that does not build, or a model that does not fit its data."""


class RunError(CifarnetError):
    """A run directory that cannot be created, found, read or written."""


class ArtifactError(CifarnetError):
    """A model file that cannot be loaded, or does not do what it should."""


class TrainingError(CifarnetError):
    """A training that cannot continue, such as one whose loss is not finite."""


class GateError(CifarnetError):
    """A requirement the user set, such as `--require accuracy>=0.9`, is not met."""

    exit_code = 3


class ExportFailure(NamedTuple):
    """An artifact that was not written.

    Attributes:
        name: of the artifact, such as `litert-int8`.
        error: an `ArtifactError` if the format cannot hold the network, a `GateError` if the
            artifact failed its parity check.
    """

    name: str
    error: CifarnetError


class ExportError(GateError):
    """Some of several artifacts were not written; the others were.

    Attributes:
        written: the records of the others.
        failures: the artifacts that were not written, and why.
    """

    def __init__(self, written: Sequence[Export], failures: Sequence[ExportFailure]) -> None:
        self.written, self.failures = tuple(written), tuple(failures)
        total = len(self.written) + len(self.failures)
        names = ", ".join(one.name for one in self.failures)
        super().__init__(f"{len(self.failures)} of {total} artifacts were not written: {names}")

    def details(self) -> JsonObject:
        """Return the records of the written artifacts, and the failures."""
        failures = [
            {"name": one.name, "kind": type(one.error).__name__, "error": str(one.error)}
            for one in self.failures
        ]
        return {"written": [one.to_json() for one in self.written], "failures": failures}


class Interrupted(CifarnetError):
    """The user stopped the work; what was done can be resumed."""

    exit_code = 130
