"""Values and names from outside, as error messages show them."""

from __future__ import annotations

import reprlib
from collections.abc import Sequence

_MAX_LENGTH = 80  # characters


class KeyProblem(ValueError):
    """A value that does not fit, found by a check of a section around it.

    Attributes:
        at: its key path from that section.
        problem: what was expected and received, or what to do.
    """

    def __init__(self, at: tuple[str | int, ...], problem: str) -> None:
        super().__init__(at, problem)
        self.at, self.problem = at, problem

    def __str__(self) -> str:
        """Return the path and the problem, as in `muon.steps: expected ...`."""
        return f"{dotted(self.at)}: {self.problem}"


def describe(value: object) -> str:
    """Return a value and its type on one line, as in `the text 'abc'`."""
    if value is None or isinstance(value, bool | int | float):
        return brief(value)
    for kind, name in ((str, "the text"), (list, "the list"), (dict, "the mapping")):
        if isinstance(value, kind):
            return f"{name} {brief(value)}"
    return f"a {type(value).__name__}, {brief(value)}"


def brief(value: object) -> str:
    """Return a value's text on one line, at most 80 characters."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    short = reprlib.Repr()
    short.maxstring = short.maxother = short.maxlong = _MAX_LENGTH
    try:
        result = short.repr(value)
    except ValueError:  # Python prints no integer of more than 4,300 digits
        return "a very large number"
    return result if len(result) <= _MAX_LENGTH else result[: _MAX_LENGTH - 3] + "..."


def shown(name: str) -> str:
    """Return a name or text that is safe to print: as it is, or else quoted and shortened."""
    return name if name.isprintable() and len(name) <= _MAX_LENGTH else brief(name)


def dotted(path: Sequence[object]) -> str:
    """Format `("layers", 0, "Conv2D")` as `layers[0].Conv2D`."""
    text = ""
    for part in path:
        name = shown(part) if isinstance(part, str) and part else brief(part)
        text += f"[{part}]" if isinstance(part, int) else f".{name}" if text else name
    return text


def is_text(value: str) -> bool:
    """Return whether a string can be encoded as UTF-8, which a lone surrogate cannot."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
