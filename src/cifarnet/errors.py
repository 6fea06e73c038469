"""The stated failures, by kind. The command line prints them without a traceback.

A message says what was expected, what was received and what to do next.
"""


class CifarnetError(Exception):
    """Base of every stated failure; `exit_code` is what the process ends with."""

    exit_code = 1


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


class Interrupted(CifarnetError):
    """The user stopped the work; what was done is kept and can be resumed."""

    exit_code = 130
