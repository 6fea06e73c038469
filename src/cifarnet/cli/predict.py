"""`cifarnet predict`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cifarnet.cli import options
from cifarnet.cli.command import Command, Integer
from cifarnet.cli.render import console
from cifarnet.formatting import percent

if TYPE_CHECKING:
    from cifarnet.predictors import Preprocessing


@click.command(cls=Command)
@click.argument("target", metavar="RUN|ARTIFACT")
@click.argument(
    "images", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="IMAGE..."
)
@click.option(
    "--top", default=3, show_default=True, type=Integer(1), help="How many classes to name."
)
@options.foreign
def predict(target: str, images: tuple[Path, ...], top: int, preprocessing: Preprocessing) -> Any:
    """Classify image files, or all images in folders.

    Images of another size are resized to the network's. Files that cannot be read are listed after
    the others, which is no error unless none can be read. RUN|ARTIFACT and the last options are as
    for `evaluate`.

    \b
    Example:
      cifarnet predict latest cat.jpg
      cifarnet predict latest photos/ --json
    """
    from cifarnet import evaluation

    screen = console()
    with screen.status(f"loading {target}"):
        found = evaluation.predict(target, images, top, preprocessing)
    document = []
    for one in found.images:
        text = "  ".join(f"{name} {percent(probability)}" for name, probability in one.classes)
        screen.print(f"{one.image}: {text}", markup=False)
        classes = [{"class": name, "probability": value} for name, value in one.classes]
        document.append({"image": str(one.image), "classes": classes})
    for _, reason in found.unreadable:
        screen.print(f"not read: {reason}", markup=False)
    if found.assumed:
        screen.print(f"assumed: {'; '.join(found.assumed)}", markup=False)
    return {
        "images": document,
        "unreadable": [{"image": str(file), "error": why} for file, why in found.unreadable],
        "assumed": list(found.assumed),
    }
