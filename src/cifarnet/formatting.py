"""Numbers and tables as text for people."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Sequence

_LONG = 60  # characters
# Control characters, lone surrogates (bytes of a file name that are not UTF-8), line separators.
_UNPRINTABLE = ("Cc", "Cs", "Zl", "Zp")
# They turn the direction of the text around them.
_DIRECTIONS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def align(rows: Iterable[tuple[str, str]]) -> str:
    """Format rows as lines of `label  value`, the values aligned."""
    rows = list(rows)
    width = max(len(label) for label, _ in rows)
    return "\n".join(f"{label.ljust(width)}  {value}" for label, value in rows)


def count(number: float, noun: str) -> str:
    """Format a number of things: `1 epoch`, `2.5 epochs`, `1,000 steps`."""
    text = f"{number:,}" if isinstance(number, int) else f"{number:,g}"
    return f"{text} {noun}" if number == 1 else f"{text} {noun}s"


def some(texts: Sequence[str]) -> str:
    """Join texts by semicolons; of more than five, these and the number of the rest."""
    rest = [f"and {len(texts) - 5:,} more"] if len(texts) > 5 else []
    return "; ".join([*texts[:5], *rest])


def difference(key: str, old: object, new: object, between: str) -> str:
    """Format two values of a config's key, such as `train.epochs: 1 -> 2`."""
    values = [_value(value) for value in (old, new)]
    return f"{key}: {between.join(values)}" if all(values) else f"{key} differs"


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


def interval(ends: Sequence[float] | None) -> str:
    """Format the ends of an interval of shares: `92.56 to 93.55 %`; `-` for None."""
    return "-" if ends is None else f"{100 * ends[0]:.2f} to {100 * ends[1]:.2f} %"


def printable(text: str) -> str:
    r"""Escape what UTF-8 cannot encode or one line cannot show, as in `b\udce9te.png`."""
    return text if text.isprintable() else "".join(map(_escaped, text))


def printable_lines(text: str) -> str:
    """Escape what a terminal would obey or cannot show; newlines remain."""
    return "\n".join(map(printable, text.split("\n")))


def _value(value: object) -> str:
    """Format a value as YAML does; empty for a long list."""
    if isinstance(value, str):
        return value
    text = json.dumps(value).removesuffix(".0")
    return text if len(text) <= _LONG else ""


def _escaped(character: str) -> str:
    if unicodedata.category(character) not in _UNPRINTABLE and character not in _DIRECTIONS:
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
