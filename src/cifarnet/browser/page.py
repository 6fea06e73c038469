"""The page's HTML: one file with style, script and, for `web`, runtime and network inside."""

from __future__ import annotations

import base64
import gzip
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cifarnet import system
from cifarnet.browser.runtime import Runtime
from cifarnet.errors import ArtifactError
from cifarnet.formatting import printable
from cifarnet.reporting import inline, templating

_TEMPLATES = "cifarnet.browser.templates"
# The element of the page that holds the ONNX file, gzipped, in base64.
_NETWORK = re.compile(
    r'<script type="application/octet-stream" id="network">([A-Za-z0-9+/=\s]+)</script>'
)
_CALIBRATED = (
    "Its confidence was calibrated on validation images: of such images that get 80 %, about 80 % "
    "are right."
)
_UNCALIBRATED = "Its confidence was not calibrated, and may be too high."


@dataclass(frozen=True)
class About:
    """What the page says of a network.

    Attributes:
        name: of the run, or of the file.
        classes: names, in the order of the outputs.
        size: side of the input, pixels.
        calibrated: whether its probabilities were calibrated.
    """

    name: str
    classes: tuple[str, ...]
    size: int
    calibrated: bool = False


class Examples(NamedTuple):
    """Images that a page offers.

    Attributes:
        pixels: uint8 [N, S, S, 3].
        source: a sentence that says what they are.
    """

    pixels: np.ndarray
    source: str


class Page(NamedTuple):
    """A page, and its Content-Security-Policy, which it states itself, too."""

    html: str
    policy: str


def for_server(about: About, examples: Examples | None = None) -> Page:
    """Return the page of a server, which sends each file to `POST predict?top=...&heat=1`.

    The address is relative to the page's. The answer has `classes`, objects with `class` and
    `probability`, and may have `heat`, [size][size], positive where a pixel supports the class.
    Errors have `error`, a sentence.
    """
    script = _script("jpeg.js", "png.js", "picture.js", "server.js", "page.js", "camera.js")
    values = {"server": True, "where": "It is sent to the server that sent this page, which "}
    values["where"] = f"{values['where']}keeps nothing."
    policy = "script-src {script}; connect-src 'self'"
    return _render(about, script, policy, values, examples, {}, {})


def for_web(
    about: About,
    network: bytes,
    runtime: Runtime,
    color: tuple[int, int, int],
    examples: Examples | None = None,
) -> Page:
    """Return the page that needs no server.

    Args:
        about: the network.
        network: an ONNX file: float32 `pixels`, 0-255, to `probabilities`.
        runtime: ONNX Runtime Web.
        color: of the squares that occlusion covers pixels with, RGB.
        examples: None: the page has none.
    """
    sources = _script("jpeg.js", "png.js", "picture.js", "web.js", "page.js", "camera.js")
    inside = {"runtime": _packed(runtime.wasm), "network": _packed(network)}
    values = {
        "server": False,
        "where": "It stays on this device: the network is inside this page.",
        "notice": runtime.notice,
    }
    policy = "script-src {script} 'wasm-unsafe-eval'"
    script = f"{runtime.script}\n{sources}"
    return _render(about, script, policy, values, examples, {"color": color}, inside)


def network_in(path: Path) -> bytes:
    """Return the ONNX file inside a page that `for_web` made.

    Raises:
        ArtifactError: there is none, or it is damaged.
    """
    found = _NETWORK.search(path.read_text("utf-8", errors="replace"))
    if found is None:
        raise ArtifactError(
            f"{path} has no network inside: expected index.html of cifarnet export --format web"
        )
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(base64.b64decode(found[1]))) as packed:
            return packed.read(_MAX_BYTES)
    except (OSError, EOFError, ValueError) as error:
        raise ArtifactError(f"the network inside {path} is damaged: {error}") from error


_MAX_BYTES = 1_000_000_000  # unpacked; no classifier of small images is larger


def _render(
    about: About,
    script: str,
    policy: str,
    values: dict[str, object],
    examples: Examples | None,
    data: dict[str, object],
    inside: dict[str, str],
) -> Page:
    from markupsafe import Markup

    names = [printable(name) for name in about.classes]
    style = f"{inline.text(inline.TEMPLATES, 'page.css')}\n{inline.text(_TEMPLATES, 'page.css')}"
    whole_policy = (
        f"default-src 'none'; img-src data: blob:; style-src {inline.source(style)}; "
        f"{policy.format(script=inline.source(script))}; base-uri 'none'; form-action 'none'"
    )
    shown = {"classes": names, "size": about.size, **data}
    if examples is not None:
        content = base64.b64encode(np.ascontiguousarray(examples.pixels).data).decode()
        shown["examples"] = {"side": examples.pixels.shape[1], "pixels": content}
    html = templating.environment("cifarnet.browser").get_template("page.html")
    text = html.render(
        {
            "notice": "",
            "examples": "" if examples is None else examples.source,
            **values,
            "name": about.name,
            "classes": names,
            "size": about.size,
            "confidence": _CALIBRATED if about.calibrated else _UNCALIBRATED,
            "version": system.versions()["cifarnet"],
            "policy": Markup(whole_policy),
            "style": Markup(style),
            "script": Markup(script),
            "data": Markup(inline.for_script(shown)),
            "inside": {name: Markup(content) for name, content in inside.items()},
        }
    )
    return Page(text, whole_policy)


def _script(*names: str) -> str:
    return "\n".join(inline.text(_TEMPLATES, name) for name in names)


def _packed(content: bytes) -> str:
    return base64.b64encode(gzip.compress(content, 9, mtime=0)).decode()
