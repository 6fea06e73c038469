"""A page with a small network inside."""

from pathlib import Path

import pytest
from helpers.networks import METADATA, NETWORKS, pixels, trained

from cifarnet.browser import runtime
from cifarnet.errors import DataError
from cifarnet.exporters import formats


@pytest.fixture(scope="session")
def web_page(tmp_path_factory) -> Path:
    pytest.importorskip("onnxruntime")
    try:
        runtime.fetch()
    except DataError as error:
        pytest.skip(f"ONNX Runtime Web was not fetched, so no page has it inside: {error}")
    folder = tmp_path_factory.mktemp("web")
    network, images = trained(NETWORKS["flatten"]), pixels(50)
    return formats.write("web", "none", network, images, METADATA, folder, images[:3])
