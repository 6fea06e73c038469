"""Measure `cifarnet serve` beside the runtime called directly, LitServe and Triton, on loopback.

    python scripts/measure_serving.py model.onnx
    CIFARNET_TRITON=ENV python scripts/measure_serving.py model.onnx --litserve ENV/bin/python \\
        --triton RUN/exports/triton

Needs Debian's `wrk`. Every server gets the same uint8 pixels of one image per request, on
connections that stay open: as a binary request of the Open Inference Protocol; LitServe, which
takes JSON or forms, as JSON with base64. Prints one JSON document: seconds until ready and memory
then; latency, throughput and processor time per request (all processes of the server) at 1 and 16
clients; and memory before and after at least `--requests` further requests. `--litserve` names the
Python of an environment with `litserve` and `onnxruntime`; Triton is that of
tests/helpers/triton.py, with its Python backend. Run it where nothing else runs.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cifarnet import artifacts, system

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from helpers import triton

CLIENTS = (1, 16)
_PATIENCE = 60  # seconds until a server is ready
_TICKS = os.sysconf("SC_CLK_TCK")
_WRK = """
local file = assert(io.open(os.getenv("BODY"), "rb"))
wrk.method = "POST"
wrk.headers["Inference-Header-Content-Length"] = os.getenv("HEAD")
wrk.headers["Content-Type"] = os.getenv("TYPE")
wrk.body = file:read("*a")
done = function(summary, latency)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format('{"requests": %d, "microseconds": %d, "failed": %d, "p50": %f, "p99": %f}',
    summary.requests, summary.duration, failed, latency:percentile(50), latency:percentile(99)))
end
"""
_LITSERVE = """
import base64, sys
import litserve, numpy, onnxruntime

class Api(litserve.LitAPI):
    def setup(self, device):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(sys.argv[1], options)
        (self.input,) = self.session.get_inputs()

    def decode_request(self, request):
        return numpy.frombuffer(base64.b64decode(request["pixels"]), numpy.uint8)

    def predict(self, pixels):
        images = pixels.reshape(1, *self.input.shape[1:]).astype(numpy.float32)
        return self.session.run(None, {self.input.name: images})[0]

    def encode_response(self, found):
        return {"probabilities": found.tolist()}

if __name__ == "__main__":
    litserve.LitServer(Api(), accelerator="cpu").run(
        port=int(sys.argv[2]), host="127.0.0.1", generate_client_file=False, log_level="error")
"""


class Server(NamedTuple):
    """A server that runs.

    Attributes:
        url: to which requests are sent.
        health: answers with status 200 once it is ready.
        body: of a request.
        head: length of the JSON before its pixels, bytes; 0: it is JSON alone.
        pid: of its first process.
    """

    url: str
    health: str
    body: bytes
    head: int
    pid: int

    def processor_seconds(self) -> float:
        """Return the processor time of its processes so far."""
        return sum(
            sum(int(field) for field in _stat(pid)[11:13]) / _TICKS for pid in _family(self.pid)
        )

    def memory(self, name: str = "VmRSS") -> int:
        """Return the memory of its processes, bytes: `VmRSS` now, `VmHWM` at most so far."""
        found = 0
        for pid in _family(self.pid):
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith(f"{name}:"):
                    found += 1024 * int(line.split()[1])
        return found


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _family(pid: int) -> list[int]:
    """Return a process and those that descend from it."""
    parents: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parents.setdefault(int(_stat(int(path.name))[1]), []).append(int(path.name))
    found = [pid]
    for one in found:
        found += parents.get(one, [])
    return found


def load(server: Server, clients: int, seconds: int) -> dict[str, float]:
    """Send requests for a time, each client one after the other.

    Raises:
        SystemExit: a request failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        script, body = Path(folder, "wrk.lua"), Path(folder, "body")
        script.write_text(_WRK)
        body.write_bytes(server.body)
        command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "-s", str(script), server.url]
        environment = {**os.environ, "BODY": str(body), "HEAD": str(server.head)}
        environment["TYPE"] = "application/octet-stream" if server.head else "application/json"
        before = server.processor_seconds()
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        used = server.processor_seconds() - before
    found = json.loads(done.stdout.splitlines()[-1])
    if found["failed"] or not found["requests"]:
        raise SystemExit(f"requests to {server.url} failed: {found}")
    return {
        "clients": clients,
        "requests": found["requests"],
        "requests_per_second": round(found["requests"] / found["microseconds"] * 1e6, 1),
        "p50_milliseconds": found["p50"] / 1000,
        "p99_milliseconds": found["p99"] / 1000,
        "processor_microseconds": round(used / found["requests"] * 1e6, 1),
    }


def measure(server: Server, began: float, seconds: int, requests: int) -> dict[str, object]:
    """Wait until a server is ready, and measure it."""
    while time.perf_counter() - began < _PATIENCE:
        with contextlib.suppress(OSError), urllib.request.urlopen(server.health):
            break
        time.sleep(0.005)
    start = {
        "ready_seconds": round(time.perf_counter() - began, 3),
        "memory_bytes": server.memory("VmHWM"),
    }
    for clients in CLIENTS:
        load(server, clients, 1)
    loads = [load(server, clients, seconds) for clients in CLIENTS]
    before, sent = server.memory(), 0.0
    while sent < requests:
        sent += load(server, CLIENTS[-1], seconds)["requests"]
    growth = {"requests": sent, "memory_bytes": [before, server.memory()]}
    return {"start": start, "load": loads, "growth": growth}


@contextlib.contextmanager
def running(
    command: list[str], folder: str | None = None, environment: dict[str, str] | None = None
) -> Iterator[int]:
    """Run a server in a folder; end it and what it started."""
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(
            command, stdout=log, stderr=log, start_new_session=True, cwd=folder, env=environment
        ) as one,
    ):
        try:
            yield one.pid
        except BaseException:
            log.seek(0)
            sys.stderr.write(log.read().decode(errors="replace")[-3000:])
            raise
        finally:
            one.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                one.wait(10)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(one.pid, signal.SIGKILL)


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def protocol_request(pixels: bytes, size: int) -> tuple[bytes, int]:
    """Return a binary request of the Open Inference Protocol, and the length of its JSON."""
    tensor = {"name": "pixels", "datatype": "UINT8", "shape": [1, size, size, 3]}
    inputs = [{**tensor, "parameters": {"binary_data_size": len(pixels)}}]
    head = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
    return head + pixels, len(head)


def direct(file: Path, calls: int = 20_000) -> dict[str, float]:
    """Measure the runtime in this process: processor time per image in calls of 1 and of 16."""
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


def of_cifarnet(file: Path, pixels: bytes, size: int, *how: int) -> dict[str, object]:
    """Measure `cifarnet serve`."""
    port = free_port()
    command = [sys.executable, "-m", "cifarnet", "serve", str(file), "--port", str(port)]
    began = time.perf_counter()
    with running(command) as pid:
        root = f"http://127.0.0.1:{port}/v2"
        body, head = protocol_request(pixels, size)
        name = file.stem
        server = Server(f"{root}/models/{name}/infer", f"{root}/health/ready", body, head, pid)
        return measure(server, began, *how)


def of_litserve(python: str, file: Path, pixels: bytes, *how: int) -> dict[str, object]:
    """Measure LitServe with one worker and one thread of the runtime."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "server.py")
        script.write_text(_LITSERVE)
        body = json.dumps({"pixels": base64.b64encode(pixels).decode()}).encode()
        began = time.perf_counter()
        with running([python, str(script), str(file.resolve()), str(port)], folder) as pid:
            root = f"http://127.0.0.1:{port}"
            return measure(Server(f"{root}/predict", f"{root}/health", body, 0, pid), began, *how)


def of_triton(repository: Path, pixels: bytes, size: int, *how: int) -> dict[str, object]:
    """Measure Triton with an exported repository."""
    made, port = triton.installation(), free_port()
    with tempfile.TemporaryDirectory() as folder:
        copied = Path(folder, "models")
        shutil.copytree(repository, copied)
        triton.serve_by_python(copied, made)
        command = triton.command(made, copied, Path(folder), port)
        began = time.perf_counter()
        with running(command, folder, triton.environment(made)) as pid:
            root = f"http://127.0.0.1:{port}/v2"
            body, head = protocol_request(pixels, size)
            (name,) = (path.parent.name for path in copied.glob("*/config.pbtxt"))
            url = f"{root}/models/{name}/infer"
            return measure(Server(url, f"{root}/health/ready", body, head, pid), began, *how)


def main() -> None:
    """Measure, and print the document."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("file", type=Path, help="an .onnx file outside of a run, or model.onnx")
    parser.add_argument("--seconds", type=int, default=10, help="per measurement")
    parser.add_argument("--requests", type=int, default=100_000, help="between readings of memory")
    parser.add_argument("--litserve", metavar="PYTHON")
    parser.add_argument("--triton", metavar="REPOSITORY", type=Path)
    given = parser.parse_args()
    size = artifacts.resolve(given.file).load(threads=1).size
    pixels = np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8).tobytes()
    how = given.seconds, given.requests
    document: dict[str, object] = {
        "host": system.describe().processor,
        "cores": system.usable_cores(),
        "python": platform.python_version(),
        "runtime_alone": direct(given.file),
        "cifarnet": of_cifarnet(given.file, pixels, size, *how),
    }
    if given.litserve:
        document["litserve"] = of_litserve(given.litserve, given.file, pixels, *how)
    if given.triton:
        document["triton"] = of_triton(given.triton, pixels, size, *how)
    print(json.dumps(document, indent=2))


if __name__ == "__main__":
    main()
