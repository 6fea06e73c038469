"""The Open Inference Protocol, version 2, with its binary and classification extensions.

KServe: "Open Inference Protocol (V2)", rest_predict_v2; NVIDIA Triton: extension_binary_data,
extension_classification. The network has one input, `pixels` (UINT8 [-1, S, S, 3]), and one
output, `probabilities` (FP32 [-1, classes]).
"""

from __future__ import annotations

import gzip
import importlib.metadata
import json
import re
import struct
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from cifarnet.errors import JsonObject
from cifarnet.serving import body, tensors
from cifarnet.serving.batcher import Batcher
from cifarnet.serving.network import INPUT, OUTPUT, VERSION, Network
from cifarnet.serving.refusals import Refused

HEADER_LENGTH = "inference-header-content-length"
_COMPRESS_FROM = 1000  # bytes of a response, if the client takes it compressed
_REFUSED = re.compile(r";q=0(\.0*)?$")  # a part of Accept-Encoding that forbids


@dataclass(frozen=True)
class _Wanted:
    """What a request asks for.

    Attributes:
        pixels: uint8 [N, S, S, 3].
        id: to repeat in the response; None: none given.
        is_binary: whether it comes as bytes behind the JSON.
        top: how many classes to name in place of the probabilities; 0: give the probabilities.
    """

    pixels: np.ndarray
    id: str | None
    is_binary: bool
    top: int


def server_metadata() -> dict[str, object]:
    """Return the metadata of the server."""
    return {
        "name": "cifarnet",
        "version": importlib.metadata.version("cifarnet"),
        "extensions": ["binary_tensor_data", "classification"],
    }


def model_metadata(network: Network) -> dict[str, object]:
    """Return the metadata of the network."""
    side, classes = network.size, len(network.classes)
    return {
        "name": network.name,
        "versions": [VERSION],
        "platform": network.platform,
        "inputs": [{"name": INPUT, "datatype": "UINT8", "shape": [-1, side, side, 3]}],
        "outputs": [{"name": OUTPUT, "datatype": "FP32", "shape": [-1, classes]}],
    }


async def infer(request: Request, content: bytes, network: Network, batcher: Batcher) -> Response:
    """Answer a request for inference.

    Raises:
        Refused: the request is not one of the protocol.
    """
    wanted = _parse(content, request.headers.get(HEADER_LENGTH), network)
    rows = await batcher.predict(wanted.pixels)
    response = _respond(wanted, rows, network)
    return _compressed(response, request.headers.get("accept-encoding", ""))


# --- the request ----------------------------------------------------------------------


def _parse(content: bytes, header_length: str | None, network: Network) -> _Wanted:
    if header_length is None:
        document, binary = body.parse_json(content), None
    else:
        if not header_length.isascii() or not header_length.isdigit():
            raise Refused(400, f"{HEADER_LENGTH}: expected a number of bytes")
        end = int(header_length[:20])
        if end > len(content):
            raise Refused(400, f"{HEADER_LENGTH}: {end:,} is more than the body has")
        document, binary = body.parse_json(content[:end]), memoryview(content)[end:]
    identity = document.get("id")
    if identity is not None and not isinstance(identity, str):
        raise Refused(400, "id: expected a text")
    pixels = _pixels(document.get("inputs"), binary, network.size)
    parameters = _parameters(document)
    is_binary, top = _output(document.get("outputs"), len(network.classes))
    if is_binary is None:
        is_binary = parameters.get("binary_data_output") is True
    return _Wanted(pixels, identity, is_binary, top)


def _pixels(inputs: Any, binary: memoryview | None, size: int) -> np.ndarray:
    tensor = _only(inputs, "inputs")
    if tensor.get("name") != INPUT:
        raise Refused(400, f"inputs: expected {INPUT}, received {str(tensor.get('name'))[:100]}")
    if tensor.get("datatype") != "UINT8":
        raise Refused(400, f"{INPUT}: expected datatype UINT8, the pixels as they are")
    count = tensors.check_shape(tensor.get("shape"), size)
    stated = _parameters(tensor).get("binary_data_size")
    if stated is None:
        if "data" not in tensor:
            raise Refused(400, f"{INPUT}: expected data, or parameters.binary_data_size")
        if binary:
            raise Refused(400, "there are bytes behind the JSON, of which no input speaks")
        return tensors.of_numbers(tensor["data"], size, count)
    if "data" in tensor:
        raise Refused(400, f"{INPUT}: expected data or binary_data_size, received both")
    if binary is None:
        raise Refused(400, f"{INPUT}: binary data needs the header {HEADER_LENGTH}")
    if stated != len(binary):
        raise Refused(400, f"{INPUT}: binary_data_size is not the {len(binary):,} bytes received")
    return tensors.of_bytes(binary, count, size)


def _output(outputs: Any, classes: int) -> tuple[bool | None, int]:
    """Return whether the output is wanted in binary, None if not said, and how many classes."""
    if outputs is None or outputs == []:
        return None, 0
    tensor = _only(outputs, "outputs")
    if tensor.get("name") != OUTPUT:
        raise Refused(400, f"outputs: expected {OUTPUT}, received {str(tensor.get('name'))[:100]}")
    parameters = _parameters(tensor)
    is_binary, top = parameters.get("binary_data"), parameters.get("classification", 0)
    if is_binary not in (None, True, False):
        raise Refused(400, "binary_data: expected true or false")
    if type(top) is not int or top < 0:
        raise Refused(400, "classification: expected how many classes to name")
    return is_binary, min(top, classes)


def _only(found: Any, name: str) -> JsonObject:
    if not isinstance(found, list) or len(found) != 1 or not isinstance(found[0], dict):
        raise Refused(400, f"{name}: expected a list of one object")
    return found[0]


def _parameters(tensor: JsonObject) -> JsonObject:
    parameters = tensor.get("parameters", {})
    if not isinstance(parameters, dict):
        raise Refused(400, "parameters: expected an object")
    return parameters


# --- the response ---------------------------------------------------------------------


def _respond(wanted: _Wanted, rows: np.ndarray, network: Network) -> Response:
    if wanted.top:
        values: Any = _named(rows, wanted.top, network.classes)
        output: JsonObject = {"datatype": "BYTES", "shape": [len(rows), wanted.top]}
    else:
        values, output = rows, {"datatype": "FP32", "shape": list(rows.shape)}
    document: JsonObject = {"model_name": network.name, "model_version": VERSION}
    if wanted.id is not None:
        document["id"] = wanted.id
    document["outputs"] = [{"name": OUTPUT, **output}]
    if not wanted.is_binary:
        document["outputs"][0]["data"] = values if wanted.top else finite(rows).ravel().tolist()
        return Response(json.dumps(document), media_type="application/json")
    data = b"".join(map(_counted, values)) if wanted.top else rows.astype("<f4").tobytes()
    document["outputs"][0]["parameters"] = {"binary_data_size": len(data)}
    header = json.dumps(document).encode()
    return Response(
        header + data,
        headers={HEADER_LENGTH: str(len(header))},
        media_type="application/octet-stream",
    )


def finite(rows: np.ndarray) -> np.ndarray:
    """Return the probabilities, which JSON can hold.

    Raises:
        Refused: 500 if some are not finite.
    """
    if not np.isfinite(rows).all():
        raise Refused(500, "the network gave probabilities that are not finite")
    return rows


def _named(rows: np.ndarray, top: int, classes: list[str]) -> list[str]:
    """Return `probability:index:name` of the most probable classes of each row."""
    order = np.argsort(-rows, axis=1)[:, :top]
    return [
        f"{float(row[i])}:{i}:{classes[i]}"
        for row, ranked in zip(rows, order.tolist(), strict=True)
        for i in ranked
    ]


def _counted(text: str) -> bytes:
    content = text.encode()
    return struct.pack("<I", len(content)) + content


def _compressed(response: Response, accepted: str) -> Response:
    """Compress a response of some size with what the client takes."""
    if len(response.body) < _COMPRESS_FROM:
        return response
    parts = accepted.lower().replace(" ", "").split(",")
    names = [part.split(";")[0] for part in parts if not _REFUSED.search(part)]
    if "gzip" in names:
        encoding, content = "gzip", gzip.compress(response.body, 1, mtime=0)
    elif "deflate" in names:
        encoding, content = "deflate", zlib.compress(response.body, 1)
    else:
        return response
    headers = {k: v for k, v in response.headers.items() if k != "content-length"}
    headers |= {"content-encoding": encoding, "vary": "accept-encoding"}
    return Response(content, headers=headers)
