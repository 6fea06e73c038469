"""`cifarnet config`: check a config, show it whole, give its JSON Schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from cifarnet.cli.render import Group, console, load_tensorflow, override_option

_file = click.argument("file", type=click.Path(path_type=Path))


@click.group(cls=Group)
def config() -> None:
    """Check and show configs.

    \b
    Example:
      cifarnet config show configs/article.yaml --model
    """


@config.command()
@_file
@override_option
def check(file: Path, overrides: tuple[str, ...]) -> Any:
    """Read a config and build its network, without data or training.

    \b
    Example:
      cifarnet config check configs/article.yaml
    """
    settings, model = _built(file, overrides)
    screen = console()
    screen.print(
        f"{file} is valid: {settings.name}, {model.count_params():,} parameters", markup=False
    )
    return {"file": str(file), "name": settings.name, "valid": True}


@config.command()
@_file
@override_option
@click.option("--model", "with_model", is_flag=True, help="Show the table of layers instead.")
def show(file: Path, overrides: tuple[str, ...], with_model: bool) -> Any:
    """Print the whole config: bases, overrides and defaults resolved.

    \b
    Example:
      cifarnet config show configs/baseline.yaml -o train.epochs=3
      cifarnet config show configs/article.yaml --model
    """
    if not with_model:
        from cifarnet import config as configs

        settings = configs.load(file, overrides)
        console().print(configs.dump(settings), end="", markup=False)
        return settings.model_dump(mode="json")
    _, model = _built(file, overrides)
    from cifarnet import models

    layers = models.summary(model)
    total = {key: sum(layer[key] for layer in layers) for key in ("parameters", "macs")}
    _print_layers(layers, total)
    return {"layers": layers, **total}


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


def _built(file: Path, overrides: tuple[str, ...]) -> tuple[Any, Any]:
    """The config and its network; ten classes are assumed where only the data would tell."""
    from cifarnet import config as configs
    from cifarnet import data

    settings = configs.load(file, overrides)
    load_tensorflow(console())
    from cifarnet import models

    classes = len(data.class_names(settings.data))
    grey = (128.0, 128.0, 128.0)
    model = models.build(settings.model, settings.data.image_size, classes, grey, grey, plain=True)
    return settings, model


def _print_layers(layers: list[dict[str, Any]], total: dict[str, int]) -> None:
    from rich.table import Table

    table = Table("layer", "type", "output", show_footer=True)
    table.columns[0].footer = "total"
    for key in ("parameters", "macs"):
        heading = "MACs an image" if key == "macs" else key
        table.add_column(heading, justify="right", footer=f"{total[key]:,}")
    for layer in layers:
        shape = " x ".join(str(n) for n in layer["shape"])
        numbers = [f"{layer[key]:,}" if layer[key] else "" for key in ("parameters", "macs")]
        table.add_row(layer["name"], layer["type"], shape, *numbers)
    console().print(table)
