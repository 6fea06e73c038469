"""The OpenAPI document of the server, with examples that work."""

from __future__ import annotations

import base64
import importlib.metadata
import io
from typing import TypeAlias

import numpy as np
from PIL import Image

from cifarnet.choices import MAX_REQUEST
from cifarnet.serving.network import INPUT, OUTPUT, VERSION, Network

_Object: TypeAlias = "dict[str, object]"
_GRAY = 128  # of the example's pixels


def document(network: Network) -> dict[str, object]:
    """Return the document, OpenAPI 3.1, for one network."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"cifarnet: {network.name}",
            "version": importlib.metadata.version("cifarnet"),
            "description": "Classify images; the Open Inference Protocol, version 2.",
        },
        "paths": {**_files(network), **_open_inference(network), **_tensorflow(network), **_own()},
        "components": {
            "schemas": {"Error": _object({"error": {"type": "string"}})},
            "responses": {"Error": _answer("an error", {"$ref": "#/components/schemas/Error"})},
        },
    }


def _files(network: Network) -> _Object:
    image = {"type": "string", "format": "binary"}
    form = {"type": "object", "properties": {"image": image}, "required": ["image"]}
    named = _object({"class": {"enum": network.classes}, "probability": {"type": "number"}})
    properties: _Object = {
        "model": {"const": network.name},
        "classes": {"type": "array", "items": named},
        "milliseconds": {"type": "number", "description": "from the head of the request on"},
        "heat": {"description": "occlusion map of the first class, [S][S], nats"},
    }
    answer = {**_object(properties), "required": ["model", "classes", "milliseconds"]}
    # Bytes have no example in JSON; this is a PNG in base64, for a reader.
    image_type = {"schema": image, "x-example-base64": _png(network.size)}
    operation = {
        "summary": "Classify an image file",
        "parameters": [
            _query("top", "how many classes to name", 1, len(network.classes), 3),
            _query("heat", "1: with the occlusion map", 0, 1, 0),
        ],
        "requestBody": {
            "required": True,
            "content": {"image/png": image_type, "multipart/form-data": {"schema": form}},
        },
        "responses": _responses(_answer("the most probable classes", answer)),
    }
    return {"/predict": {"post": operation}}


def _open_inference(network: Network) -> _Object:
    path = f"/v2/models/{network.name}"
    side = network.size
    shape = {
        "type": "array",
        "prefixItems": [{"type": "integer", "minimum": 1, "maximum": MAX_REQUEST}]
        + [{"const": n} for n in (side, side, 3)],
        "minItems": 4,
        "maxItems": 4,
    }
    tensor = _object(
        {"name": {"const": INPUT}, "datatype": {"const": "UINT8"}, "shape": shape, "data": {}}
    )
    inputs = {"type": "array", "items": tensor, "minItems": 1, "maxItems": 1}
    flat = [_GRAY] * side * side * 3
    values = {"name": INPUT, "datatype": "UINT8", "shape": [1, side, side, 3], "data": flat}
    output = _object({"name": {"const": OUTPUT}, "datatype": {}, "shape": {}})
    answer = _object(
        {
            "model_name": {"const": network.name},
            "model_version": {"const": VERSION},
            "outputs": {"type": "array", "items": output},
        }
    )
    infer = {
        "summary": "Probabilities of pixels",
        "requestBody": _json_body(_object({"inputs": inputs}), {"inputs": [values]}),
        "responses": _responses(_answer("the probabilities", answer)),
    }
    return {
        f"{path}/infer": {"post": infer},
        path: _get("Metadata of the network", _object({"name": {"const": network.name}})),
        f"{path}/ready": _get("Whether it takes requests", _flag("ready"), 503),
        "/v2": _get("Metadata of the server", _object({"name": {"const": "cifarnet"}})),
        "/v2/health/live": _get("Whether the server lives", _flag("live")),
        "/v2/health/ready": _get("Whether it takes requests", _flag("ready"), 503),
    }


def _tensorflow(network: Network) -> _Object:
    path = f"/v1/models/{network.name}"
    image = np.full((network.size, network.size, 3), _GRAY).tolist()
    instances = {"type": "array", "minItems": 1, "maxItems": MAX_REQUEST}
    rows = {"type": "array", "items": {"type": "array", "items": {"type": "number"}}}
    predict = {
        "summary": "Probabilities of pixels, as TensorFlow Serving gives them",
        "requestBody": _json_body(_object({"instances": instances}), {"instances": [image]}),
        "responses": _responses(_answer("the probabilities", _object({"predictions": rows}))),
    }
    status = _get("Status of the network", _object({"model_version_status": {"type": "array"}}))
    return {f"{path}:predict": {"post": predict}, path: status}


def _own() -> _Object:
    text: _Object = {"type": "string"}
    return {
        "/": _get("A page to drop images on", text, media="text/html"),
        "/metrics": _get("Counters for Prometheus", text, media="text/plain"),
        "/openapi.json": _get("This document", {"type": "object"}),
    }


def _png(size: int) -> str:
    file = io.BytesIO()
    Image.new("RGB", (size, size), (_GRAY,) * 3).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


# --- parts of the document ------------------------------------------------------------


def _object(properties: _Object) -> _Object:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _flag(name: str) -> _Object:
    return _object({name: {"type": "boolean"}})


def _answer(what: str, schema: _Object, media: str = "application/json") -> _Object:
    return {"description": what, "content": {media: {"schema": schema}}}


def _responses(answer: _Object) -> _Object:
    return {"200": answer, "default": {"$ref": "#/components/responses/Error"}}


def _get(
    summary: str, schema: _Object, other: int | None = None, media: str = "application/json"
) -> _Object:
    """Return an operation that has one kind of answer, also with the status `other`."""
    responses = _responses(_answer(summary, schema, media))
    if other is not None:
        responses[str(other)] = _answer("not yet, or no longer", schema)
    return {"get": {"summary": summary, "responses": responses}}


def _json_body(schema: _Object, example: _Object) -> _Object:
    content = {"application/json": {"schema": schema, "example": example}}
    return {"required": True, "content": content}


def _query(name: str, what: str, low: int, high: int, default: int) -> _Object:
    schema = {"type": "integer", "minimum": low, "maximum": high, "default": default}
    return {"name": name, "in": "query", "description": what, "schema": schema}
