"""Bodies of requests: read, unpacked and parsed within bounds."""

from __future__ import annotations

import asyncio
import contextlib
import json
import zlib
from collections.abc import AsyncIterator

from starlette.requests import ClientDisconnect, Request

from cifarnet.errors import JsonObject
from cifarnet.serving import refusals
from cifarnet.serving.refusals import Refused

TIMEOUT = 30.0  # seconds in which a body must have arrived
# Objects and arrays of a JSON body, of which each takes 60 bytes or more: 256 images of 32 x 32.
MAX_NESTED = 300_000
_HELD = 16  # bodies of the largest size that may be in memory at once
_DRAIN = 1.0  # seconds to read on after a refusal, so that the client reads it
_BOTH = 32  # zlib: detect its own format and gzip


class Bodies:
    """Reader of bodies, of which only so many are in memory at once."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._held = 0  # bytes

    @contextlib.asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[bytes]:
        """Read the body of a request, uncompressed; it counts as held until the context ends.

        Raises:
            Refused: 413 too large; 415 another compression than gzip and deflate; 400 damaged or
                cut off; 408 slow; 503 too many bodies in memory.
        """
        encoding = request.headers.get("content-encoding", "identity").lower()
        if encoding not in ("identity", "gzip", "deflate"):
            raise Refused(
                415, "content-encoding: expected gzip or deflate", {"accept-encoding": "gzip"}
            )
        stated = request.headers.get("content-length", "0")
        if stated.isdigit() and int(stated) > self.max_bytes:
            await _drain(request.stream(), self.max_bytes)
            raise refusals.too_large(self.max_bytes)
        content = await self._in_time(request)
        held = len(content)
        try:
            if encoding != "identity":
                content = _unpack(content, self.max_bytes)
                held += (more := len(content) - held)
                self._hold(more)
            yield content
        finally:
            self._held -= held

    def _hold(self, more: int) -> None:
        """Count bytes that are in memory now.

        Raises:
            Refused: 503 if they are too many.
        """
        self._held += more
        if self._held > _HELD * self.max_bytes:
            raise refusals.busy("too many large bodies at once")

    async def _in_time(self, request: Request) -> bytes:
        """Read the body, or be canceled by a timer: `wait_for` would start a task."""
        task, is_late = asyncio.current_task(), False

        def cancel() -> None:
            nonlocal is_late
            is_late = True
            if task is not None:
                task.cancel()

        timer = asyncio.get_running_loop().call_later(TIMEOUT, cancel)
        try:
            return await self._collect(request)
        except asyncio.CancelledError as error:
            if is_late:
                raise refusals.too_slow(TIMEOUT) from error
            raise
        except ClientDisconnect as error:
            raise Refused(400, "the client closed the connection") from error
        finally:
            timer.cancel()

    async def _collect(self, request: Request) -> bytes:
        """Return the body, whose bytes are counted."""
        parts: list[bytes] = []
        size = 0
        stream = request.stream()
        try:
            async for part in stream:
                size += len(part)
                self._hold(len(part))
                if size > self.max_bytes:
                    parts.clear()
                    await _drain(stream, self.max_bytes)
                    raise refusals.too_large(self.max_bytes)
                parts.append(part)
        except BaseException:
            self._held -= size
            raise
        return parts[0] if len(parts) == 1 else b"".join(parts)


async def _drain(stream: AsyncIterator[bytes], limit: int) -> None:
    """Read and discard up to `limit` bytes: a client that still sends would miss the answer."""

    async def discard() -> None:
        left = limit
        async for part in stream:
            left -= len(part)
            if left < 0:
                return

    with contextlib.suppress(asyncio.TimeoutError, ClientDisconnect):
        await asyncio.wait_for(discard(), _DRAIN)


def _unpack(content: bytes, limit: int) -> bytes:
    """Decompress gzip or zlib data of at most `limit` bytes."""
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | _BOTH)
    try:
        unpacked = unpacker.decompress(content, limit + 1)
    except zlib.error as error:
        raise Refused(400, f"the compressed body is damaged: {error}") from error
    if len(unpacked) > limit:
        raise refusals.too_large(limit, "the unpacked body")
    if not unpacker.eof or unpacker.unused_data:
        raise Refused(400, "the compressed body is cut off, or followed by something else")
    return unpacked


def parse_json(content: bytes) -> JsonObject:
    """Parse a JSON object.

    Raises:
        Refused: 400 for anything else; 413 for too many arrays and objects.
    """
    if content.count(b"[") + content.count(b"{") > MAX_NESTED:
        raise Refused(413, f"expected at most {MAX_NESTED:,} arrays and objects; send binary data")
    try:
        found = json.loads(content)
    except RecursionError as error:
        raise Refused(400, "the JSON is nested too deeply") from error
    except ValueError as error:
        raise Refused(400, f"the body is not JSON: {str(error)[:200]}") from error
    if not isinstance(found, dict):
        raise Refused(400, "expected a JSON object")
    return found
