"""`cifarnet serve`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cifarnet.cli import options
from cifarnet.cli.command import Command, Integer
from cifarnet.cli.render import console, display

if TYPE_CHECKING:
    from cifarnet.predictors import Preprocessing
    from cifarnet.serving.run import Serving

_UNITS = {"": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9}


def _bytes(_: click.Context, __: click.Parameter, value: str) -> int:
    found = re.fullmatch(r"([1-9][0-9]{0,9}) ?(|kB|MB|GB)", value)
    if found is None:
        raise click.BadParameter(f"expected a size such as 10MB or 500kB, received {value!r}")
    return int(found[1]) * _UNITS[found[2]]


@click.command(cls=Command)
@click.argument("target", metavar="RUN|ARTIFACT")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    default=8000,
    show_default=True,
    type=Integer(0, 65535),
    help="0 takes a free one.",
)
@click.option(
    "--token-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A file with the token that every request must have.",
)
@click.option("--no-auth", is_flag=True, help="Answer everyone who reaches the address.")
@click.option(
    "--allow-host",
    "allow_hosts",
    multiple=True,
    metavar="NAME",
    help="Another name by which clients call the server. Repeatable.",
)
@click.option(
    "--max-body",
    default="10MB",
    show_default=True,
    callback=_bytes,
    metavar="SIZE",
    help="Largest body of a request, also unpacked.",
)
@click.option(
    "--max-pixels",
    default=20_000_000,
    show_default=True,
    type=Integer(1),
    help="Largest width times height of an image file.",
)
@options.foreign
def serve(target: str, preprocessing: Preprocessing, **given: Any) -> Any:
    """Serve a network over HTTP: a page, image files, the Open Inference Protocol.

    A RUN is served by its ONNX export, else by its LiteRT export; one without either of its present
    weights is exported to ONNX first. ARTIFACT is an .onnx or .tflite file. An address that other
    machines reach needs --token-file or --no-auth. SIGTERM and Ctrl-C end the server within 5 s,
    after what it has accepted. The last options are for a file that cifarnet did not write.

    \b
    Example:
      cifarnet serve latest
      cifarnet serve latest --host 0.0.0.0 --token-file token.txt
    """
    from cifarnet import serving

    with display() as shown:
        served = serving.serve(
            target, preprocessing=preprocessing, on_ready=_say, callbacks=[shown], **given
        )
    console().print("stopped", markup=False)
    return {
        "url": served.url,
        "model": served.model,
        "artifact": str(served.artifact),
        "runtime": served.runtime,
        "assumed": list(served.assumed),
    }


def _say(serving: Serving) -> None:
    screen = console()
    screen.print(f"{serving.artifact}, {serving.runtime}", markup=False)
    if serving.assumed:
        screen.print(f"assumed: {'; '.join(serving.assumed)}", markup=False)
    screen.print(f"serving {serving.model} at {serving.url}", markup=False, soft_wrap=True)
    screen.print(
        f"Next: curl -F image=@cat.jpg {serving.url}predict\n", markup=False, soft_wrap=True
    )
