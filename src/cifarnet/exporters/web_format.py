"""Write one HTML page with the network and ONNX Runtime Web inside; prove it in Chromium."""

from __future__ import annotations

import base64
import shutil
from pathlib import Path

import numpy as np

from cifarnet import browser
from cifarnet.backend import keras
from cifarnet.browser import chromium, runtime
from cifarnet.data import OnFetch
from cifarnet.data.sampling import balanced_order
from cifarnet.errors import ArtifactError, DataError, GateError
from cifarnet.exporters import onnx_format
from cifarnet.predictors import Metadata
from cifarnet.runs.results import BrowserRecord

# Of a probability, from ONNX Runtime's. Both add in float32 in orders of their own: of shipped
# networks, either is 0.7e-6 to 1.6e-6 from the same network in float64, and they differ by as much
# from each other, at every level of graph optimization of either. So 1e-6 would be chance.
MAX_DIFFERENCE = 1e-5
_BATCH_BYTES = 3_000_000  # of pixels per message to the browser
_EXAMPLES, _EXAMPLE_BYTES = 10, 40_000
_SOURCE = "Validation images, which the network was not trained on, drawn at random."


def fetch(on_fetch: OnFetch | None = None) -> None:
    """Fetch the runtime into the cache.

    Raises:
        ArtifactError: it cannot be fetched.
    """
    try:
        runtime.fetch(on_fetch)
    except DataError as error:
        raise ArtifactError(f"web: ONNX Runtime Web could not be fetched: {error}") from error


def missing() -> str:
    """Return what this machine lacks to have the runtime; empty: nothing."""
    if runtime.is_fetched() or shutil.which("npm"):
        return ""
    return "web needs ONNX Runtime Web, which the command npm fetches; install npm"


def unseen(split: str, pixels: np.ndarray, labels: np.ndarray, seed: int) -> np.ndarray | None:
    """Choose images that the page offers: validation images, one of each class where possible.

    Args:
        split, pixels, labels: that the exports are compared on.
        seed: of the choice.

    Returns:
        uint8 [N, S, S, 3], in the order of the classes; None without a validation split.
    """
    if split != "validation":
        return None
    count = min(_EXAMPLES, max(1, _EXAMPLE_BYTES // pixels[0].nbytes))
    rows = balanced_order(labels, seed)[:count]
    return pixels[rows[np.argsort(labels[rows])]]


def write(
    model: keras.Model,
    quantization: str,
    calibration: np.ndarray,
    metadata: Metadata,
    folder: Path,
    unseen: np.ndarray | None = None,
) -> Path:
    """Write `index.html`, with the float32 ONNX file and examples inside; see `formats.write`."""
    file = onnx_format.write(model, quantization, calibration, metadata, folder)
    network = file.read_bytes()
    file.unlink()
    red, green, blue = metadata["mean_color"]
    page = browser.for_web(
        browser.About(
            name=str(metadata["run"]),
            classes=tuple(metadata["classes"]),
            size=calibration.shape[1],
            calibrated=metadata.get("temperature") is not None,
        ),
        network,
        runtime.read(),
        (red, green, blue),
        None if unseen is None else browser.Examples(unseen, _SOURCE),
    )
    path = folder / "index.html"
    path.write_text(page.html, encoding="utf-8")
    return path


def prove(path: Path, images: np.ndarray, expected: np.ndarray) -> BrowserRecord:
    """Run a page in Chromium, if there is one, and compare its probabilities.

    Args:
        path: the page.
        images: uint8 [N, S, S, 3].
        expected: what ONNX Runtime gives for its network, float32 [N, K].

    Raises:
        ArtifactError: the page fails in the browser.
    """
    step = max(1, _BATCH_BYTES // images[0].nbytes)
    parts = []
    try:
        with chromium.opened(path) as page:
            for start in range(0, len(images), step):
                parts.append(_classify(page, images[start : start + step]))
            name = page.browser
    except chromium.NotStarted as error:
        return BrowserRecord(checked_by=f"not run in a browser: {error}")
    except chromium.PageError as error:
        raise ArtifactError(f"the page does not run in Chromium: {error}") from error
    found = np.concatenate(parts).reshape(expected.shape)
    difference = float(np.abs(found - expected).max())
    return BrowserRecord(
        checked_by=f"{name}, ONNX Runtime Web {runtime.VERSION}",
        images=len(images),
        max_difference=difference if np.isfinite(difference) else None,
    )


def check(record: BrowserRecord) -> None:
    """Check that the browser gives what ONNX Runtime gives.

    Raises:
        GateError: it does not.
    """
    if record.images and (record.max_difference is None or record.max_difference > MAX_DIFFERENCE):
        raise GateError(
            f"in {record.checked_by} a probability differs from ONNX Runtime's by "
            f"{record.max_difference}, allowed {MAX_DIFFERENCE:g}"
        )


def _classify(page: chromium.OpenPage, images: np.ndarray) -> np.ndarray:
    """Return the page's probabilities of images, flat, float32."""
    pixels = base64.b64encode(np.ascontiguousarray(images).data).decode()
    answer = page.evaluate(
        f"""(async () => {{
          const pixels = Uint8Array.from(atob("{pixels}"), (one) => one.charCodeAt(0));
          const found = new Uint8Array((await cifarnet.classify(pixels)).buffer);
          return btoa(Array.from(found, (one) => String.fromCharCode(one)).join(""));
        }})()"""
    )
    return np.frombuffer(base64.b64decode(answer), np.float32)
