"""Parts of pages that need nothing beside them."""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
import json
from typing import Any

TEMPLATES = "cifarnet.reporting.templates"


def text(package: str, name: str) -> str:
    """Return a text file of a package's data."""
    return importlib.resources.files(package).joinpath(name).read_text("utf-8").strip()


def source(content: str) -> str:
    """Return the source expression of Content-Security-Policy for an inline style or script."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def for_script(value: Any) -> str:
    """Return JSON that cannot end the script element it stands in."""
    content = json.dumps(value, separators=(",", ":"))
    return content.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
