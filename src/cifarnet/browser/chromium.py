"""Run a page in a headless Chromium of the system, without any package for it.

The Chrome DevTools Protocol over two pipes: https://chromedevtools.github.io/devtools-protocol/
"""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_TIMEOUT = 120.0  # seconds without an answer
_END = 10.0  # seconds in which it ends
_BLOCK_BYTES = 1 << 16
# Gives two pipes the numbers that Chromium expects, in a process without threads.
_EXECUTE = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); "
    "os.execv(sys.argv[3], sys.argv[3:])"
)


class NotStarted(Exception):
    """There is no Chromium, or it does not start here; the text says which."""


class PageError(Exception):
    """The page raised an error or does not answer."""


class OpenPage:
    """A page that was loaded, without a network.

    Attributes:
        browser: name and version, such as `Chrome/156.0.8078.108`.
    """

    def __init__(self, browser: str, connection: _Connection, session: str) -> None:
        self.browser = browser
        self._connection = connection
        self._session = session

    def evaluate(self, expression: str) -> Any:
        """Return the JSON-able value that a JavaScript expression, or its promise, gives.

        Raises:
            PageError: it raised an error.
        """
        answer = self._connection.call(
            "Runtime.evaluate",
            self._session,
            expression=expression,
            awaitPromise=True,
            returnByValue=True,
        )
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            said = details.get("exception", {}).get("description") or details.get("text", "")
            raise PageError(" ".join(str(said).split())[:300])
        return answer["result"].get("value")


@contextmanager
def opened(path: Path) -> Iterator[OpenPage]:
    """Open a file in a new Chromium, which ends with the context.

    Raises:
        NotStarted: there is no Chromium, or it does not start.
        PageError: it does not load the page.
    """
    program = next(filter(None, map(shutil.which, _NAMES)), None)
    if program is None:
        raise NotStarted("no Chromium on the path")
    if os.name == "nt":
        raise NotStarted("not supported on Windows")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process, connection = _start(program, Path(profile))
        try:
            try:
                browser = str(connection.call("Browser.getVersion")["product"])
                target = connection.call("Target.createTarget", url="about:blank")["targetId"]
            except PageError as error:
                raise NotStarted(f"{program} does not start: {error}") from error
            yield OpenPage(browser, connection, _load(connection, target, path))
        finally:
            _end(process, connection)


def _start(program: str, profile: Path) -> tuple[subprocess.Popen[bytes], _Connection]:
    """Start Chromium, which reads messages from descriptor 3 and writes to 4."""
    import fcntl  # not on Windows

    to_read, we_write = os.pipe()
    we_read, to_write = os.pipe()
    theirs = [fcntl.fcntl(one, fcntl.F_DUPFD_CLOEXEC, 10) for one in (to_read, to_write)]
    for descriptor in (to_read, to_write):
        os.close(descriptor)
    arguments = [
        "--headless",
        "--remote-debugging-pipe",
        f"--user-data-dir={profile}",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-dev-shm-usage",
        *(["--no-sandbox"] if os.geteuid() == 0 else []),
    ]
    command = [sys.executable, "-I", "-c", _EXECUTE, *map(str, theirs), program, *arguments]
    try:
        process = subprocess.Popen(
            command,
            pass_fds=theirs,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    except OSError as error:
        os.close(we_read)
        os.close(we_write)
        raise NotStarted(f"{program} does not start: {error}") from error
    finally:
        for descriptor in theirs:
            os.close(descriptor)
    return process, _Connection(we_read, we_write)


def _end(process: subprocess.Popen[bytes], connection: _Connection) -> None:
    """End Chromium, which when killed would leave a folder outside of its profile."""
    with suppress(PageError, subprocess.TimeoutExpired):
        connection.send("Browser.close")
        process.wait(_END)
    process.kill()
    process.wait()
    connection.close()


def _load(connection: _Connection, target: str, path: Path) -> str:
    """Load a file in a target and return the session with it."""
    attached = connection.call("Target.attachToTarget", targetId=target, flatten=True)
    session = str(attached["sessionId"])
    for domain in ("Page", "Network", "Runtime"):
        connection.call(f"{domain}.enable", session)
    connection.call("Page.setLifecycleEventsEnabled", session, enabled=True)
    no_network = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
    connection.call("Network.emulateNetworkConditions", session, **no_network)
    answer = connection.call("Page.navigate", session, url=path.resolve().as_uri())
    if "errorText" in answer:
        raise PageError(f"{path} does not load: {answer['errorText']}")
    connection.wait_for("load", str(answer["loaderId"]))
    return session


class _Connection:
    """Messages to and from Chromium: JSON, each ended by a zero byte."""

    def __init__(self, reading: int, writing: int) -> None:
        self._reading = reading
        self._writing = writing
        self._received = bytearray()
        self._reached: set[tuple[str, str]] = set()  # events of loading, and of which document
        self._last = 0

    def call(self, method: str, session: str | None = None, **parameters: Any) -> Any:
        """Call a method and return its result.

        Raises:
            PageError: it failed, Chromium ended, or it does not answer.
        """
        self.send(method, session, **parameters)
        while True:
            answer = self._next()
            if answer.get("id") == self._last:
                if "error" in answer:
                    raise PageError(f"{method}: {answer['error'].get('message')}")
                return answer["result"]

    def send(self, method: str, session: str | None = None, **parameters: Any) -> None:
        """Call a method and do not wait for its result.

        Raises:
            PageError: Chromium ended.
        """
        self._last += 1
        message: Any = {"id": self._last, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        self._write(json.dumps(message).encode() + b"\0")

    def wait_for(self, event: str, loader: str) -> None:
        """Wait until a document, by the identifier of its loader, has reached a point."""
        while (event, loader) not in self._reached:
            self._next()

    def close(self) -> None:
        """Close the pipes."""
        for descriptor in (self._reading, self._writing):
            with suppress(OSError):
                os.close(descriptor)

    def _write(self, content: bytes) -> None:
        view = memoryview(content)
        try:
            while view:
                view = view[os.write(self._writing, view[:_BLOCK_BYTES]) :]
        except OSError as error:
            raise PageError("Chromium ended") from error

    def _next(self) -> Any:
        deadline = time.monotonic() + _TIMEOUT
        while b"\0" not in self._received:
            left = max(0.0, deadline - time.monotonic())
            if not select.select([self._reading], [], [], left)[0]:
                raise PageError(f"Chromium did not answer for {_TIMEOUT:.0f} s")
            block = os.read(self._reading, _BLOCK_BYTES)
            if not block:
                raise PageError("Chromium ended")
            self._received += block
        content, _, rest = bytes(self._received).partition(b"\0")
        self._received = bytearray(rest)
        message = json.loads(content)
        if message.get("method") == "Page.lifecycleEvent":
            self._reached.add((message["params"]["name"], message["params"]["loaderId"]))
        return message
