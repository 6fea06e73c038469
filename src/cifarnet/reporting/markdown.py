"""Markdown from templates, in which all text that is filled in stays text.

The templates are Jinja2's. What they fill in is escaped (CommonMark 0.31.2, section 2.4; tables and
links of GitHub), except `Raw`, such as code in a fence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from cifarnet.formatting import printable
from cifarnet.reporting import templating

# Backslashes before punctuation make it text; `://` and `www.` would become links on GitHub.
_SPECIAL = re.compile(r"[\\`*_{}\[\]<>#|~$&!@^]|:(?=//)|(?<=www)\.", re.IGNORECASE)
_BLANK_LINES = re.compile(r"\n{3,}")


class Raw(str):
    """Markdown that is not escaped."""


def render(name: str, values: Mapping[str, object]) -> str:
    """Fill in a template of this package; a value that it names and that is missing is an error."""
    # Jinja2's escaping is for HTML; `_finalize` escapes for Markdown.
    environment = templating.environment("cifarnet.reporting", _finalize, autoescape=False)
    environment.filters["fenced"] = fenced
    return _BLANK_LINES.sub("\n\n", environment.get_template(name).render(values))


def escape(text: str) -> str:
    """Escape a text for one line of Markdown, also in a cell of a table."""
    return _SPECIAL.sub(r"\\\g<0>", printable(text))


def fenced(text: str, language: str = "") -> Raw:
    """Put code into a block whose fence is longer than any row of backquotes in it."""
    longest = max((len(found) for found in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return Raw(f"{fence}{language}\n{text.rstrip()}\n{fence}")


def _finalize(value: Any) -> Any:
    return value if isinstance(value, Raw) else escape(str(value))
