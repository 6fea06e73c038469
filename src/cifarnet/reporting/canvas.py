"""Figures without a window, whatever the user's Matplotlib settings are."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cifarnet import runs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DPI = 110


@contextmanager
def drawing() -> Iterator[None]:
    """Draw with Matplotlib's defaults, whatever matplotlibrc and MPLBACKEND say; a decorator.

    Text is text, not formulas. A character that the font lacks is drawn as a box, without a
    warning.
    """
    matplotlib = _import_matplotlib()
    with warnings.catch_warnings(), matplotlib.rc_context():
        warnings.simplefilter("ignore")
        matplotlib.rcdefaults()
        matplotlib.rcParams["text.parse_math"] = False
        yield


def _import_matplotlib() -> Any:
    """Import Matplotlib; a MPLBACKEND of another environment, such as a notebook's, is no error."""
    if "matplotlib" in sys.modules:
        return sys.modules["matplotlib"]
    backend = os.environ.pop("MPLBACKEND", None)
    import matplotlib

    if backend is not None:
        os.environ["MPLBACKEND"] = backend
        with suppress(ValueError):  # what Matplotlib does on import, where this is an error
            matplotlib.rcParams["backend"] = backend
    return matplotlib


def figure(width: float, height: float) -> Figure:
    """Make a figure without pyplot, which would select a GUI backend."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=_DPI, layout="constrained")


def save(figure: Figure, png: Path) -> None:
    """Write a figure as a PNG file, atomically."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    runs.write_atomic(png, FigureCanvasAgg(figure).print_png)
