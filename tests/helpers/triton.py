"""A real Triton server, of the wheel `nvidia-pytriton`.

CIFARNET_TRITON names a virtual environment for it:

    python -m venv triton && triton/bin/pip install nvidia-pytriton onnxruntime
    CIFARNET_TRITON=$PWD/triton pytest -m slow tests/serving/test_triton.py

The wheel has Triton's Python backend alone, so a copy of the repository is served with that, by
`_MODEL`, which runs the exported file in ONNX Runtime. A Triton with the ONNX Runtime backend is
given the repository as it is.
"""

import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

_MODEL = """\
import sys

sys.path.insert(0, {packages!r})

import onnxruntime
import triton_python_backend_utils as backend


class TritonPythonModel:
    def initialize(self, arguments):
        folder = arguments["model_repository"] + "/" + arguments["model_version"]
        self.session = onnxruntime.InferenceSession(folder + "/model.onnx")

    def execute(self, requests):
        return [self.answer(one) for one in requests]

    def answer(self, request):
        pixels = backend.get_input_tensor_by_name(request, "pixels").as_numpy()
        rows = self.session.run(["probabilities"], {{"pixels": pixels}})[0]
        return backend.InferenceResponse([backend.Tensor("probabilities", rows)])
"""
_SECONDS = 60  # until it is ready


@dataclass(frozen=True)
class Installation:
    """Where Triton's parts are.

    Attributes:
        packages: folder of the environment's packages.
        python: version of its interpreter, such as `3.11`.
    """

    packages: Path
    python: str

    @property
    def program(self) -> Path:
        return self.packages / "pytriton" / "tritonserver" / "bin" / "tritonserver"

    @property
    def backends(self) -> Path:
        return self.packages / "pytriton" / "tritonserver" / "backends"

    @property
    def stub(self) -> Path:
        stubs = self.packages / "pytriton" / "tritonserver" / "python_backend_stubs"
        return stubs / self.python / "triton_python_backend_stub"


def installation() -> Installation:
    """Find Triton, or skip the test and say what is missing."""
    home = os.environ.get("CIFARNET_TRITON")
    if home is None:
        pytest.skip("no Triton: CIFARNET_TRITON names no environment; see tests/helpers/triton.py")
    found = sorted(Path(home).glob("lib/python3.*/site-packages"))
    if not found:
        pytest.skip(f"no Triton: {home} is no virtual environment")
    made = Installation(found[0], found[0].parent.name.removeprefix("python"))
    for part in (made.program, made.stub, made.packages / "onnxruntime"):
        if not part.exists():
            pytest.skip(f"no Triton: {part} is missing")
    return made


def serve_by_python(repository: Path, made: Installation) -> None:
    """Change a repository so that the Python backend runs its file."""
    (config,) = repository.glob("*/config.pbtxt")
    text = config.read_text()
    assert text.count('backend: "onnxruntime"\n') == 1
    config.write_text(text.replace('backend: "onnxruntime"', 'backend: "python"'))
    code = _MODEL.format(packages=str(made.packages))
    (config.parent / "1" / "model.py").write_text(code)


def command(made: Installation, repository: Path, folder: Path, port: int) -> list[str]:
    """Return the command of the server; its backends are copied to `folder`, with the stub."""
    backends = folder / "backends"
    if not backends.exists():
        shutil.copytree(made.backends, backends)
        shutil.copy(made.stub, backends / "python")
    return [
        *(str(made.program), "--model-repository", str(repository)),
        *("--backend-directory", str(backends), "--http-address", "127.0.0.1"),
        *("--http-port", str(port), "--allow-grpc", "false", "--allow-metrics", "false"),
    ]


def environment(made: Installation) -> dict[str, str]:
    return {**os.environ, "LD_LIBRARY_PATH": str(made.packages / "nvidia_pytriton.libs")}


@contextmanager
def triton(made: Installation, repository: Path, folder: Path) -> Iterator[int]:
    """Serve a repository until the end of the context; give the port, once it is ready."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = folder / "triton.log"
    with log.open("w") as stream:
        words = command(made, repository, folder, port)
        process = subprocess.Popen(words, stdout=stream, stderr=stream, env=environment(made))
    try:
        _wait(process, f"http://127.0.0.1:{port}/v2/health/ready", log)
        yield port
    finally:
        process.terminate()
        process.wait(_SECONDS)


def _wait(process: subprocess.Popen, url: str, log: Path) -> None:
    end = time.monotonic() + _SECONDS
    while process.poll() is None and time.monotonic() < end:
        try:
            with urllib.request.urlopen(url, timeout=5) as response:
                if response.status == 200:
                    return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"Triton is not ready:\n{log.read_text()[-3000:]}")
