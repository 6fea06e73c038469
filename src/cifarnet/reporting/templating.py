"""The environment of the templates of pages and cards."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cifarnet import cost
from cifarnet.formatting import count, duration, interval, percent, printable

if TYPE_CHECKING:
    import jinja2


def _printable(value: Any) -> Any:
    return printable(value) if type(value) is str else value


def environment(
    package: str, finalize: Callable[[Any], Any] = _printable, autoescape: bool = True
) -> jinja2.Environment:
    """Return an environment in which a value that is missing is an error.

    Args:
        package: whose folder `templates` has the templates.
        finalize: is applied to each value that is filled in.
        autoescape: whether texts are escaped for HTML.
    """
    import jinja2

    made = jinja2.Environment(
        loader=jinja2.PackageLoader(package),
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
