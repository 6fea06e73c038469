"""JSON documents of a run: typed, frozen, versioned, and read without trusting them.

A record names its format (`format_version`) and its writer (`written_by`). An older format is
upgraded on reading; a newer one is refused. Version 0 had no `format_version`.
"""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, ClassVar, NoReturn, TypeVar

import pydantic
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from cifarnet.errors import JsonObject, RunError
from cifarnet.runs.atomic import write_json

_MAX_BYTES = 20_000_000
Number = Annotated[float, Field(allow_inf_nan=False, ge=-1e15, le=1e15)]
Count = Annotated[int, Field(ge=0, le=10**15)]
# A path inside the run: not absolute, without `..`.
InsidePath = Annotated[str, AfterValidator(lambda name: _inside(name))]
Operations = Annotated[int, Field(ge=0, le=10**18)]

PartT = TypeVar("PartT", bound="Part")
RecordT = TypeVar("RecordT", bound="Record")


class Part(BaseModel):
    """A JSON object of a record: known keys have a type, unknown keys stay."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True, populate_by_name=True)

    def to_json(self) -> JsonObject:
        """Return the record as a JSON-able dictionary."""
        return self.model_dump(mode="json", by_alias=True)

    def replace(self: PartT, **values: Any) -> PartT:
        """Return a copy with other values, which are validated."""
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        return type(self).model_validate({**fields, **(self.model_extra or {}), **values})


class CostRecord(Part):
    """What a job took; see `cost.Meter`. None: unknown, or not stated by the user.

    Attributes:
        processor_seconds: user and system time of the process and its child processes.
        cores: that the process may use.
        macs_trained: multiply-accumulates of the forward passes of a training's steps.
        energy_joules: measured, of the processor packages.
        energy_note: which packages, or why the energy is unknown.
        declared_watts, declared_joules: low and high; stated by the user, and times `wall_seconds`.
        grams_per_kwh: CO2-equivalent of the electricity, stated by the user.
        carbon_grams: CO2-equivalent, low and high.
    """

    SCALARS: ClassVar[tuple[str, ...]] = ("wall_seconds", "processor_seconds", "energy_joules")

    wall_seconds: Number | None = None
    processor_seconds: Number | None = None
    cores: Count | None = None
    macs_trained: Operations | None = None
    energy_joules: Number | None = None
    energy_note: str = ""
    declared_watts: list[Number] | None = None
    declared_joules: list[Number] | None = None
    grams_per_kwh: Number | None = None
    carbon_grams: list[Number] | None = None


class Record(Part):
    """One JSON file of a run.

    Attributes:
        format_version: version of the file's format; the class' `VERSION` when written.
        written_by: program and version that wrote the file.
        cost: of the job that wrote the file; None in records of earlier versions.
        path: the file it was read from or written to.
    """

    VERSION: ClassVar[int] = 1
    SCALARS: ClassVar[tuple[str, ...]] = ()  # numbers that `--require` may name

    format_version: int = 1
    written_by: str = ""
    cost: CostRecord | None = None
    _file: Path = pydantic.PrivateAttr(Path())

    @property
    def path(self) -> Path:
        """The file it was read from or written to; `.` before either."""
        return self._file

    def scalars(self) -> dict[str, float | None]:
        """Return the numbers named by `SCALARS`; None: not measured."""
        return {name: getattr(self, name) for name in self.SCALARS}

    def why_missing(self, scalar: str) -> str:
        """Say why the record lacks one of its `scalars`."""
        return "it was not measured"

    def intervals(self) -> dict[str, tuple[float, float]]:
        """Return the intervals of those `scalars` whose whole interval must meet a requirement."""
        return {}

    @classmethod
    def upgrade(cls, document: JsonObject) -> JsonObject:
        """Return an older document in the format of `VERSION`."""
        return document


def read(path: Path, kind: type[RecordT]) -> RecordT:
    """Read a record, upgraded to the current format.

    Raises:
        RunError: missing, larger than 20 MB, not JSON, of other types, or of a newer format.
    """
    try:
        document = _load(path)
        version = document.get("format_version", 0)
        if not isinstance(version, int) or version > kind.VERSION:
            writer = document.get("written_by") or "a newer cifarnet"
            raise ValueError(
                f"it has format_version {version!r:.40}, written by {writer!s:.40}; this "
                f"{_written_by()} reads up to {kind.VERSION}. Upgrade cifarnet"
            )
        if version < kind.VERSION:
            document = {**kind.upgrade(document), "format_version": kind.VERSION}
        # In JSON mode, so that strict validation takes a list for a tuple.
        record = kind.model_validate_json(json.dumps(document))
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])[:100]
        raise RunError(f"cannot read {path}: {where!r}: {first['msg']}") from error
    except RecursionError as error:
        raise RunError(f"cannot read {path}: it is nested too deeply") from error
    except (OSError, ValueError) as error:
        raise RunError(f"cannot read {path}: {error}") from error
    record._file = path
    return record


def write(path: Path, record: RecordT) -> RecordT:
    """Write a record atomically and return it as written.

    Raises:
        RunError: it cannot be written; the old file stays.
    """
    update = {"format_version": record.VERSION, "written_by": _written_by()}
    written = record.model_copy(update=update)
    write_json(path, written.model_dump(mode="json", by_alias=True))
    written._file = path
    return written


def _load(path: Path) -> JsonObject:
    with path.open("rb") as file:
        content = file.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise ValueError(f"more than {_MAX_BYTES:,} bytes")
    value = json.loads(content.decode("utf-8"), parse_constant=_refuse)
    if not isinstance(value, dict):
        raise ValueError("expected a JSON object")
    json.dumps(value, ensure_ascii=False).encode("utf-8")  # refuses a lone surrogate
    return value


def renamed(document: JsonObject, names: dict[str, str]) -> JsonObject:
    """Return the document with keys renamed."""
    return {names.get(key, key): value for key, value in document.items()}


def _written_by() -> str:
    return f"cifarnet {importlib.metadata.version('cifarnet')}"


def _inside(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or not path.parts:
        raise ValueError("expected the path of a file inside the run")
    return name


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a number of JSON")
