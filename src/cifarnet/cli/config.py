"""`cifarnet config`: list and copy shipped configs; check and show any config."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cifarnet.cli import options
from cifarnet.cli.command import Group, print_document
from cifarnet.cli.render import console, load_tensorflow

if TYPE_CHECKING:
    from cifarnet.models import LayerSummary

_config = click.argument("name_or_path", metavar="CONFIG")


@click.group(cls=Group)
def config() -> None:
    """List, copy, check and show configs.

    CONFIG is a YAML file or the name of a shipped config.

    \b
    Example:
      cifarnet config list
      cifarnet config show article --model
    """


@config.command("list")
def list_() -> Any:
    """List the shipped configs: purpose, commands, measured accuracy and time.

    \b
    Example:
      cifarnet config list
    """
    from cifarnet import config as configs

    found = configs.shipped()
    for one in found:
        console().print(one.name, style="bold", markup=False)
        lines = (one.purpose, *one.commands, one.accuracy, one.time, one.measured)
        console().print("".join(f"  {line}\n" for line in lines), markup=False)
    console().print("Next: cifarnet config copy NAME, to edit a copy", markup=False)
    return [{**dataclasses.asdict(one), "path": str(one.path)} for one in found]


@config.command()
@click.argument("name", metavar="NAME")
@click.argument("file", type=click.Path(path_type=Path), required=False, metavar="[FILE]")
def copy(name: str, file: Path | None) -> Any:
    """Write a shipped config to FILE, to edit it; by default NAME.yaml here.

    An existing file is not overwritten.

    \b
    Example:
      cifarnet config copy article
      cifarnet config copy baseline mine.yaml
    """
    from cifarnet import config as configs

    path = configs.copy_shipped(name, file)
    console().print(f"wrote {path}\n\nNext: cifarnet train --config {path}", markup=False)
    return {"name": name, "file": str(path)}


@config.command()
@_config
@options.overrides
def check(name_or_path: str, overrides: tuple[str, ...]) -> Any:
    """Validate a config, build its network and load its teacher, without images or training.

    \b
    Example:
      cifarnet config check article
    """
    from cifarnet import config as configs

    settings = configs.load(name_or_path, overrides)
    load_tensorflow()
    from cifarnet import training

    parameters = sum(layer.parameters for layer in training.check(settings))
    text = f"{name_or_path} is valid: {settings.name}, {parameters:,} parameters"
    console().print(text, markup=False)
    return {"file": name_or_path, "name": settings.name, "valid": True}


@config.command()
@_config
@options.overrides
@click.option("--model", "with_model", is_flag=True, help="Show the table of layers instead.")
def show(name_or_path: str, overrides: tuple[str, ...], with_model: bool) -> Any:
    """Print the whole config, with bases, overrides and defaults resolved.

    \b
    Example:
      cifarnet config show baseline -o train.epochs=3
      cifarnet config show article --model
    """
    from cifarnet import config as configs

    settings = configs.load(name_or_path, overrides)
    if not with_model:
        print_document(configs.dump(settings))
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
    print_document(json.dumps(document, indent=2) + "\n")
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
