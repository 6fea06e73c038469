"""Read one YAML file, its `base` files and `-o key=value` overrides into one frozen `Config`.

Every value is validated here, once; the rest of the package receives typed, frozen values.
"""

from cifarnet.config.json_schema import generate_json_schema
from cifarnet.config.layer_list import Layer, normalize_layers
from cifarnet.config.loader import changes, data_only, dump, leaves, load, parse
from cifarnet.config.recipe import recipe_changes, recipe_digest
from cifarnet.config.schema import (
    AlternatingFlip,
    Augmentation,
    Brightness,
    CheckpointConfig,
    Config,
    ConstantSchedule,
    Contrast,
    CosineSchedule,
    Crop,
    Cutout,
    DataConfig,
    EarlyStopping,
    EvaluateConfig,
    ExportConfig,
    Flip,
    LookaheadConfig,
    ModelConfig,
    PruneConfig,
    Rotate,
    Scale,
    Schedule,
    StepSchedule,
    Stop,
    TrainConfig,
    TriangleSchedule,
)
from cifarnet.config.shipped import ShippedConfig, copy_shipped, shipped

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
    "ShippedConfig",
    "StepSchedule",
    "Stop",
    "TrainConfig",
    "TriangleSchedule",
    "changes",
    "copy_shipped",
    "data_only",
    "dump",
    "generate_json_schema",
    "leaves",
    "load",
    "normalize_layers",
    "parse",
    "recipe_changes",
    "recipe_digest",
    "shipped",
]
