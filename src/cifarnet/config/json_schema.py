"""Generate the JSON Schema with which editors complete and check config files."""

from __future__ import annotations

from cifarnet.config.schema import Config
from cifarnet.config.yaml_file import Document


def generate_json_schema() -> Document:
    """Return the JSON Schema (2020-12) of config files.

    It accepts what `load` accepts, except the former names of renamed keys. A file without a
    `base` must be complete; one with a base states only the differences.
    """
    document = Config.model_json_schema()
    definitions = document["$defs"]
    complete = {
        "required": document.pop("required"),
        "properties": {
            key: {"required": definitions[name].pop("required")}
            for key, name in (("model", "ModelConfig"), ("train", "TrainConfig"))
        },
    }
    schedule = definitions["TrainConfig"]["properties"]["schedule"]
    del schedule["discriminator"]
    schedule["anyOf"] = schedule.pop("oneOf")
    for reference in schedule["anyOf"]:
        definitions[reference["$ref"].rpartition("/")[2]].pop("required")
    complete["properties"]["train"]["properties"] = {"schedule": {"required": ["kind"]}}
    for name in ("EarlyStopping", "Stop"):
        definitions[name].pop("required", None)
    # A layer may be a bare name, and a name without keyword arguments.
    layer = {
        "type": "object",
        "minProperties": 1,
        "maxProperties": 1,
        "additionalProperties": {"type": ["object", "null"]},
    }
    layers = definitions["ModelConfig"]["properties"]["layers"]
    layers["items"] = {"anyOf": [{"type": "string", "minLength": 1}, layer]}
    base = {
        "type": ["string", "null"],
        "description": "another config that this one starts from: a file, relative to this one, or "
        "the name of a shipped config",
    }
    document["properties"] = {"base": base, **document["properties"]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **document,
        "if": {"required": ["base"], "properties": {"base": {"type": "string"}}},
        "else": complete,
    }
