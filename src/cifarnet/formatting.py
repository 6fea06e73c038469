"""Numbers and tables as text for people."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

# Control characters, lone surrogates (bytes of a file name that are not UTF-8), line separators.
_UNPRINTABLE = ("Cc", "Cs", "Zl", "Zp")


def align(rows: Iterable[tuple[str, str]]) -> str:
    """Format rows as lines of `label  value`, the values aligned."""
    rows = list(rows)
    width = max(len(label) for label, _ in rows)
    return "\n".join(f"{label.ljust(width)}  {value}" for label, value in rows)


def duration(seconds: float) -> str:
    """Format seconds as `8.4 s`, `3 min 20 s` or `1 h 05 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60} h {minutes % 60:02} min"


def percent(value: float | None) -> str:
    """Format a share as a percentage with two decimals; `-` for None."""
    return "-" if value is None else f"{100 * value:.2f} %"


def printable(text: str) -> str:
    r"""Escape what UTF-8 cannot encode or one line cannot show, as in `b\udce9te.png`."""
    return "".join(_escaped(c) if unicodedata.category(c) in _UNPRINTABLE else c for c in text)


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
