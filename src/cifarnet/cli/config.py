"""`cifarnet config`: check a config, show it whole, give its JSON Schema."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cifarnet.cli import options
from cifarnet.cli.render import Group, console, load_tensorflow

if TYPE_CHECKING:
    from cifarnet.models import LayerSummary

_file = click.argument("file", type=click.Path(path_type=Path), metavar="CONFIG")


@click.group(cls=Group)
def config() -> None:
    """Check and show configs.

    \b
    Example:
      cifarnet config show configs/article.yaml --model
    """


@config.command()
@_file
@options.overrides
def check(file: Path, overrides: tuple[str, ...]) -> Any:
    """Read a config and build its network, without data or training.

    \b
    Example:
      cifarnet config check configs/article.yaml
    """
    from cifarnet import config as configs

    settings = configs.load(file, overrides)
    load_tensorflow()
    from cifarnet import models

    parameters = sum(layer.parameters for layer in models.summarize(settings))
    console().print(f"{file} is valid: {settings.name}, {parameters:,} parameters", markup=False)
    return {"file": str(file), "name": settings.name, "valid": True}


@config.command()
@_file
@options.overrides
@click.option("--model", "with_model", is_flag=True, help="Show the table of layers instead.")
def show(file: Path, overrides: tuple[str, ...], with_model: bool) -> Any:
    """Print the whole config: bases, overrides and defaults resolved.

    \b
    Example:
      cifarnet config show configs/baseline.yaml -o train.epochs=3
      cifarnet config show configs/article.yaml --model
    """
    from cifarnet import config as configs

    settings = configs.load(file, overrides)
    if not with_model:
        console().print(configs.dump(settings), end="", markup=False)
        return settings.model_dump(mode="json")
    load_tensorflow()
    from cifarnet import models

    layers = models.summarize(settings)
    total = {key: sum(getattr(x, key) for x in layers) for key in ("parameters", "macs")}
    _print_layers(layers, total)
    return {"layers": [dataclasses.asdict(layer) for layer in layers], **total}


@config.command()
def schema() -> Any:
    """Print the JSON Schema of configs, for editors.

    \b
    Example:
      cifarnet config schema > configs/schema.json
    """
    from cifarnet import config as configs

    document = configs.generate_json_schema()
    console().print(json.dumps(document, indent=2), markup=False)
    return document


def _print_layers(layers: list[LayerSummary], total: dict[str, int]) -> None:
    from rich.table import Table

    table = Table("layer", "type", "output", show_footer=True)
    table.columns[0].footer = "total"
    table.add_column("parameters", justify="right", footer=f"{total['parameters']:,}")
    table.add_column("MACs per image", justify="right", footer=f"{total['macs']:,}")
    for layer in layers:
        shape = " x ".join(str(n) for n in layer.shape)
        numbers = [f"{n:,}" if n else "" for n in (layer.parameters, layer.macs)]
        table.add_row(layer.name, layer.type, shape, *numbers)
    console().print(table)
