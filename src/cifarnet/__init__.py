"""Train, evaluate and export CIFAR-10 image classifiers from YAML configs.

Training, resuming, evaluating, explaining, predicting, exporting and benchmarking are one function
each. Names are imported when first used, so `import cifarnet` loads neither TensorFlow nor Keras
and does not change the environment.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cifarnet.artifacts import load_predictor
    from cifarnet.auditing import audit
    from cifarnet.benchmarking import benchmark
    from cifarnet.callbacks import Callback, EpochResult, StepProgress
    from cifarnet.callbacks.display import ProgressDisplay
    from cifarnet.comparison import compare
    from cifarnet.config import Config
    from cifarnet.config import load as load_config
    from cifarnet.cost import Power
    from cifarnet.errors import (
        ArtifactError,
        BackendError,
        CifarnetError,
        ConfigError,
        DataError,
        ExportError,
        GateError,
        Interrupted,
        ModelError,
        RunError,
        TrainingError,
    )
    from cifarnet.evaluation import evaluate, predict
    from cifarnet.explanations import explain
    from cifarnet.exporters import export, write_model_card
    from cifarnet.predictors import Predictor, Preprocessing
    from cifarnet.reporting.page import report
    from cifarnet.reporting.runs_page import report_runs
    from cifarnet.robustness import evaluate_robustness
    from cifarnet.runs import Run, open_run
    from cifarnet.serving import serve
    from cifarnet.sweeps import check_sweep, promote_trial, read_sweep, run_sweep
    from cifarnet.training import Workers, join_training, resume, train

_HOMES = {
    "ArtifactError": "errors",
    "BackendError": "errors",
    "Callback": "callbacks",
    "CifarnetError": "errors",
    "Config": "config",
    "ConfigError": "errors",
    "DataError": "errors",
    "EpochResult": "callbacks",
    "ExportError": "errors",
    "GateError": "errors",
    "Interrupted": "errors",
    "ModelError": "errors",
    "Power": "cost",
    "Predictor": "predictors",
    "Preprocessing": "predictors",
    "ProgressDisplay": "callbacks.display",
    "Run": "runs",
    "RunError": "errors",
    "StepProgress": "callbacks",
    "TrainingError": "errors",
    "Workers": "training",
    "audit": "auditing",
    "benchmark": "benchmarking",
    "check_sweep": "sweeps",
    "compare": "comparison",
    "evaluate": "evaluation",
    "explain": "explanations",
    "evaluate_robustness": "robustness",
    "export": "exporters",
    "join_training": "training",
    "load_config": "config",
    "load_predictor": "artifacts",
    "open_run": "runs",
    "predict": "evaluation",
    "promote_trial": "sweeps",
    "read_sweep": "sweeps",
    "report": "reporting.page",
    "report_runs": "reporting.runs_page",
    "resume": "training",
    "run_sweep": "sweeps",
    "serve": "serving",
    "train": "training",
    "write_model_card": "exporters",
}

__all__ = [
    "ArtifactError",
    "BackendError",
    "Callback",
    "CifarnetError",
    "Config",
    "ConfigError",
    "DataError",
    "EpochResult",
    "ExportError",
    "GateError",
    "Interrupted",
    "ModelError",
    "Power",
    "Predictor",
    "Preprocessing",
    "ProgressDisplay",
    "Run",
    "RunError",
    "StepProgress",
    "TrainingError",
    "Workers",
    "audit",
    "benchmark",
    "check_sweep",
    "compare",
    "evaluate",
    "evaluate_robustness",
    "explain",
    "export",
    "join_training",
    "load_config",
    "load_predictor",
    "open_run",
    "predict",
    "promote_trial",
    "read_sweep",
    "report",
    "report_runs",
    "resume",
    "run_sweep",
    "serve",
    "train",
    "write_model_card",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'cifarnet' has no attribute {name!r}")
    module = importlib.import_module(f"cifarnet.{_HOMES[name]}")
    value = getattr(module, "load" if name == "load_config" else name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
