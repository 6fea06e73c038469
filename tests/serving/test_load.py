"""Many requests at once, and the end of the server under load."""

import http.client
import io
import json
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from helpers.serving import expected, noise, serving
from PIL import Image

INFER = "/v2/models/dense/infer"


def binary(pixels: np.ndarray) -> tuple[bytes, dict[str, str]]:
    tensor = {"name": "pixels", "datatype": "UINT8", "shape": list(pixels.shape)}
    tensor["parameters"] = {"binary_data_size": pixels.nbytes}
    document = {"inputs": [tensor], "parameters": {"binary_data_output": True}}
    head = json.dumps(document).encode()
    return head + pixels.tobytes(), {"Inference-Header-Content-Length": str(len(head))}


def rows_of(response: http.client.HTTPResponse, body: bytes) -> np.ndarray:
    head = int(response.headers["Inference-Header-Content-Length"])
    return np.frombuffer(body[head:], "<f4").reshape(-1, 10)


def encoded_noise(seed: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(noise(1, seed)[0]).save(file, "PNG")
    return file.getvalue()


def ask_one(connection: http.client.HTTPConnection, number: int) -> None:
    """Send one of five kinds of request, and check that its own answer comes back."""
    pixels = noise(1 + number % 7, number)  # the server computes up to 4 images at once
    kind = number % 5
    if kind == 0:
        connection.request("POST", INFER, *binary(pixels))
    elif kind == 1:
        connection.request(
            "POST", "/v1/models/dense:predict", json.dumps({"inputs": pixels.tolist()})
        )
    elif kind == 2:
        connection.request("POST", "/predict?top=10", encoded_noise(number))
    elif kind == 3:
        connection.request("POST", INFER, b"faulty" + bytes(number % 100))
    else:
        connection.request("POST", "/predict", encoded_noise(number)[:200])
    response = connection.getresponse()
    body = response.read()
    if kind in (3, 4):
        assert response.status == 400, body
        return
    assert response.status == 200, body
    if kind == 0:
        rows = rows_of(response, body)
    elif kind == 1:
        rows = np.array(json.loads(body)["outputs"])
    else:
        named = {x["class"]: x["probability"] for x in json.loads(body)["classes"]}
        pixels = noise(1, number)
        rows = expected(pixels)
        best = max(named, key=named.get)
        assert abs(named[best] - rows.max()) < 1e-5
        return
    np.testing.assert_allclose(rows, expected(pixels), atol=1e-5)


def test_a_thousand_mixed_requests_get_their_own_answers(server):
    connections = threading.local()

    def ask(number: int) -> None:
        if not hasattr(connections, "own"):
            connections.own = server.connect()
        ask_one(connections.own, number)

    with ThreadPoolExecutor(32) as pool:
        assert len(list(pool.map(ask, range(1000)))) == 1000
    assert server.ask("GET", "/v2/health/ready")[0].status == 200


@pytest.mark.parametrize("name", [signal.SIGTERM, signal.SIGINT])
def test_the_end_under_load_loses_no_accepted_request(network, name):
    """Clients send until the server says that it closes the connection; all get their answers."""
    with serving(network) as server:
        begun, lost, answered, not_ready = threading.Barrier(9), [], [], threading.Event()

        def ask(seed: int) -> None:
            connection, pixels = server.connect(), noise(1, seed)
            body, headers = binary(pixels)
            closing, count = False, 0
            while not closing:
                try:
                    connection.request("POST", INFER, body, headers)
                    response = connection.getresponse()
                    rows = rows_of(response, response.read())
                    np.testing.assert_allclose(rows, expected(pixels), atol=1e-5)
                except Exception as error:
                    lost.append(repr(error))
                    return
                count += 1
                if count == 50:
                    begun.wait(30)
                closing = response.headers["connection"] == "close"
            not_ready.set()
            answered.append(count)

        threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(8)]
        for thread in threads:
            thread.start()
        begun.wait(30)
        server.process.send_signal(name)
        not_ready.wait(30)
        for thread in threads:
            thread.join(30)
        assert server.process.wait(30) == 0
        assert lost == [] and len(answered) == 8
        assert server.process.stderr.read() == ""


def test_a_slow_request_is_answered_before_the_end(network):
    with serving(network) as server:
        connection, (body, headers) = server.connect(), binary(noise(1))
        connection.putrequest("POST", INFER)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            connection.putheader(key, value)
        connection.endheaders(body[:100])
        assert server.ask("GET", "/v2/health/ready")[0].status == 200
        server.process.send_signal(signal.SIGTERM)
        probe = server.connect()
        status = 200
        while status == 200:
            probe.request("GET", "/v2/health/ready")
            status = probe.getresponse().status
            probe.close()
        assert status == 503
        connection.send(body[100:])
        response = connection.getresponse()
        np.testing.assert_allclose(
            rows_of(response, response.read()), expected(noise(1)), atol=1e-5
        )
        assert server.process.wait(30) == 0


def test_an_upload_that_never_arrives_does_not_delay_the_end(network):
    with serving(network) as server:
        connection = server.connect()
        connection.putrequest("POST", INFER)
        connection.putheader("Content-Length", "1000")
        connection.endheaders(b"{")
        assert server.ask("GET", "/v2/health/ready")[0].status == 200
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 8  # 5 s and some for a busy machine
        response = connection.getresponse()
        assert (response.status, response.headers["retry-after"]) == (503, "1")
        assert "Traceback" not in server.process.stderr.read()
