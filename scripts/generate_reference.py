"""Fill the generated blocks of docs/configuration.md and docs/command-line.md.

    python scripts/generate_reference.py

A block stands between `<!-- begin NAME: ... -->` and `<!-- end NAME -->`. Config keys come from the
schema, commands from click. A test compares the stored pages with what this script makes.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from cifarnet.cli import main as cifarnet
from cifarnet.config import Config

ROOT = Path(__file__).parents[1]
_BASE = {
    "type": "string",
    "default": None,
    "description": "another config that this one starts from; only the differences are stated",
}


def configuration() -> dict[str, str]:
    """Return the blocks of docs/configuration.md by name."""
    schema = Config.model_json_schema()
    definitions = schema["$defs"]
    parts: list[str] = []
    for name, field in schema["properties"].items():
        if (section := _reference(field)) is not None:
            parts += _section(name, section, definitions)
    return {
        "shipped": _table(("config", "purpose"), _shipped()),
        "top": _keys({"base": _BASE, **_plain(schema["properties"])}, schema),
        "sections": "\n\n".join(parts),
        "augmentations": _kinds(
            definitions["DataConfig"]["properties"]["augment"]["items"], schema
        ),
        "schedules": _kinds(definitions["TrainConfig"]["properties"]["schedule"], schema),
    }


def _section(name: str, kind: str, definitions: dict[str, Any]) -> Iterator[str]:
    """Yield a heading with the table of a section, then those of the sections inside it."""
    section = definitions[kind]
    fields = {f"{name}.{key}": field for key, field in section["properties"].items()}
    yield f"## {name}\n\n{_lead(section)}\n\n{_keys(fields, section, name)}"
    for key, field in fields.items():
        if (inner := _reference(field)) is not None:
            yield from _section(key, inner, definitions)


def _lead(section: dict[str, Any]) -> str:
    """Return the first paragraph of a section's docstring as a sentence."""
    return " ".join(section["description"].split("\n\n")[0].split())


def _plain(properties: dict[str, Any]) -> dict[str, Any]:
    """Return properties in which a section has its docstring for a description."""
    found = {}
    for name, field in properties.items():
        section = _reference(field)
        text = f"see [{name}](#{name})"
        found[name] = field if section is None else {"description": text, "required": True}
    return found


def _reference(field: dict[str, Any]) -> str | None:
    """Return the section that a property holds, or a list of; None for a value or one of many."""
    options = [field, field.get("items", {}), *field.get("anyOf", []), *field.get("allOf", [])]
    found = [option["$ref"].rpartition("/")[2] for option in options if "$ref" in option]
    return found[0] if len(found) == 1 else None


def _keys(fields: dict[str, Any], section: dict[str, Any], prefix: str = "") -> str:
    required = {f"{prefix}.{name}".strip(".") for name in section.get("required", ())}
    rows = []
    for name, field in fields.items():
        default = "required" if name in required else _default(field)
        rows.append((f"`{name}`", _values(field), default, field["description"]))
    return _table(("key", "value", "default", "meaning"), rows)


def _kinds(choice: dict[str, Any], schema: dict[str, Any]) -> str:
    """Return a table of the sections among which `kind` chooses, and the keys that all have."""
    references = [option["$ref"].rpartition("/")[2] for option in choice["oneOf"]]
    sections = [schema["$defs"][name] for name in references]
    shared = set.intersection(*(set(x["properties"]) for x in sections)) - {"kind"}
    rows = []
    for section in sections:
        own = [key for key in section["properties"] if key not in {"kind", *shared}]
        keys = "; ".join(_key(key, section) for key in own)
        rows.append((f"`{section['properties']['kind']['const']}`", _lead(section), keys))
    table = _table(("kind", "what it does", "keys"), rows)
    every = "; ".join(_key(key, sections[0]) for key in sorted(shared))
    return f"{table}\n\nEvery kind also has {every}." if every else table


def _key(key: str, section: dict[str, Any]) -> str:
    field = section["properties"][key]
    default = "required" if key in section["required"] else f"default {_default(field)}"
    return f"`{key}`: {_values(field)}, {default} ({field['description']})"


def _values(field: dict[str, Any]) -> str:
    """Return the values that a property takes, in words."""
    for options in (field.get("anyOf", ()), field.get("allOf", ())):
        for option in options:
            if option.get("type") != "null":
                return _values(option)
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "$ref" in field or "oneOf" in field:
        return "keys"
    kind = field.get("type", "")
    if kind == "array":
        items = field.get("items", {})
        return f"list of {_values(items)}" if "enum" in items else "list"
    words = {"integer": "integer", "number": "number", "boolean": "`true`, `false`"}
    text = words.get(kind, {"object": "mapping", "string": "text"}.get(kind, "keys"))
    if field.get("format") == "path":
        text = "path"
    return " ".join([text, *_bounds(field)])


def _bounds(field: dict[str, Any]) -> Iterator[str]:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    for key, sign in signs.items():
        if abs(field.get(key, 2**31)) < 2**31:  # larger bounds only keep counts sane
            yield f"{sign} {field[key]:g}"


def _default(field: dict[str, Any]) -> str:
    value = field.get("default")
    if value is None or (isinstance(value, dict) and not any(_stated(value).values())):
        return "" if value is None else "`{}`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, int | float):
        return f"{value:g}"
    if isinstance(value, list):
        return f"`[{', '.join(value)}]`"
    if isinstance(value, dict):
        return f"`{{{', '.join(f'{key}: {x}' for key, x in _stated(value).items())}}}`"
    return f"`{value}`"


def _stated(value: dict[str, Any]) -> dict[str, Any]:
    """Leave out what is the default inside a default."""
    return {key: x for key, x in value.items() if x}


def _shipped() -> Iterator[tuple[str, str]]:
    """Yield each shipped config with the first paragraph of its comment."""
    for path in sorted((ROOT / "configs").glob("*.yaml")):
        lines = [x.lstrip("#").strip() for x in path.read_text().splitlines() if x.startswith("#")]
        lines = [x for x in lines if not x.startswith("yaml-language-server")]
        text = lines[: lines.index("")]
        yield f"[`{path.stem}`](../configs/{path.name})", " ".join(text)


# --- commands -------------------------------------------------------------------------


def command_line() -> dict[str, str]:
    """Return the blocks of docs/command-line.md by name."""
    found = list(_commands(cifarnet, "cifarnet"))
    contents = [
        f"- [`{name}`](#{name.replace(' ', '-')}): {_first(_paragraphs(command)[0])}"
        for name, command in found
    ]
    commands = "\n\n".join(_command(name, command) for name, command in found)
    return {"contents": "\n".join(contents), "commands": commands}


def _commands(group: click.Group, prefix: str) -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from _commands(command, f"{prefix} {name}")
        else:
            yield f"{prefix} {name}", command


def _command(name: str, command: click.Command) -> str:
    arguments = [x for x in command.params if isinstance(x, click.Argument)]
    usage = " ".join([name, "[OPTIONS]", *(str(x.metavar) for x in arguments)])
    text, example = [], ""
    for paragraph in _paragraphs(command):
        if paragraph.startswith("\b"):
            lines = [line.strip() for line in paragraph.splitlines()[2:]]
            example = "\n\nExample:\n\n```sh\n" + "\n".join(lines) + "\n```"
        else:
            text.append(" ".join(paragraph.split()))
    options = [x for x in command.params if isinstance(x, click.Option) and not _shared(x)]
    table = _table(("option", "value", "default", "meaning"), map(_option, options))
    return (
        f"## {name}\n\n```\n{usage}\n```\n\n"
        + "\n\n".join(text)
        + (f"\n\n{table}" if options else "")
        + example
    )


def _paragraphs(command: click.Command) -> list[str]:
    return inspect.cleandoc(command.help or "").split("\n\n")


def _first(paragraph: str) -> str:
    text = " ".join(paragraph.split())
    return text[0].lower() + text[1:].rstrip(".")


def _shared(option: click.Option) -> bool:
    return not option.expose_value or "--help" in option.opts


def _option(option: click.Option) -> tuple[str, str, str, str]:
    names = ", ".join(f"`{name}`" for name in option.opts)
    value = option.metavar or ""
    if option.is_flag:
        value = ""
    elif isinstance(option.type, click.Choice):
        value = ", ".join(f"`{choice}`" for choice in option.type.choices)
    elif not value:
        value = "integer" if isinstance(option.type, click.types.IntParamType) else "text"
    default = f"`{option.default}`" if option.show_default else ""
    return names, value, default, option.help or ""


# --- both -----------------------------------------------------------------------------


def _table(headings: tuple[str, ...], rows: Any) -> str:
    lines = ["| " + " | ".join(headings) + " |", "|" + "---|" * len(headings)]
    for row in rows:
        cells = [re.sub(r"(?<!\\)\|", r"\\|", " ".join(str(cell).split())) for cell in row]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def fill(text: str, blocks: dict[str, str]) -> str:
    """Replace the content of each named block of a page; each must be there once."""
    for name, content in blocks.items():
        pattern = rf"(<!-- begin {name}: [^>]*-->\n)(.*?)(<!-- end {name} -->)"
        found = list(re.finditer(pattern, text, flags=re.S))
        if len(found) != 1:
            raise SystemExit(f"expected one block {name!r} in a page, found {len(found)}")
        start, end = found[0].span(2)
        text = f"{text[:start]}\n{content}\n\n{text[end:]}"
    return text


def pages() -> dict[Path, str]:
    """Return the current text of each page by its path."""
    blocks = {"configuration.md": configuration(), "command-line.md": command_line()}
    paths = {ROOT / "docs" / name: found for name, found in blocks.items()}
    return {path: fill(path.read_text("utf-8"), found) for path, found in paths.items()}


if __name__ == "__main__":
    for page, content in pages().items():
        page.write_text(content, encoding="utf-8")
        print(page)
