"""Turn pydantic's errors into lines with the place, what was expected, and what to do."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Annotated, Any, get_args, get_origin

import pydantic

from cifarnet.config import schema
from cifarnet.config.layer_list import LayerError
from cifarnet.config.schema import Config
from cifarnet.config.text import KeyProblem, brief, describe, dotted
from cifarnet.config.yaml_file import KeyPath

_EXPECTED = {
    "bool_type": "true or false",
    "dict_type": "keys with values",
    "float_type": "a valid number",
    "int_type": "a whole number",
    "model_attributes_type": "a `kind:` and its keys",
    "model_type": "keys with values",
    "path_type": "the path of a file or folder",
    "string_pattern_mismatch": "1 to 64 letters, digits, `.`, `_` or `-`, the first a letter or "
    "digit",
    "string_too_short": "a text that is not empty",
    "string_type": "a text",
    "too_short": "at least one item",
    "tuple_type": "a list",
}
_LONG = 60  # characters of a text that is not repeated
_WRITTEN_BELOW = {"dict_type", "model_type", "model_attributes_type"}


def lines(
    error: pydantic.ValidationError, document: Any, places: Mapping[KeyPath, str]
) -> Iterator[str]:
    """Yield one line per problem: place, dotted key, expected and received values, advice.

    Args:
        error: of `Config.model_validate(document)`.
        places: where each key of the document was written.
    """
    for problem in error.errors():
        path = _document_path(problem["loc"], document)
        context = problem.get("ctx", {})
        bad = context.get("error")
        if problem["type"] == "unknown_keys":
            known = context["known"]
            found = [((*path, key), _unknown(str(key), known)) for key in context["keys"]]
        elif isinstance(bad, LayerError):
            yield f"{_place((*path, *bad.at), places)}{dotted(path)}{'' if bad.at else ': '}{bad}"
            continue
        elif isinstance(bad, KeyProblem):
            found = [((*path, *bad.at), bad.problem)]
        elif problem["type"] == "value_error":
            found = [(path, str(bad))]
        else:
            found = [(path, _text(problem, path))]
        for at, text in found:
            written = at[:-1] if problem["type"] == "missing" else at
            yield _place(written, places) + (f"{dotted(at)}: {text}" if at else text)


def _place(path: KeyPath, places: Mapping[KeyPath, str]) -> str:
    """Return where the key, the first inside it or the nearest key around it was written."""
    inside = [key for key in places if path and key[: len(path)] == path]
    around = [path[:n] for n in range(len(path) - 1, 0, -1) if path[:n] in places]
    nearest = path if path in places else next(iter([*inside, *around]), None)
    return f"{places[nearest]}: " if nearest else ""


def _text(problem: Any, path: KeyPath) -> str:
    kind, context, received = problem["type"], problem.get("ctx", {}), problem["input"]
    if kind == "missing":
        where = f"under `{dotted(path[:-1])}:`" if path[:-1] else "at the top level"
        return f"required, but not given. Add `{path[-1]}:` {where}"
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        return _kind_text(context, received)
    expected = _EXPECTED.get(kind) or _range_text(problem["msg"])
    return f"expected {expected}, received {describe(received)}{_advice(problem, path)}"


def _range_text(message: str) -> str:
    text = message.removeprefix("Input should be ")
    return f"a number {text}" if text.startswith(("greater", "less")) else text


def _kind_text(context: Mapping[str, Any], received: Any) -> str:
    """Describe a `kind:` that is missing or unknown."""
    if "expected_tags" not in context:
        return f"expected a `kind:` key that says which one, received {describe(received)}"
    kinds = context["expected_tags"]
    names = re.findall(r"\w+", kinds)
    return (
        f"expected kind to be one of {kinds}, received {brief(context['tag'])}"
        f"{_did_you_mean(difflib.get_close_matches(str(context['tag']), names, n=1))}"
    )


def _advice(problem: Any, path: KeyPath) -> str:
    kind, received = problem["type"], problem["input"]
    if received is False and _may_be_null(path):
        return ". Write null for none"
    if kind == "tuple_type":
        return _list_advice(path, received)
    if kind == "model_attributes_type" and isinstance(received, str):
        return f". Write {{kind: {received}}}"
    if kind == "model_type" and received is not None:
        return _section_advice(problem["ctx"]["class_name"], received)
    if received is None and kind in _WRITTEN_BELOW:
        return ". Write its keys below it, indented, or remove the line"
    if kind in ("int_type", "float_type", "bool_type") and isinstance(received, str):
        is_number = re.fullmatch(r"[-+.\deE]*\d[-+.\deE]*", received)
        return ". Write it without quotes" if is_number else ""
    if kind == "string_type" and isinstance(received, int | float):
        return ". Write it in quotes"
    if kind == "literal_error" and isinstance(received, str):
        names = re.findall(r"'(\w+)'", problem["ctx"]["expected"])
        return _did_you_mean(difflib.get_close_matches(received, names, n=1))
    return ""


def _section_advice(name: str, received: Any) -> str:
    """Say how to write a section whose defaults, or only required key, may be meant."""
    section = getattr(schema, name, None)
    if section is None:  # of a sweep file
        return ""
    fields = section.model_fields
    required = [key for key, field in fields.items() if field.is_required()]
    if received is True and not required:
        return ". Write {} for its defaults"
    if len(required) != 1 or isinstance(received, bool):
        return ""
    try:
        section.model_validate({required[0]: received})
    except pydantic.ValidationError:
        return ""
    value = brief(received) if len(str(received)) < _LONG else "..."
    return f". Write {{{required[0]}: {value}}}"


def _list_advice(path: KeyPath, received: Any) -> str:
    """Say how to write a list: the empty one for nothing, else of the given item or its keys."""
    field = _field(path)
    if field is None:
        return ""
    checked: Any = Annotated[field.annotation, field]
    accepts = pydantic.TypeAdapter(checked).validate_python
    if received is None or received is False:
        lists: list[tuple[list[Any], str]] = [([], "[] for none")]
    else:
        text = brief(received)
        lists = [([received], f"[{text}]"), ([{"kind": received}], f"[{{kind: {received}}}]")]
        if isinstance(received, str):
            items = [item.strip() for item in received.split(",")]
            lists.append((items, f"[{', '.join(items)}]"))
    for value, text in lists:
        with suppress(pydantic.ValidationError):
            accepts(value)
            return f". Write {text}"
    if isinstance(received, Mapping):  # what is wrong inside is told once it is in a list
        return ". Write it in a list"
    for model, in_list in _models(field.annotation):
        keys = [key for key, inner in model.model_fields.items() if inner.is_required()]
        if in_list and keys:
            return f". Write [{{{', '.join(f'{key}: ...' for key in keys)}}}]"
    return ""


def _may_be_null(path: KeyPath) -> bool:
    """Return whether a key of the config may be null."""
    field = _field(path)
    return field is not None and type(None) in get_args(field.annotation)


def _field(path: KeyPath) -> pydantic.fields.FieldInfo | None:
    """Return the field of a key of the config; None of one that it does not have."""
    models: list[Any] = [Config]
    field = None
    for part in path:
        # Of sections with a `kind:`, whichever have the key.
        fields = [model.model_fields[part] for model in models if part in model.model_fields]
        if not fields:
            return None
        field = fields[0]
        models = [inner for one in fields for inner, _ in _models(one.annotation)]
    return field


def _unknown(key: str, known: Sequence[str]) -> str:
    """Describe an unknown key: the nearest known one, here or in another section."""
    word = key.lower().replace("-", "_")
    elsewhere: dict[str, list[str]] = {}
    for path, display in _all_keys(Config):
        for name in {path, path.rpartition(".")[2]}:
            elsewhere.setdefault(name, []).append(display)
    if word in elsewhere and "." in word:
        section, _, last = word.rpartition(".")
        return f"unknown key. Write `{last}:` under `{section}:`, indented"
    initials = [name for name in known if "".join(part[0] for part in name.split("_")) == word]
    near = initials or difflib.get_close_matches(word, known, n=1)
    if near and word not in elsewhere:
        return f"unknown key{_did_you_mean(near)}"
    match = difflib.get_close_matches(word, elsewhere, n=1, cutoff=0.75)
    hint = _did_you_mean(elsewhere[match[0]]) if match else "."
    return f"unknown key{hint} Known here: {', '.join(known)}"


def _did_you_mean(names: Sequence[str]) -> str:
    return f"; did you mean {' or '.join(map(repr, names))}?" if names else ""


def _all_keys(model: type[pydantic.BaseModel], at: str = "", kind: str = "") -> Iterator[Any]:
    """Yield every key path of the config, and its text with the `kind` that has it."""
    for name, field in model.model_fields.items():
        yield at + name, at + name + kind
        for inner, in_list in _models(field.annotation):
            tag = inner.model_fields.get("kind")
            which = f" (kind: {get_args(tag.annotation)[0]})" if tag else ""
            yield from _all_keys(inner, f"{at}{name}{'[]' if in_list else ''}.", which)


def _models(annotation: Any, in_list: bool = False) -> Iterator[tuple[Any, bool]]:
    """Yield the models in the type of a field, and whether they are items of a list."""
    arguments = get_args(annotation)
    # In Python 3.10 dict[str, int] is an instance of `type` too, but not a class.
    is_class = isinstance(annotation, type) and not arguments
    if is_class and issubclass(annotation, pydantic.BaseModel):
        yield annotation, in_list
    for argument in arguments:
        yield from _models(argument, in_list or get_origin(annotation) is tuple)


def _document_path(loc: Sequence[str | int], document: Any) -> KeyPath:
    """Remove the union tags that pydantic adds to a location: they are not keys of the file."""
    path: list[str | int] = []
    for part in loc:
        if isinstance(document, Mapping) and document.get("kind") == part:
            continue
        path.append(part)
        try:
            document = document[part]
        except (KeyError, IndexError, TypeError):
            document = None
    return tuple(path)
