"""One server for all tests that leave it running."""

import pytest
from helpers.serving import serving, write_network


@pytest.fixture(scope="session")
def network(tmp_path_factory):
    return write_network(tmp_path_factory.mktemp("network") / "dense.onnx")


@pytest.fixture(scope="session")
def server(network):
    with serving(network) as started:
        yield started
