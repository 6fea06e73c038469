"""Runs with pages."""

import pytest

from cifarnet import config, runs, training

SMALL = {
    "data": {"source": "synthetic", "limit": 400, "validation_fraction": 0.1},
    "model": {
        "layers": [
            {"Conv2D": {"filters": 6, "kernel_size": 5, "strides": 3, "activation": "relu"}},
            "Flatten",
            {"Dense": {"units": 10}},
        ]
    },
    "train": {"epochs": 2, "batch_size": 50, "learning_rate": 0.02, "momentum": 0.9},
}


@pytest.fixture
def small() -> dict:
    """A config of a network that trains in a second."""
    return SMALL


@pytest.fixture(scope="session")
def seeds(tmp_path_factory) -> list[runs.Run]:
    """Two evaluated runs of one config, the first one also explained and exported."""
    import cifarnet

    root = tmp_path_factory.mktemp("runs")
    found = []
    for seed in (0, 1):
        settings = config.parse({**SMALL, "name": "small", "seed": seed})
        found.append(training.train(settings, root, callbacks=[]))
        cifarnet.evaluate(found[-1], callbacks=[])
    cifarnet.explain(found[0], mistakes=5, callbacks=[])
    cifarnet.export(found[0], formats=["keras"], quantize=["none"], callbacks=[])
    return found
