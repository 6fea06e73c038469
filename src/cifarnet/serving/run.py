"""Start, readiness, signals and the end of the server."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import math
import signal
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cifarnet.callbacks import Callback, job
from cifarnet.errors import ConfigError
from cifarnet.predictors import Preprocessing
from cifarnet.runs import Run
from cifarnet.serving import limits, network
from cifarnet.serving.app import Application, Service
from cifarnet.serving.connections import server as make_server
from cifarnet.serving.limits import MAX_BODY, MAX_PIXELS

_END = 5.0  # seconds in which the server ends
_DRAIN = 4.0  # of these, in which it still takes requests
_QUIET = 0.3  # seconds without a request after which nothing more is expected


@dataclass(frozen=True)
class Serving:
    """What is served where.

    Attributes:
        url: of the page, ends with `/`.
        model: in the paths of the protocols.
        artifact: the model file.
        runtime: name and version.
        assumed: what was assumed about a model file that cifarnet did not write.
    """

    url: str
    model: str
    artifact: Path
    runtime: str
    assumed: tuple[str, ...]


def serve(
    target: Run | str | Path,
    host: str = "127.0.0.1",
    port: int = 8000,
    token_file: str | Path | None = None,
    no_auth: bool = False,
    allow_hosts: Iterable[str] = (),
    max_body: int = MAX_BODY,
    max_pixels: int = MAX_PIXELS,
    preprocessing: Preprocessing | None = None,
    on_ready: Callable[[Serving], None] | None = None,
    callbacks: Iterable[Callback] | None = None,
) -> Serving:
    """Serve a network over HTTP until SIGINT or SIGTERM; call it in the main thread.

    A run without an ONNX or LiteRT export is exported first. This process loads no TensorFlow.

    Args:
        target: a run, its path or name, `latest`, or an `.onnx` or `.tflite` file.
        host: address to listen on; any but a loopback address needs `token_file` or `no_auth`.
        port: 0: a free one.
        token_file: a file with the token that every request must have.
        no_auth: answer everyone who reaches `host`.
        allow_hosts: names, besides `host`, by which clients may call the server.
        max_body: largest body of a request, bytes, also unpacked.
        max_pixels: largest width times height of an image file.
        preprocessing: input and output of a model file that cifarnet did not write.
        on_ready: called once the network has run and requests are answered.
        callbacks: notified of each stage of the start.

    Raises:
        ConfigError: options that contradict each other or are unsafe, the address is taken, or
            this is not the main thread, or one with an event loop, as in a notebook.
        RunError, ArtifactError: the target cannot be found, exported or loaded.

    Example:
        cifarnet.serve("latest", on_ready=lambda serving: print(serving.url))
    """
    _check_thread()
    access = limits.access(host, token_file, no_auth, allow_hosts)
    for name, value in (("max_body", max_body), ("max_pixels", max_pixels)):
        if value < 1:
            raise ConfigError(f"{name}: expected at least 1, received {value}")
    with contextlib.closing(_bind(host, port)) as listener:
        with job(callbacks) as callback:
            loaded = network.load(target, preprocessing, callback)
        serving = _describe(loaded, host, listener)
        service = Service(loaded, access, max_body, max_pixels)
        _run(_answer(service, listener, lambda: on_ready and on_ready(serving)))
    return serving


def _check_thread() -> None:
    """Check that signals and an event loop of its own can be had here."""
    is_main, is_running = threading.current_thread() is threading.main_thread(), True
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        is_running = False
    if not is_main or is_running:
        raise ConfigError(
            "serve runs in the main thread without an event loop. From a thread or a notebook, "
            "start a process: subprocess.Popen(['cifarnet', 'serve', 'RUN'])"
        )


def _describe(loaded: network.Network, host: str, listener: socket.socket) -> Serving:
    address = f"[{host}]" if ":" in host else host
    return Serving(
        url=f"http://{address}:{listener.getsockname()[1]}/",
        model=loaded.name,
        artifact=loaded.path,
        runtime=loaded.predictor.runtime,
        assumed=tuple(loaded.predictor.assumed),
    )


def _bind(host: str, port: int) -> socket.socket:
    """Return a socket with the address, which does not listen yet."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind)
    except (OSError, OverflowError) as error:
        raise ConfigError(f"cannot listen on {host}:{port}: {error}") from error
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise ConfigError(
            f"cannot listen on {host}:{port}: {error.strerror}. --port 0 takes a free one"
        ) from error
    return bound


def _run(work: Coroutine[None, None, None]) -> None:
    """Run in an event loop, uvloop's where it is installed."""
    try:
        import uvloop
    except ImportError:  # on Windows
        loop = asyncio.new_event_loop()
    else:
        loop = uvloop.new_event_loop()
    try:
        loop.run_until_complete(work)
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


@contextlib.contextmanager
def _on_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` in the event loop on SIGINT and SIGTERM."""
    loop = asyncio.get_running_loop()

    def handle(*_: object) -> None:
        loop.call_soon_threadsafe(stop)

    names = (signal.SIGINT, signal.SIGTERM)
    before = {name: signal.signal(name, handle) for name in names}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


async def _answer(
    service: Service, listener: socket.socket, on_ready: Callable[[], object]
) -> None:
    """Answer requests until a signal, then end within 5 s."""
    stop = asyncio.Event()
    server = make_server(Application(service))
    with _on_signals(stop.set):
        running = asyncio.ensure_future(server.serve([listener]))
        try:
            await service.start()
            gc.collect()
            gc.freeze()  # what is here stays; the collector need not look at it again
            on_ready()
            await stop.wait()
            left = _END - await _drain(service)
            server.config.timeout_graceful_shutdown = math.ceil(left)
        finally:
            server.should_exit = True
            await running
            await service.close()
            gc.unfreeze()


async def _drain(service: Service) -> float:
    """Answer what still comes, without keeping connections, until no more does, at most 4 s.

    Returns:
        Seconds that this took.
    """
    service.is_ready, service.is_ending = False, True
    began = time.monotonic()
    while (taken := time.monotonic() - began) < _DRAIN:
        quiet = time.monotonic() - max(service.latest, began)
        if service.requests == 0 and quiet > _QUIET:
            break
        await asyncio.sleep(0.05)
    return taken
