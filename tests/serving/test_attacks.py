"""Requests that want to exhaust or mislead the server: refused cheaply, and it goes on."""

import contextlib
import gzip
import io
import json
import socket
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from helpers.serving import noise, run, serving
from PIL import Image
from starlette.requests import Request

from cifarnet.serving.body import Bodies
from cifarnet.serving.refusals import Refused

INFER = "/v2/models/dense/infer"
SECONDS, MEMORY = 0.1, 20_000_000  # of the processor; bytes; each attack


@pytest.fixture(scope="module")
def own(network, tmp_path_factory):
    """A server of this module's own, in an empty folder: its memory and files are looked at."""
    with serving(network, cwd=tmp_path_factory.mktemp("empty")) as server:
        for _ in range(3):  # what is loaded with the first request of a kind
            server.ask("POST", "/predict?heat=1", png(noise(1)[0]))
            server.ask("POST", INFER, b"{}")
        yield server


def png(pixels) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + checksum


def png_claiming(width: int, height: int, content: bytes) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", content) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def webp(width: int, height: int) -> bytes:
    """Return a whole black image: its 34 bytes say the same of every pixel."""
    content = bytes.fromhex("524946461a000000574542505650384c0e0000002f57dbed02071011fd0f4444ff03")
    size = (width - 1) | (height - 1) << 14  # two numbers of 14 bits
    return content[:21] + size.to_bytes(4, "little") + content[25:]


def gif_claiming(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("P", (8, 8)).save(file, "GIF")
    return b"GIF89a" + struct.pack("<HH", width, height) + file.getvalue()[10:]


def jpeg_claiming(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG")
    content = file.getvalue()
    at = content.index(b"\xff\xc0") + 5
    return content[:at] + struct.pack(">HH", height, width) + content[at + 4 :]


def form(*heads: str) -> tuple[bytes, dict[str, str]]:
    parts = "".join(f"--b\r\n{head}\r\n\r\nx\r\n" for head in heads)
    return (parts + "--b--\r\n").encode(), {"content-type": "multipart/form-data; boundary=b"}


def tensor(**changes) -> bytes:
    made = {"name": "pixels", "datatype": "UINT8", "shape": [1, 32, 32, 3], "data": [0] * 3072}
    return json.dumps({"inputs": [made | changes]}).encode()


def rows(width: int, height: int) -> bytes:
    return zlib.compress(bytes((3 * width + 1) * height), 9)


FILE = 'content-disposition: form-data; name="image"; filename='
ATTACKS = {
    "a PNG that claims 60,000 x 60,000": ("/predict", png_claiming(60_000, 60_000, b""), {}, 413),
    "143 kB that are 49 megapixels": (
        "/predict",
        png_claiming(7000, 7000, rows(7000, 7000)),
        {},
        413,
    ),
    "34 bytes that are 169 megapixels": ("/predict", webp(13_000, 13_000), {}, 413),
    "34 bytes that are 268 megapixels": ("/predict", webp(16_383, 16_383), {}, 400),
    "a GIF that claims 65,535 x 65,535": ("/predict", gif_claiming(65_535, 65_535), {}, 413),
    "a JPEG that claims 65,500 x 65,500": ("/predict", jpeg_claiming(65_500, 65_500), {}, 413),
    "10 MB of zeros as a PNG": ("/predict", b"\x89PNG\r\n\x1a\n" + bytes(9_000_000), {}, 400),
    "a file name of 5 MB": ("/predict", *form(f'{FILE}"{"a" * 5_000_000}"'), 400),
    "20,000 fields": (
        "/predict",
        *form(*['content-disposition: form-data; name="a"'] * 20_000),
        400,
    ),
    "20,000 files": ("/predict", *form(*[f'{FILE}"a"'] * 20_000), 400),
    "20,000 headers of a part": ("/predict", *form("\r\n".join(["a: b"] * 20_000)), 400),
    "JSON 100,000 deep": (INFER, b'{"a":' + b"[" * 100_000, {}, 400),
    "JSON 100,000 objects deep": (INFER, b'{"a":' * 100_000, {}, 400),
    "JSON of 4,000,000 arrays": (INFER, b'{"a":[' + b"[]," * 3_000_000 + b"[]]}", {}, 413),
    "a number of 1,000,000 digits": (INFER, b'{"a":' + b"9" * 1_000_000 + b"}", {}, 400),
    "a huge shape": (INFER, tensor(shape=[2**62, 32, 32, 3]), {}, 413),
    "a shape that overflows": (INFER, tensor(shape=[2**62, 2**62, 4, 1]), {}, 400),
    "one long text among numbers": (INFER, tensor(data=["a" * 1_000_000, *range(3071)]), {}, 400),
    "an inner batch of lists": (INFER, tensor(data=[[[[[[0]]]]]] * 3072), {}, 400),
    "100 million zeros as gzip": (
        INFER,
        gzip.compress(bytes(100_000_000), 9),
        {"content-encoding": "gzip"},
        413,
    ),
    "a body that claims 10 TB": (INFER, b"", {"content-length": str(10**13)}, 413),
    "another name for this address": ("/predict", b"x", {"host": "evil.example"}, 403),
    "a page of another origin": ("/predict", b"x", {"origin": "https://evil.example"}, 403),
    "a page without an origin": ("/predict", b"x", {"origin": "null"}, 403),
    "another port of this machine": ("/predict", b"x", {"origin": "http://127.0.0.1:1"}, 403),
    "a path out of the folder": ("/../../../etc/passwd", b"x", {}, 404),
    "an encoded path out of the folder": ("/%2e%2e%2fetc%2fpasswd", b"x", {}, 404),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_refused_cheaply(own, name):
    path, body, headers, status = ATTACKS[name]
    own.forget_peak()
    seconds, memory = own.processor_seconds(), own.memory("VmRSS")
    response, answer = own.ask("POST", path, body, headers)
    assert response.status == status, answer
    assert list(json.loads(answer)) == ["error"]
    assert len(answer) < 1000
    # What arrives is in memory once; the rest is what the attack takes.
    assert own.memory("VmHWM") - memory < MEMORY + len(body)
    assert own.processor_seconds() - seconds <= SECONDS
    assert own.ask("GET", "/v2/health/ready")[0].status == 200


def test_an_endless_body_is_refused(own):
    own.forget_peak()
    seconds, memory, sent = own.processor_seconds(), own.memory("VmRSS"), 0
    piece = b"10000\r\n" + bytes(0x10000) + b"\r\n"
    with socket.create_connection(("127.0.0.1", own.port), timeout=60) as connection:
        head = f"POST {INFER} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head.encode())
        try:
            while sent < 10**9:
                connection.sendall(piece)
                sent += len(piece)
        except OSError:  # closed by the server
            pass
    assert sent < 60_000_000
    assert own.memory("VmHWM") - memory < MEMORY + 10_000_000
    assert own.processor_seconds() - seconds <= SECONDS
    assert own.ask("GET", "/v2/health/ready")[0].status == 200


@pytest.mark.parametrize(
    "start",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\nA: ",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: ",
    ],
    ids=["before the body", "behind it"],
)
def test_endless_headers_are_refused(own, start):
    own.forget_peak()
    memory, sent = own.memory("VmRSS"), 0
    with socket.create_connection(("127.0.0.1", own.port), timeout=60) as connection:
        connection.sendall(start)
        try:
            while sent < 10**8:
                connection.sendall(b"a" * 10_000)
                sent += 10_000
        except OSError:
            pass
    assert sent < 10_000_000
    assert own.memory("VmHWM") - memory < MEMORY
    assert own.ask("GET", "/v2/health/ready")[0].status == 200


def test_bodies_are_counted_until_they_are_no_longer_needed():
    """Packed ones by what they unpack to; and what was refused is not counted."""

    def request(content: bytes, encoding: str = "identity") -> Request:
        async def receive() -> dict[str, object]:
            return {"type": "http.request", "body": content}

        headers = [(b"content-encoding", encoding.encode())]
        return Request({"type": "http", "method": "POST", "headers": headers}, receive)

    async def ask() -> None:
        bodies, packed = Bodies(1000), gzip.compress(bytes(1000))
        async with contextlib.AsyncExitStack() as held:
            for _ in range(15):
                await held.enter_async_context(bodies.read(request(bytes(1000))))
            await held.enter_async_context(bodies.read(request(packed, "gzip")))
            for refused in (request(b"x"), request(packed, "gzip")):
                with pytest.raises(Refused) as caught:
                    await held.enter_async_context(bodies.read(refused))
                assert caught.value.status == 503
        with pytest.raises(Refused) as caught:
            async with bodies.read(request(bytes(1001))):
                pass
        assert caught.value.status == 413
        async with contextlib.AsyncExitStack() as held:
            for _ in range(16):
                await held.enter_async_context(bodies.read(request(bytes(1000))))

    run(ask())


def test_bombs_at_once_are_decoded_one_after_the_other(own):
    """Eight images of 19 megapixels: at most two in memory."""
    bomb = png_claiming(4400, 4400, rows(4400, 4400))
    own.forget_peak()
    memory = own.memory("VmRSS")
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: own.ask("POST", "/predict", bomb)[0].status, range(8)))
    assert set(found) <= {200, 503}
    assert own.memory("VmHWM") - memory < 2 * 4400 * 4400 * 4 * 2
    assert own.ask("GET", "/v2/health/ready")[0].status == 200


def test_nothing_is_written_and_nothing_set(own):
    opened = {str(path.resolve()) for path in Path(f"/proc/{own.process.pid}/fd").iterdir()}
    assert not [path for path in opened if path.startswith("/tmp")]
    assert list(Path(f"/proc/{own.process.pid}/cwd").iterdir()) == []
    for path in ("/", "/predict", "/v2"):
        response, _ = own.ask("GET", path, headers={"origin": own.url.rstrip("/")})
        names = {name.lower() for name in response.headers}
        assert not [x for x in names if x.startswith("access-control") or x == "set-cookie"]
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["cache-control"] == "no-store"


def test_the_page_allows_no_foreign_content(own):
    response, _ = own.ask("GET", "/")
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
