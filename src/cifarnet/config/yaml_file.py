"""Read YAML into plain values with the line of each key; write plain values as YAML.

Configs are untrusted input: size, nesting and alias expansion are bounded, and no tag can
construct anything but plain values.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from cifarnet.config.text import brief, describe
from cifarnet.errors import ConfigError

Document = dict[str, Any]  # a mapping of plain values
KeyPath = tuple[str | int, ...]  # from the document down to a key

_MAX_BYTES = 200_000
_MAX_VALUES = 20_000
MAX_LEVELS = 40  # the deepest shipped config has 6; a Residual in a Residual adds 4
_MAX_DIGITS = 40

# Pattern and possible first characters of each scalar of YAML 1.2, section 10.3.2, which editors
# implement. PyYAML implements 1.1, where 1e-3 is a string, 010 is 8, 1:30 is 90 and `on` is true.
_SCALARS = {
    "null": (r"null|Null|NULL|~|", [*"nN~", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", [*"tTfF"]),
    "int": (r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", [*"-+0123456789"]),
    "float": (
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        [*"-+.0123456789"],
    ),
}
_TAG = "tag:yaml.org,2002:"


class _Loader(yaml.SafeLoader):
    """Construct plain values only: no dates, sets, bytes or Python objects."""

    def _number(self, node: yaml.ScalarNode) -> int | float:
        text = str(self.construct_scalar(node))
        if len(text) > _MAX_DIGITS:
            problem = f"expected a number, received {len(text):,} characters of one"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        if node.tag.endswith("int"):
            return int(text, {"0x": 16, "0o": 8}.get(text[:2], 10))
        return float(re.sub(r"\.(inf|nan)", r"\1", text.lower()))

    def _refuse(self, node: yaml.Node) -> None:
        tag = node.tag.replace(_TAG, "!!")
        problem = f"the tag {tag} is not allowed. Write plain values"
        raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


class _Dumper(yaml.SafeDumper):
    """Quote every string that YAML 1.1 or 1.2 would read as another type."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Loader.yaml_implicit_resolvers = {}
_Loader.yaml_constructors = {
    tag: yaml.SafeLoader.yaml_constructors[tag]
    for tag in (f"{_TAG}{name}" for name in ("null", "bool", "str", "seq", "map"))
}
_Loader.add_constructor(f"{_TAG}int", _Loader._number)
_Loader.add_constructor(f"{_TAG}float", _Loader._number)
_Loader.add_constructor(None, _Loader._refuse)  # every other tag
_Loader.add_implicit_resolver(f"{_TAG}merge", re.compile("^<<$"), ["<"])
for _name, (_pattern, _starts) in _SCALARS.items():
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(f"{_TAG}{_name}", re.compile(f"^(?:{_pattern})$"), _starts)


def read(path: Path) -> tuple[dict[Any, Any], dict[KeyPath, str]]:
    """Read a YAML file.

    Returns:
        Its mapping, and `file:line` of each key path.

    Raises:
        FileNotFoundError: there is no such file.
        ConfigError: the file cannot be read, is not YAML, or does not hold a mapping.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise ConfigError(
                f"{path} is larger than {_MAX_BYTES // 1000} kB, so it is not a config. "
                "Give a YAML file; `cifarnet config copy article` writes one."
            )
        text = content.decode("utf-8")
    except FileNotFoundError:
        raise
    except IsADirectoryError as error:
        raise ConfigError(
            f"{path} is a folder; expected a YAML file, such as {path / 'config.yaml'}"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path}: expected UTF-8 text, received the byte 0x{content[error.start]:02x} at "
            f"position {error.start}. Save the file as UTF-8."
        ) from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read the config {str(path)!r}: {error}") from error
    document, lines = _parse(text, str(path))
    if not isinstance(document, dict):
        raise ConfigError(
            f"{path}: expected sections such as `data:`, `model:`, `train:`, "
            f"received {describe(document)}"
        )
    return document, {key: f"{path}:{line}" for key, line in lines}


def parse_value(text: str, where: str) -> tuple[Any, list[KeyPath]]:
    """Parse a string such as `0.1` or `{kind: flip}`.

    Args:
        text: YAML.
        where: what error messages call it.

    Returns:
        The value, and every key path in it.

    Raises:
        ConfigError: the string is not YAML.
    """
    value, lines = _parse(text, where)
    return value, [path for path, _ in lines]


def dump(document: Any) -> str:
    """Return plain values as YAML that reads back equal."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=100)


def _parse(text: str, where: str) -> tuple[Any, list[tuple[KeyPath, int]]]:
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None, []
        lines = list(_lines(node, where))
        return _without_sharing(loader.construct_document(node)), lines
    except yaml.MarkedYAMLError as error:
        problem = error.problem or ""
        if problem.startswith("but ") and error.context:
            problem = f"{error.context}, {problem}"
        if "quoted scalar" in (error.context or "") and "\\" in _line(text, error.context_mark):
            problem += ". In double quotes a backslash is an escape: use single quotes or /"
        raise _invalid(where, error.problem_mark, problem) from error
    except RecursionError as error:
        raise _too_large(where) from error
    except (yaml.YAMLError, ValueError, LookupError) as error:
        raise ConfigError(f"{where} is not valid YAML: {' '.join(str(error).split())}") from error


def _line(text: str, mark: yaml.Mark | None) -> str:
    lines = text.splitlines()
    return lines[mark.line] if mark and mark.line < len(lines) else ""


def _without_sharing(value: Any) -> Any:
    """Return a copy in which aliases are separate values, so that one can be changed alone."""
    if isinstance(value, dict):
        return {key: _without_sharing(inner) for key, inner in value.items()}
    return [_without_sharing(inner) for inner in value] if isinstance(value, list) else value


def _invalid(where: str, mark: yaml.Mark | None, problem: str) -> ConfigError:
    place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    return ConfigError(f"{where} is not valid YAML: {place}{problem}")


def _too_large(where: str) -> ConfigError:
    return ConfigError(
        f"{where} holds more than {_MAX_VALUES:,} values, aliases followed, or is nested more "
        f"than {MAX_LEVELS} levels deep, so it is not a config"
    )


def _lines(root: yaml.Node, where: str) -> Iterator[tuple[KeyPath, int]]:
    """Yield every key path and its line, with aliases expanded up to a bound.

    Keys are checked here, on the nodes: construction applies merges (`<<`), after which a key that
    is written twice no longer shows.
    """
    count = 0
    stack: list[tuple[KeyPath, yaml.Node]] = [((), root)]
    while stack:
        at, node = stack.pop()
        for name, key, child in _children(node, where):
            count += 1
            if count > _MAX_VALUES or len(at) >= MAX_LEVELS:
                raise _too_large(where)
            yield (*at, name), key.start_mark.line + 1
            stack.append(((*at, name), child))


def _children(node: yaml.Node, where: str) -> Iterator[tuple[str | int, yaml.Node, yaml.Node]]:
    if isinstance(node, yaml.SequenceNode):
        yield from ((i, child, child) for i, child in enumerate(node.value))
    if not isinstance(node, yaml.MappingNode):
        return
    seen: set[str] = set()
    for key, child in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.tag not in (f"{_TAG}str", f"{_TAG}merge"):
            got = brief(key.value) if isinstance(key, yaml.ScalarNode) else f"a {key.id}"
            raise _invalid(where, key.start_mark, f"expected a name as key, received {got}")
        if key.value in seen:
            raise _invalid(where, key.start_mark, f"the key {brief(key.value)} appears twice")
        seen.add(key.value)
        yield key.value, key, child
