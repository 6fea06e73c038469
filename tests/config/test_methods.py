"""What a config does beyond plain SGD, in words."""

import pytest

from cifarnet import config

SETTINGS = {
    "model": {"layers": ["Flatten", {"Dense": {"units": 10}}]},
    "train": {"epochs": 3, "learning_rate": 0.1},
}


@pytest.mark.parametrize(
    ("data", "train", "rows"),
    [
        ({}, {}, []),
        ({"mix": "cutmix", "mix_alpha": 0.2}, {}, [("mix", "cutmix, alpha 0.2")]),
        ({}, {"muon": {}}, [("Muon", "convolutions, learning rate 0.24")]),
        (
            {},
            {"distill": {"teacher": "/some/where/net.onnx", "temperature": 2}},
            [("teacher", "where/net.onnx (temperature 2, weight 0.9)")],
        ),
        (
            {},
            {"resolution": [{"until": 0.4, "size": 24}, {"until": 0.65, "size": 28}]},
            [("sizes", "24 pixels until 40 %, 28 pixels until 65 % of the steps, then 32")],
        ),
    ],
)
def test_the_rows_are_of_what_is_used(data, train, rows):
    made = config.parse({**SETTINGS, "data": data, "train": {**SETTINGS["train"], **train}})
    assert config.methods(made) == rows
