"""Refused requests: a status, and a text for the client."""

from __future__ import annotations

_CLOSE = {"connection": "close"}  # the rest of the body is not read


class Refused(Exception):
    """A request that is answered with an error.

    Attributes:
        status: of HTTP.
        text: what was expected, what was received.
        headers: further ones of the response.
    """

    def __init__(self, status: int, text: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(text)
        self.status, self.text, self.headers = status, text, headers


def too_large(limit: int, what: str = "the body") -> Refused:
    """Make the refusal of more bytes than allowed."""
    return Refused(413, f"{what} is larger than {limit:,} bytes", _CLOSE)


def too_slow(seconds: float) -> Refused:
    """Make the refusal of a body that does not arrive."""
    return Refused(408, f"the body did not arrive within {seconds:g} s", _CLOSE)


def busy(what: str) -> Refused:
    """Make the refusal of work for which there is no room now."""
    return Refused(503, f"{what}; try again", {"retry-after": "1"})
