"""Messages between the workers of a training before TensorFlow connects them: JSON over TCP."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Iterable
from contextlib import suppress

from cifarnet.errors import JsonObject

# Also keeps other programs' connections apart.
_MAGIC = b"cifarnet-team-1\n"
_LENGTH = struct.Struct(">I")
# A config has at most 200 kB of YAML.
_MOST_BYTES = 4_000_000
_BUSY = {"busy": True}
_BUSY_SECONDS = 2.0
_CLOSE_SECONDS = 2.0
# A process that is silent for so long is frozen, or its machine is gone.
SILENCE_SECONDS = 12.0


def send(connection: socket.socket, message: JsonObject) -> None:
    """Send a message.

    Raises:
        OSError: the other end is gone.
    """
    content = json.dumps(message).encode()
    connection.sendall(_MAGIC + _LENGTH.pack(len(content)) + content)


def receive(connection: socket.socket) -> JsonObject:
    """Wait for a message, as long as the other end says that it is busy.

    Raises:
        OSError: the other end is gone, or is silent for the connection's timeout.
        ValueError: what came is no message.
    """
    while (message := _receive(connection)) == _BUSY:
        pass
    return message


class Busy:
    """Tells the other ends of connections every two seconds that this process is there."""

    def __init__(self, connections: Iterable[socket.socket]) -> None:
        """Begin, with those that are added later, too; nothing else may be sent until `end`."""
        self._connections = connections
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._tell, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Send no more."""
        self._over.set()
        self._thread.join()

    def _tell(self) -> None:
        while not self._over.wait(_BUSY_SECONDS):
            for connection in tuple(self._connections):
                with suppress(OSError):  # the next receive says so
                    send(connection, _BUSY)


def _receive(connection: socket.socket) -> JsonObject:
    head = _exactly(connection, len(_MAGIC) + _LENGTH.size)
    (length,) = _LENGTH.unpack(head[len(_MAGIC) :])
    if not head.startswith(_MAGIC) or length > _MOST_BYTES:
        raise ValueError("this is not a worker of cifarnet")
    message = json.loads(_exactly(connection, length))
    if not isinstance(message, dict):
        raise ValueError("expected an object")
    return message


def close(connection: socket.socket, last: JsonObject | None = None) -> None:
    """Close a connection, with a last message if the other end still takes it."""
    with suppress(OSError):
        if last is not None:
            send(connection, last)
            # A close with unread messages would take the last one back.
            connection.shutdown(socket.SHUT_WR)
            connection.settimeout(_CLOSE_SECONDS)
            while connection.recv(1 << 16):
                pass
    connection.close()


def _exactly(connection: socket.socket, count: int) -> bytes:
    content = bytearray()
    while len(content) < count:
        part = connection.recv(min(count - len(content), 1 << 16))
        if not part:
            raise ConnectionError("the other end is gone")
        content += part
    return bytes(content)
