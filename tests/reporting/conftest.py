"""Runs with pages."""

import pytest
from helpers import configs

from cifarnet import config, runs, training

SMALL = {**configs.SMALL, "train": {**configs.SMALL["train"], "epochs": 2}}


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
