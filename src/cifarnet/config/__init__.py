"""One YAML file, its `base` files and `-o key=value` overrides -> one frozen `Config`.

Every value is checked here, once; the rest of the program receives typed, frozen values.
"""

from cifarnet.config.editors import schema
from cifarnet.config.kinds import (
    AlternatingFlip,
    Augmentation,
    Brightness,
    ConstantSchedule,
    Contrast,
    CosineSchedule,
    Crop,
    Cutout,
    Flip,
    Rotate,
    Scale,
    Schedule,
    StepSchedule,
    TriangleSchedule,
)
from cifarnet.config.layerlist import Layer, normalise_layers
from cifarnet.config.reading import changes, dump, load, of_data, parse
from cifarnet.config.sections import (
    CheckpointConfig,
    Config,
    DataConfig,
    EarlyStopping,
    EvaluateConfig,
    ExportConfig,
    LookaheadConfig,
    ModelConfig,
    PruneConfig,
    Stop,
    TrainConfig,
)

__all__ = [
    "AlternatingFlip",
    "Augmentation",
    "Brightness",
    "CheckpointConfig",
    "Config",
    "ConstantSchedule",
    "Contrast",
    "CosineSchedule",
    "Crop",
    "Cutout",
    "DataConfig",
    "EarlyStopping",
    "EvaluateConfig",
    "ExportConfig",
    "Flip",
    "Layer",
    "LookaheadConfig",
    "ModelConfig",
    "PruneConfig",
    "Rotate",
    "Scale",
    "Schedule",
    "StepSchedule",
    "Stop",
    "TrainConfig",
    "TriangleSchedule",
    "changes",
    "dump",
    "load",
    "normalise_layers",
    "of_data",
    "parse",
    "schema",
]
