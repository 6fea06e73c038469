"""One trained run and one conversion of each network, shared by all tests of exports."""

import functools
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.networks import METADATA, NETWORKS, pixels, trained

from cifarnet import config, runs, training
from cifarnet.exporters import formats

SMALL = {
    "data": {"source": "synthetic", "limit": 1500, "validation_fraction": 0.2},
    "model": {
        "normalize": "standard",
        "layers": [
            {"Conv2D": {"filters": 8, "kernel_size": 5, "activation": "relu"}},
            {"MaxPooling2D": {"pool_size": 4}},
            # With few steps, the default of 0.99 leaves the moving statistics near their start.
            {"BatchNormalization": {"momentum": 0.9}},
            "Flatten",
            {"Dense": {"units": 10}},
        ],
    },
    "train": {"epochs": 5, "batch_size": 50, "learning_rate": 0.03, "momentum": 0.9},
    "export": {"calibration_images": 100, "max_accuracy_loss": 0.05},
}


@pytest.fixture(scope="session")
def network() -> Callable:
    """Return one of `NETWORKS` by name."""
    return functools.cache(lambda name: trained(NETWORKS[name]))


@pytest.fixture(scope="session")
def exported(network, tmp_path_factory) -> Callable[[str, str, str], Path]:
    """Return the artifact of a network in a format and quantization."""

    @functools.cache
    def convert(name: str, format_: str, quantization: str) -> Path:
        folder = tmp_path_factory.mktemp(f"{name}-{format_}-{quantization}")
        return formats.write(format_, quantization, network(name), pixels(50), METADATA, folder)

    return convert


@pytest.fixture(scope="session")
def run(tmp_path_factory) -> runs.Run:
    run = training.train(config.parse(SMALL), tmp_path_factory.mktemp("runs"), callbacks=[])
    # Far from chance, so that what a conversion or a pruning loses shows.
    assert run.read_record().validation_accuracy > 0.5
    return run


@pytest.fixture
def with_options(run, tmp_path) -> Callable[..., runs.Run]:
    """Return a copy of the run with other export options in its config."""

    def copy(*overrides: str) -> runs.Run:
        other = runs.Run(tmp_path / run.path.name)
        shutil.copytree(run.path, other.path, ignore=shutil.ignore_patterns("exports"))
        settings = config.load(run.config_file, overrides)
        with runs.changing(other, other.config_file):
            other.config_file.write_text(config.dump(settings))
        return other

    return copy
