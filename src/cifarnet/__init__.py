"""Train, evaluate and export CIFAR-10 image classifiers from YAML configs.

Everything the command line does is a function here. Names are imported when first used, so
`import cifarnet` loads neither TensorFlow nor Keras and does not change the environment.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cifarnet.artifacts import load_predictor
    from cifarnet.benchmarking import benchmark
    from cifarnet.callbacks import Callback, EpochResult, StepProgress
    from cifarnet.callbacks.display import ProgressDisplay
    from cifarnet.config import Config
    from cifarnet.config import load as load_config
    from cifarnet.errors import CifarnetError
    from cifarnet.evaluation import evaluate, predict
    from cifarnet.exporters import export
    from cifarnet.predictors import Predictor, Preprocessing
    from cifarnet.runs import Run, open_run
    from cifarnet.training import resume, train

_HOMES = {
    "Callback": "callbacks",
    "CifarnetError": "errors",
    "Config": "config",
    "EpochResult": "callbacks",
    "Predictor": "predictors",
    "Preprocessing": "predictors",
    "ProgressDisplay": "callbacks.display",
    "Run": "runs",
    "StepProgress": "callbacks",
    "benchmark": "benchmarking",
    "evaluate": "evaluation",
    "export": "exporters",
    "load_config": "config",
    "load_predictor": "artifacts",
    "open_run": "runs",
    "predict": "evaluation",
    "resume": "training",
    "train": "training",
}

__all__ = [
    "Callback",
    "CifarnetError",
    "Config",
    "EpochResult",
    "Predictor",
    "Preprocessing",
    "ProgressDisplay",
    "Run",
    "StepProgress",
    "benchmark",
    "evaluate",
    "export",
    "load_config",
    "load_predictor",
    "open_run",
    "predict",
    "resume",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'cifarnet' has no attribute {name!r}")
    module = importlib.import_module(f"cifarnet.{_HOMES[name]}")
    value = getattr(module, "load" if name == "load_config" else name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
