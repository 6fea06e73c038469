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

    _head_bytes = 0  # since the latest ones of a body: of headers, or behind the last chunk

    def on_body(self, body: bytes) -> None:
        """Take bytes of a body."""
        self._head_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request."""
        self._head_bytes = 0
        super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        """Take bytes of the client."""
        self._head_bytes += len(data)
        super().data_received(data)
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


def server(app: ASGIApp) -> uvicorn.Server:
    """Return a server for an application."""
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
    )
    return _Server(config)
