"""Measure `cifarnet serve` beside the runtime called directly, on loopback.

    python scripts/measure_serving.py model.onnx
    python scripts/measure_serving.py model.onnx --against 8001:article --requests 100000

Binary requests of the Open Inference Protocol, one image each. Prints one JSON document: seconds
until ready, memory, processor time per request of the server, latency and throughput at 1 and 16
clients, and memory after the requests. `--against PORT:NAME` measures another server of the
protocol, which runs already, with the same requests; `--pid` is its process. Run it where nothing
else runs: the client takes a core of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import selectors
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cifarnet import artifacts, system

CLIENTS = (1, 16)
WARM_UP = 500  # requests before each measurement


class Target(NamedTuple):
    """A server: its port, the name of its network, and its process, if known."""

    port: int
    model: str
    pid: int | None

    def processor_seconds(self) -> float:
        """Return the processor time of the process so far; NaN if it is not known."""
        if self.pid is None:
            return float("nan")
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self, name: str = "VmRSS") -> int | None:
        """Return memory of the process, bytes: `VmRSS` now, `VmHWM` at most so far."""
        if self.pid is None:
            return None
        status = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(rf"{name}:\s+(\d+)", status)
        return 1024 * int(found[1]) if found else None


def request(target: Target, size: int) -> bytes:
    """Return a binary request for one image."""
    pixels = np.random.default_rng(0).integers(0, 256, (1, size, size, 3), np.uint8).tobytes()
    tensor = {"name": "pixels", "datatype": "UINT8", "shape": [1, size, size, 3]}
    inputs = [{**tensor, "parameters": {"binary_data_size": len(pixels)}}]
    document = {"inputs": inputs, "parameters": {"binary_data_output": True}}
    head = json.dumps(document).encode()
    lines = [
        f"POST /v2/models/{target.model}/infer HTTP/1.1",
        f"Host: 127.0.0.1:{target.port}",
        f"Inference-Header-Content-Length: {len(head)}",
        f"Content-Length: {len(head) + len(pixels)}",
    ]
    return "\r\n".join([*lines, "", ""]).encode() + head + pixels


class Client:
    """One connection, which sends the next request when the answer is there."""

    def __init__(self, target: Target, content: bytes) -> None:
        self.socket = socket.create_connection(("127.0.0.1", target.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._content, self._sent, self._received = content, 0.0, b""

    def send(self) -> None:
        """Send a request."""
        self._sent, self._received = time.perf_counter(), b""
        self.socket.sendall(self._content)

    def receive(self) -> float | None:
        """Read what is there; return the seconds since the request once the answer is whole."""
        part = self.socket.recv(65_536)
        if not part:
            raise SystemExit("the server closed a connection")
        self._received += part
        head, separator, body = self._received.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)\r", head.replace(b"-header-content", b""))
        if not separator or length is None or len(body) < int(length[1]):
            return None
        if not head.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"the server refused: {self._received[:500]!r}")
        return time.perf_counter() - self._sent


def load(target: Target, content: bytes, clients: int, requests: int) -> dict[str, object]:
    """Send requests from a number of clients, each one after the other."""
    _send(target, content, clients, WARM_UP)
    seconds, began = target.processor_seconds(), time.perf_counter()
    latencies = _send(target, content, clients, requests)
    wall = time.perf_counter() - began
    used = (target.processor_seconds() - seconds) / len(latencies)
    milliseconds = np.percentile(latencies, [50, 99]) * 1000
    return {
        "clients": clients,
        "requests": len(latencies),
        "requests_per_second": round(len(latencies) / wall, 1),
        "p50_milliseconds": round(float(milliseconds[0]), 4),
        "p99_milliseconds": round(float(milliseconds[1]), 4),
        "processor_microseconds": None if np.isnan(used) else round(used * 1e6, 1),
        "memory_bytes": target.memory(),
    }


def _send(target: Target, content: bytes, clients: int, requests: int) -> list[float]:
    with selectors.DefaultSelector() as selector:
        opened = [Client(target, content) for _ in range(clients)]
        for client in opened:
            selector.register(client.socket, selectors.EVENT_READ, client)
            client.send()
        latencies: list[float] = []
        while len(latencies) < requests:
            for key, _ in selector.select():
                if (seconds := key.data.receive()) is not None:
                    latencies.append(seconds)
                    key.data.send()
        for client in opened:
            client.socket.close()
    return latencies


def direct(file: Path, calls: int = 5000) -> dict[str, float]:
    """Measure the runtime in this process: processor time per call of one image and of 16."""
    predict = artifacts.resolve(file).load(threads=1)
    found = {}
    for count in (1, 16):
        images = np.zeros((count, predict.size, predict.size, 3), np.uint8)
        for _ in range(50):
            predict(images)
        began = time.process_time()
        for _ in range(calls // count):
            predict(images)
        seconds = (time.process_time() - began) / (calls // count) / count
        found[f"processor_microseconds_of_{count}"] = round(seconds * 1e6, 1)
    return found


def served(file: Path, requests: int) -> dict[str, object]:
    """Start the server and measure it."""
    command = [sys.executable, "-m", "cifarnet", "serve", str(file), "--port", "0"]
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            lines = (re.search(r"serving (\S+) at .*:(\d+)/", line) for line in process.stdout)
            found = next(line for line in lines if line)
            ready = time.perf_counter() - began
            target = Target(int(found[2]), found[1], process.pid)
            start = {"ready_seconds": round(ready, 3), "memory_bytes": target.memory("VmHWM")}
            content = request(target, artifacts.resolve(file).load(threads=1).size)
            rows = [load(target, content, clients, requests) for clients in CLIENTS]
        finally:
            process.send_signal(signal.SIGTERM)
    return {"start": start, "load": rows, "exit_code": process.returncode}


def main() -> None:
    """Measure, and print the document."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("file", type=Path, help="an .onnx or .tflite file")
    parser.add_argument("--requests", type=int, default=20_000, help="per number of clients")
    parser.add_argument("--against", metavar="PORT:NAME", help="another server that runs already")
    parser.add_argument("--pid", type=int, help="process of the other server")
    given = parser.parse_args()
    document: dict[str, object] = {
        "host": system.describe().processor,
        "cores": system.usable_cores(),
        "python": platform.python_version(),
        "runtime_alone": direct(given.file),
        "cifarnet": served(given.file, given.requests),
    }
    if given.against:
        port, _, model = given.against.partition(":")
        other = Target(int(port), model, given.pid)
        content = request(other, artifacts.resolve(given.file).load(threads=1).size)
        document["other"] = [load(other, content, clients, given.requests) for clients in CLIENTS]
    print(json.dumps(document, indent=2))


if __name__ == "__main__":
    main()
