"""The record of an artifact, and what is stored inside it."""

from __future__ import annotations

import hashlib
import zlib
from pathlib import Path

from cifarnet import config as cfg
from cifarnet import data, models, system
from cifarnet.exporters import network
from cifarnet.exporters.targets import Target
from cifarnet.predictors import Metadata
from cifarnet.runs import Export, Run
from cifarnet.runs.results import Parity


def metadata(source: Run, config: cfg.Config, dataset: data.Dataset) -> Metadata:
    """Return what is stored inside every artifact."""
    size = dataset.train.pixels.shape[1]
    calibration = source.read_record().calibration
    return {
        **models.describe(source.path.name, config.data, size, dataset.classes, network.OUTPUT),
        "model": config.name,
        "mean_color": [round(value) for value in dataset.mean],  # covers squares in heat maps
        "temperature": None if calibration is None else calibration.temperature,
        "weights_sha256": hashlib.sha256(source.model_file.read_bytes()).hexdigest(),
    }


def describe(
    target: Target, artifact: Path, folder: Path, metadata: Metadata, measured: Parity
) -> Export:
    """Describe an artifact: its files' sizes and digests, what is inside it, its parity."""
    files = sorted(file for file in [artifact, *artifact.rglob("*")] if file.is_file())
    contents = {str(file.relative_to(folder)): file.read_bytes() for file in files}
    more = {
        "sha256": {name: hashlib.sha256(one).hexdigest() for name, one in contents.items()},
        "versions": system.versions(),
        **metadata,
    }
    return Export(
        artifact=str(artifact.relative_to(folder)),
        format=target.format,
        quantization=target.quantization,
        bytes=sum(map(len, contents.values())),
        compressed_bytes=sum(len(zlib.compress(one, 9)) for one in contents.values()),
        parity=measured,
        **more,
    )
