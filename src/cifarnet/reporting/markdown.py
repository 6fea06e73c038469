"""Markdown from templates, in which all text that is filled in stays text.

The templates are Jinja2's. What they fill in is escaped (CommonMark 0.31.2, section 2.4; tables and
links of GitHub), except `Raw`, such as code in a fence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from cifarnet.formatting import count, percent, printable

# Backslashes before punctuation make it text; `://` and `www.` would become links on GitHub.
_SPECIAL = re.compile(r"[\\`*_{}\[\]<>#|~$&!@^]|:(?=//)|(?<=www)\.", re.IGNORECASE)
_BLANK_LINES = re.compile(r"\n{3,}")


class Raw(str):
    """Markdown that is not escaped."""


def render(name: str, values: Mapping[str, object]) -> str:
    """Fill in a template of this package; a value that it names and that is missing is an error."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("cifarnet.reporting"),
        finalize=_finalize,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # it is for HTML; `_finalize` escapes for Markdown
    )
    environment.filters.update(counted=count, percent=percent, interval=interval, fenced=fenced)
    return _BLANK_LINES.sub("\n\n", environment.get_template(name).render(values))


def escape(text: str) -> str:
    """Escape a text for one line of Markdown, also in a cell of a table."""
    return _SPECIAL.sub(r"\\\g<0>", printable(text))


def fenced(text: str, language: str = "") -> Raw:
    """Put code into a block whose fence is longer than any row of backquotes in it."""
    longest = max((len(found) for found in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return Raw(f"{fence}{language}\n{text.rstrip()}\n{fence}")


def interval(ends: Sequence[float] | None) -> str:
    """Format the ends of an interval of shares: `92.56 to 93.55 %`; `-` for None."""
    return "-" if ends is None else f"{100 * ends[0]:.2f} to {100 * ends[1]:.2f} %"


def _finalize(value: Any) -> Any:
    return value if isinstance(value, Raw) else escape(str(value))
