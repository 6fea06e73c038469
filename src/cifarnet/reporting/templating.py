"""The environment of the templates of this package."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cifarnet import cost
from cifarnet.formatting import count, duration, interval, percent

if TYPE_CHECKING:
    import jinja2


def environment(finalize: Callable[[Any], Any], autoescape: bool) -> jinja2.Environment:
    """Return an environment in which a value that is missing is an error.

    Args:
        finalize: is applied to each value that is filled in.
        autoescape: whether texts are escaped for HTML.
    """
    import jinja2

    made = jinja2.Environment(
        loader=jinja2.PackageLoader("cifarnet.reporting"),
        autoescape=autoescape,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=finalize,
    )
    made.filters.update(
        percent=percent,
        interval=interval,
        duration=duration,
        cost=cost.describe,
        number="{:,}".format,
        counted=count,
    )
    return made
