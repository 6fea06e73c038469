"""Clients of others: Triton's, KServe's, and requests as the protocols show them."""

import gzip
import http.client
import json

import numpy as np
import pytest
import tritonclient.http as triton
from helpers.serving import CLASSES, expected, noise, run

MODEL = "/v2/models/dense"


@pytest.fixture(scope="module")
def client(server):
    with triton.InferenceServerClient(f"127.0.0.1:{server.port}", concurrency=4) as made:
        yield made


def tensor(pixels, binary=True):
    made = triton.InferInput("pixels", list(pixels.shape), "UINT8")
    made.set_data_from_numpy(pixels, binary_data=binary)
    return [made]


def test_triton_reads_health_and_metadata(client):
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("dense")
    assert client.is_model_ready("dense", "1")
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data", "classification"]
    about = client.get_model_metadata("dense")
    assert about["inputs"] == [{"name": "pixels", "datatype": "UINT8", "shape": [-1, 32, 32, 3]}]
    assert about["outputs"] == [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 10]}]


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False, None])
@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
def test_triton_gets_probabilities(client, binary_in, binary_out, compression):
    pixels = noise(30)
    outputs = None
    if binary_out is not None:
        outputs = [triton.InferRequestedOutput("probabilities", binary_data=binary_out)]
    found = client.infer(
        "dense",
        tensor(pixels, binary_in),
        request_id="7",
        outputs=outputs,
        request_compression_algorithm=compression,
        response_compression_algorithm=compression,
    )
    rows = found.as_numpy("probabilities")
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, expected(pixels), atol=1e-5)
    assert found.get_response()["id"] == "7"


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [("gzip", "gzip"), ("br, deflate;q=0.5", "deflate"), ("gzip; q=0, *;q=0.0", None), ("", None)],
)
def test_a_response_is_compressed_as_the_client_takes_it(server, accepted, encoding):
    pixels = {"name": "pixels", "datatype": "UINT8", "shape": [30, 32, 32, 3]}
    body = json.dumps({"inputs": [{**pixels, "data": noise(30).ravel().tolist()}]})
    path, headers = "/v2/models/dense/infer", {"Accept-Encoding": accepted}
    response, _ = server.ask("POST", path, body, headers)
    assert (response.status, response.headers["content-encoding"]) == (200, encoding)


@pytest.mark.parametrize("binary", [True, False])
def test_triton_gets_classes(client, binary):
    pixels = noise(3)
    wanted = triton.InferRequestedOutput("probabilities", binary_data=binary, class_count=2)
    found = client.infer("dense", tensor(pixels), outputs=[wanted]).as_numpy("probabilities")
    assert found.shape == (3, 2)
    for row, texts in zip(expected(pixels), found, strict=True):
        for place, text in zip(np.argsort(-row), texts, strict=False):
            value, index, name = (text.decode() if binary else text).split(":")
            assert (int(index), name) == (place, CLASSES[place])
            assert abs(float(value) - row[place]) < 1e-5


def test_triton_asks_asynchronously(client):
    asked = [client.async_infer("dense", tensor(noise(2, seed))) for seed in range(8)]
    for seed, one in enumerate(asked):
        rows = one.get_result().as_numpy("probabilities")
        np.testing.assert_allclose(rows, expected(noise(2, seed)), atol=1e-5)


def test_triton_reads_errors(client):
    with pytest.raises(triton.InferenceServerException, match=r"expected \[N, 32, 32, 3\]"):
        client.infer("dense", tensor(np.zeros((1, 8, 8, 3), np.uint8)))
    with pytest.raises(triton.InferenceServerException, match="no such path"):
        client.infer("other", tensor(noise(1)))


def test_kserve_asks_both_protocols(server):
    kserve = pytest.importorskip(
        "kserve", reason="kserve is not installed; it needs other versions of protobuf and pandas"
    )
    from kserve.inference_client import InferenceRESTClient, RESTConfig

    async def ask():
        base, pixels = server.url.rstrip("/"), noise(2)
        two = InferenceRESTClient(RESTConfig(protocol="v2"))
        assert await two.is_server_live(base) and await two.is_server_ready(base)
        assert await two.is_model_ready(base, "dense")
        given = kserve.InferInput("pixels", list(pixels.shape), "UINT8")
        for binary in (False, True):
            given.set_data_from_numpy(pixels, binary_data=binary)
            request = kserve.InferRequest("dense", [given])
            found = await two.infer(base, request, model_name="dense")
            np.testing.assert_allclose(
                found.outputs[0].as_numpy().reshape(2, 10), expected(pixels), atol=1e-5
            )
        one = InferenceRESTClient(RESTConfig(protocol="v1"))
        assert await one.is_model_ready(base, "dense")
        found = await one.infer(base, {"instances": pixels.tolist()}, model_name="dense")
        np.testing.assert_allclose(found["predictions"], expected(pixels), atol=1e-5)

    run(ask())


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: {"pixels": x}])
@pytest.mark.parametrize("key", ["instances", "inputs"])
def test_tensorflow_serving_s_formats(server, key, wrap):
    images = noise(2).tolist()
    document = {key: [wrap(x) for x in images] if key == "instances" else wrap(images)}
    response, body = server.ask("POST", "/v1/models/dense:predict", json.dumps(document))
    assert response.status == 200
    answer = json.loads(body)
    rows = answer["predictions" if key == "instances" else "outputs"]
    np.testing.assert_allclose(rows, expected(noise(2)), atol=1e-5)


def test_json_numbers_are_the_binary_ones_to_the_bit(server, client):
    pixels = noise(4)
    as_bytes = client.infer("dense", tensor(pixels)).as_numpy("probabilities")
    document = {"inputs": [{"name": "pixels", "datatype": "UINT8", "shape": [4, 32, 32, 3]}]}
    document["inputs"][0]["data"] = pixels.ravel().tolist()
    _, body = server.ask("POST", f"{MODEL}/infer", json.dumps(document))
    rows = json.loads(body)["outputs"][0]["data"]
    assert np.array_equal(np.float32(rows).reshape(4, 10), as_bytes)
    assert np.array_equal(np.float64(np.float32(rows)), rows)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"inputs": []}, "inputs: expected a list of one object"),
        ({"inputs": None}, "inputs"),
        ({"name": "x"}, "expected pixels, received x"),
        ({"datatype": "FP32"}, "expected datatype UINT8"),
        ({"shape": [1, 3072]}, r"expected [N, 32, 32, 3], received [1, 3072]"),
        ({"shape": [10**30, 32, 32, 3]}, "at most 1,024 images"),
        ({"shape": [True, 32, 32, 3]}, "shape"),
        ({"shape": [-1, 32, 32, 3]}, "shape"),
        ({"shape": [0, 32, 32, 3]}, "shape"),
        ({"data": [1.5] * 3072}, "whole numbers from 0 to 255"),
        ({"data": [256] * 3072}, "whole numbers from 0 to 255"),
        ({"data": [-1] * 3072}, "whole numbers from 0 to 255"),
        ({"data": [None] * 3072}, "whole numbers from 0 to 255"),
        ({"data": ["a"] * 3072}, "regular array of numbers"),
        ({"data": [1] * 3071}, "expected numbers [1, 32, 32, 3], received [3071]"),
        ({"data": [[1], 2]}, "regular array of numbers"),
        ({"data": {"a": 1}}, "regular array of numbers"),
        ({"parameters": {"binary_data_size": 5}}, "received both"),
        ({"parameters": 7}, "parameters: expected an object"),
        ({"id": 7}, "id: expected a text"),
        ({"outputs": [{"name": "x"}]}, "expected probabilities, received x"),
        (
            {"outputs": [{"name": "probabilities", "parameters": {"classification": "a"}}]},
            "classification",
        ),
    ],
)
def test_wrong_requests_are_told_what_is_wrong(server, change, says):
    tensor = {"name": "pixels", "datatype": "UINT8", "shape": [1, 32, 32, 3], "data": [0] * 3072}
    document = {"inputs": [tensor]}
    for key, value in change.items():
        (document if key in ("inputs", "outputs", "id") else tensor)[key] = value
    response, body = server.ask("POST", f"{MODEL}/infer", json.dumps(document))
    assert response.status in (400, 413)
    assert says in json.loads(body)["error"]


@pytest.mark.parametrize(
    ("headers", "content", "says"),
    [
        ({"Inference-Header-Content-Length": "99"}, b"{}", "more than the body has"),
        ({"Inference-Header-Content-Length": "-1"}, b"{}", "expected a number"),
        ({"Inference-Header-Content-Length": "9" * 5000}, b"{}", "more than the body has"),
        ({}, b"{", "not JSON"),
        ({}, b"[]", "expected a JSON object"),
        ({"Content-Encoding": "gzip"}, b"{}", "damaged"),
        ({"Content-Encoding": "gzip"}, gzip.compress(b"{}", mtime=0)[:-3], "cut off"),
        ({"Content-Encoding": "gzip"}, gzip.compress(b"{}", mtime=0) + b"x", "cut off"),
        ({"Content-Encoding": "br"}, b"{}", "expected gzip or deflate"),
    ],
)
def test_damaged_bodies_are_told_what_is_wrong(server, headers, content, says):
    response, body = server.ask("POST", f"{MODEL}/infer", content, headers)
    assert response.status in (400, 415)
    assert says in json.loads(body)["error"]


def test_small_integers_that_are_binary_need_their_bytes(server):
    head = {"name": "pixels", "datatype": "UINT8", "shape": [2, 32, 32, 3]}
    head["parameters"] = {"binary_data_size": 3072}
    text = json.dumps({"inputs": [head]}).encode()
    headers = {"Inference-Header-Content-Length": str(len(text))}
    response, body = server.ask("POST", f"{MODEL}/infer", text + bytes(3072), headers)
    assert response.status == 400
    assert "expected 6,144 bytes of pixels, received 3,072" in json.loads(body)["error"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/v2/", 404),
        ("GET", "/../../etc/passwd", 404),
        ("GET", "/%2e%2e/%2e%2e/etc/passwd", 404),
        ("GET", "/predict", 405),
        ("PUT", "/", 405),
        ("POST", "/predict?top=0", 400),
        ("POST", "/predict?top=99999999999999999999", 400),
        ("POST", "/predict?heat=2", 400),
        ("POST", "/predict", 400),
        ("HEAD", "/", 200),
    ],
)
def test_other_requests_get_json_errors(server, method, path, status):
    response, body = server.ask(method, path)
    assert response.status == status
    assert status == 200 or list(json.loads(body)) == ["error"]


def test_what_is_no_http_is_refused_in_json(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.connect()
    connection.sock.sendall(b"\x00\x01 nothing\r\n\r\n")
    answer = connection.sock.recv(4096)
    connection.close()
    assert answer.startswith(b"HTTP/1.1 400 ") and b'{"error": ' in answer


def test_metrics_count_requests_and_images(server):
    def images():
        _, body = server.ask("GET", "/metrics")
        lines = dict(x.rsplit(" ", 1) for x in body.decode().splitlines() if x[0] != "#")
        path = 'cifarnet_requests_total{path="/v1/models/dense:predict",status="200"}'
        return float(lines["cifarnet_batch_images_sum"]), float(lines.get(path, 0))

    before = images()
    server.ask("POST", "/v1/models/dense:predict", json.dumps({"inputs": noise(5).tolist()}))
    assert images() == (before[0] + 5, before[1] + 1)
