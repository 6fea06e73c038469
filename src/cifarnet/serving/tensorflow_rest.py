"""The REST interface of TensorFlow Serving: `/v1/models/NAME:predict`, row and column format."""

from __future__ import annotations

from typing import Any

import numpy as np

from cifarnet.serving import body, tensors
from cifarnet.serving.network import INPUT, VERSION, Network
from cifarnet.serving.refusals import Refused


def status(network: Network, is_ready: bool) -> dict[str, object]:
    """Return the status of the network, also with what KServe's client reads."""
    state = "AVAILABLE" if is_ready else "UNLOADING"
    version = {"version": VERSION, "state": state, "status": {"error_code": "OK"}}
    return {"name": network.name, "ready": is_ready, "model_version_status": [version]}


def parse(content: bytes, size: int) -> tuple[str, np.ndarray]:
    """Return the key, `instances` (rows) or `inputs` (one tensor), and its pixels.

    Returns:
        The key, and uint8 [N, S, S, 3].

    Raises:
        Refused: 400 for anything else.
    """
    document = body.parse_json(content)
    found = [key for key in ("instances", "inputs") if key in document]
    if len(found) != 1:
        raise Refused(400, "expected instances (a list of images) or inputs (a batch of images)")
    values = document[found[0]]
    if found == ["instances"] and isinstance(values, list):
        values = [_named(value) for value in values]
    else:
        values = _named(values)
    return found[0], tensors.of_numbers(values, size)


def _named(value: Any) -> Any:
    """Return an input that may be given by its name."""
    if not isinstance(value, dict):
        return value
    if list(value) != [INPUT]:
        raise Refused(400, f"expected the one input {INPUT}")
    return value[INPUT]


def respond(key: str, rows: np.ndarray) -> dict[str, object]:
    """Return the probabilities in the format of a request with this key."""
    return {"predictions" if key == "instances" else "outputs": rows.tolist()}
