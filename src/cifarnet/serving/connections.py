"""HTTP/1.1 by uvicorn and httptools, with a bound on the head of a request."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_MAX_HEAD = 65_536  # bytes of the request line and the headers
_KEEP_ALIVE = 75  # seconds that an idle connection stays open


class _Protocol(HttpToolsProtocol):
    """One connection."""

    _is_head, _head_bytes = False, 0

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._is_head, self._head_bytes = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Start to answer."""
        self._is_head = False
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """Take bytes of the client."""
        super().data_received(data)
        if self._is_head and self.parser is not None:
            self._head_bytes += len(data)
            if self._head_bytes > _MAX_HEAD and not self.transport.is_closing():
                self.send_400_response(f"the headers are larger than {_MAX_HEAD:,} bytes")

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP request, and close the connection."""
        content = json.dumps({"error": msg}).encode()
        head = (
            "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n"
            f"content-length: {len(content)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + content)
        self.transport.close()


class _Server(uvicorn.Server):
    """A server that leaves signals alone: uvicorn's ends the process by the signal it got."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Do nothing."""
        yield


def server(app: ASGIApp, drain_seconds: float) -> uvicorn.Server:
    """Return a server for an application; it ends `drain_seconds` after it was asked to."""
    config = uvicorn.Config(
        app,
        http=_Protocol,
        ws="none",
        lifespan="off",
        access_log=False,
        log_level="error",
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=round(drain_seconds),
    )
    return _Server(config)
