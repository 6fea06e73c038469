"""JSON documents of a run, read without trusting them."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, NoReturn

import pydantic
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from cifarnet.errors import RunError

_MOST_BYTES = 20_000_000
_Number = Annotated[float, Field(allow_inf_nan=False, ge=-1e15, le=1e15)]
_Count = Annotated[int, Field(ge=0, le=10**15)]
# A path inside the run: nothing absolute, nothing that climbs out.
_Inside = Annotated[str, AfterValidator(lambda name: _inside(name))]


class _Part(BaseModel):
    """Keys that commands rely on; others are kept as they are."""

    model_config = ConfigDict(extra="allow", strict=True)


class _Data(_Part):
    source: str = ""
    classes: list[str] = []
    counts: dict[str, _Count] = {}
    digests: dict[str, str] = {}
    notes: list[str] = []


class _Model(_Part):
    parameters: _Count = 0
    macs: _Count = 0


class _Precision(_Part):
    chosen: str | None = None
    milliseconds: dict[str, _Number] = {}


class _Determinism(_Part):
    bit_deterministic: bool = False
    needs: str = ""


class _File(_Part):
    bytes: _Count
    sha256: str


class Manifest(_Part):
    """What `run.json` may hold."""

    name: str = ""
    status: str = "damaged"
    why: str | None = None
    command: str | None = None
    config_file: str | None = None
    seed: _Count = 0
    data: _Data = _Data()
    model: _Model = _Model()
    precision: _Precision = _Precision()
    epochs: _Number = 0
    steps: _Count = 0
    epochs_done: _Number | None = None
    seconds: _Number | None = None
    validation_accuracy: _Number | None = None
    images_per_second: _Number | None = None
    kept_epoch: _Count | None = None
    machine: dict[str, Any] = {}
    threads: dict[str, Any] = {}
    versions: dict[str, str] = {}
    git_commit: str | None = None
    process: dict[str, Any] = {}
    determinism: _Determinism = _Determinism()
    resumed: list[dict[str, Any]] = []
    files: dict[_Inside, _File] = {}


class _Proof(_Part):
    runtime: str
    split: str
    images: _Count
    largest_difference: _Number
    agreement: _Number
    accuracy: _Number
    reference_accuracy: _Number


class Export(_Part):
    """What `export.json` must hold."""

    artifact: _Inside
    format: str
    quantization: str
    bytes: _Count
    compressed_bytes: _Count
    proof: _Proof


class Metrics(_Part):
    """What the JSON of an evaluation must hold."""

    accuracy: _Number


def read(path: Path, model: type[_Part]) -> dict[str, Any]:
    """A JSON object whose known keys have the types of `model`.

    Raises:
        RunError: missing, larger than 20 MB, not JSON, or of other types.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise ValueError(f"more than {_MOST_BYTES:,} bytes")
        value = json.loads(content.decode("utf-8"), parse_constant=_refuse)
        if not isinstance(value, dict):
            raise ValueError("expected a JSON object")
        json.dumps(value, ensure_ascii=False).encode("utf-8")  # no half of a character
        model.model_validate(value)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])[:100]
        raise RunError(f"cannot read {path}: {where!r}: {first['msg']}") from None
    except RecursionError:
        raise RunError(f"cannot read {path}: it is nested too deeply") from None
    except (OSError, ValueError) as error:
        raise RunError(f"cannot read {path}: {error}") from None
    return value


def _inside(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or not path.parts:
        raise ValueError("expected the path of a file inside the run")
    return name


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a number of JSON")
