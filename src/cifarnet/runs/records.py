"""The JSON records of a run: typed, frozen, versioned, and read without trusting them.

A record names the format it has (`format_version`) and who wrote it (`written_by`). An older format
is upgraded on reading; a newer one is refused. Version 0 had no `format_version`.
"""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, ClassVar, NoReturn, TypeVar

import pydantic
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from cifarnet.errors import RunError
from cifarnet.runs.atomic import write_json

_MAX_BYTES = 20_000_000
Number = Annotated[float, Field(allow_inf_nan=False, ge=-1e15, le=1e15)]
Count = Annotated[int, Field(ge=0, le=10**15)]
# A path inside the run: not absolute, without `..`.
InsidePath = Annotated[str, AfterValidator(lambda name: _inside(name))]

RecordT = TypeVar("RecordT", bound="Record")


class Part(BaseModel):
    """Known keys have a type; unknown keys are kept."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True, populate_by_name=True)

    def to_json(self) -> dict[str, Any]:
        """Return the record as a JSON-able dictionary."""
        return self.model_dump(mode="json", by_alias=True)


class Record(Part):
    """One JSON file of a run.

    Attributes:
        format_version: version of the file's format; the class' `VERSION` when written.
        written_by: program and version that wrote the file.
        path: the file it was read from or written to.
    """

    VERSION: ClassVar[int] = 1

    format_version: int = 1
    written_by: str = ""
    _file: Path = pydantic.PrivateAttr(Path())

    @property
    def path(self) -> Path:
        """The file it was read from or written to; `.` before either."""
        return self._file

    @classmethod
    def upgrade(cls, document: dict[str, Any]) -> dict[str, Any]:
        """Return an older document in the format of `VERSION`."""
        return document


# --- run.json -------------------------------------------------------------------------


class DataRecord(Part):
    """The dataset of a training: description, classes, images per split, digests per split."""

    source: str = ""
    classes: list[str] = []
    counts: dict[str, Count] = {}
    digests: dict[str, str] = {}
    notes: list[str] = []


class ModelRecord(Part):
    """Size of a network; multiply-accumulates are per image."""

    parameters: Count = 0
    macs: Count = 0


class PrecisionRecord(Part):
    """The precision that was chosen, and what was measured (ms per convolution) to choose it."""

    chosen: str | None = None
    milliseconds: dict[str, Number] = {}


class DeterminismRecord(Part):
    """Whether training again gives the same bits, and what that requires."""

    bit_deterministic: bool = False
    needs: str = ""


class FileRecord(Part):
    """Size and SHA-256 of a file."""

    bytes: Count
    sha256: str


class ResumeRecord(Part):
    """When a run was resumed (UTC, ISO 8601), and what differed from before."""

    at: str = ""
    notes: list[str] = []


class RunRecord(Record):
    """`run.json`: what was trained, on what, how far it got."""

    name: str = ""
    status: str = "damaged"
    stop_reason: str | None = None
    command: str | None = None
    config_file: str | None = None
    seed: Count = 0
    started: str | None = None
    updated: str | None = None
    data: DataRecord = DataRecord()
    model: ModelRecord = ModelRecord()
    precision: PrecisionRecord = PrecisionRecord()
    epochs: Number = 0
    steps: Count = 0
    epochs_done: Number | None = None
    steps_done: Count | None = None
    selected_epoch: Count | None = None
    best_epoch: Count | None = None
    validation_accuracy: Number | None = None
    seconds: Number | None = None
    images_per_second: Number | None = None
    machine: dict[str, Any] = {}
    threads: dict[str, Any] = {}
    versions: dict[str, str] = {}
    git_commit: str | None = None
    process: dict[str, Any] = {}
    determinism: DeterminismRecord = DeterminismRecord()
    resumed: list[ResumeRecord] = []
    files: dict[InsidePath, FileRecord] = {}

    @classmethod
    def upgrade(cls, document: dict[str, Any]) -> dict[str, Any]:
        """Return a version 0 document in the current format."""
        return _renamed(document, {"why": "stop_reason", "kept_epoch": "selected_epoch"})


# --- evaluation/<split>.json ----------------------------------------------------------


class CalibrationBin(Part):
    """The images whose confidence is in (from, to]: count, mean confidence, accuracy."""

    low: Number = Field(alias="from")
    high: Number = Field(alias="to")
    count: Count
    confidence: Number
    accuracy: Number


class ClassMetrics(Part):
    """Precision, recall and F1 (0 where undefined) of one class, and its number of images."""

    name: str = Field(alias="class")
    precision: Number
    recall: Number
    f1: Number
    support: Count


class Mistake(Part):
    """A misclassified image: row in the split, true and predicted class, confidence."""

    index: Count
    true: str
    predicted: str
    confidence: Number


class EvaluationSource(Part):
    """What was evaluated: the artifact, its runtime, the images, and how long it took."""

    artifact: str = ""
    runtime: str = ""
    assumed: list[str] = []
    data: str = ""
    split: str = ""
    tta: str = "none"
    digest: str = ""
    seconds: Number = 0.0
    images_per_second: Number = 0.0


class Evaluation(Record):
    """`evaluation/<split>.json`: metrics of a network on a split.

    Attributes:
        loss: mean negative log-likelihood, nats.
        accuracy, top5_accuracy, expected_calibration_error: 0 to 1.
        accuracy_interval: 95 % interval of the accuracy (Wilson).
        confusion_matrix: counts; rows are true classes, columns predicted ones.
        mistakes: the most confident ones first.
    """

    count: Count
    loss: Number
    accuracy: Number
    accuracy_interval: list[Number]
    top5_accuracy: Number
    expected_calibration_error: Number
    calibration: list[CalibrationBin]
    per_class: list[ClassMetrics]
    classes: list[str]
    confusion_matrix: list[list[Count]]
    mistakes: list[Mistake]
    about: EvaluationSource = EvaluationSource()


# --- exports/<name>/export.json -------------------------------------------------------


class Parity(Part):
    """How an artifact's predictions compare with the Keras model's, in the artifact's runtime.

    Attributes:
        max_difference: of a probability; None if one is not finite.
        agreement: share of images with the same top-1 class.
        reference_accuracy: of the Keras model on the same images.
    """

    runtime: str
    split: str
    images: Count
    max_difference: Number | None
    agreement: Number
    accuracy: Number
    reference_accuracy: Number
    seconds: Number = 0.0


class Export(Record):
    """`exports/<name>/export.json`: an artifact and the parity that was measured.

    Attributes:
        artifact: path of the artifact in the folder of `export.json`.
        compressed_bytes: size when each file is compressed with zlib at level 9.
    """

    artifact: InsidePath
    format: str
    quantization: str
    bytes: Count
    compressed_bytes: Count
    parity: Parity
    calibration: dict[str, Any] | None = None
    prune: dict[str, Any] | None = None
    qat: dict[str, Any] | None = None

    @property
    def name(self) -> str:
        """Name of the artifact's folder, such as `litert-int8`."""
        return self._file.parent.name

    @property
    def path(self) -> Path:
        """The artifact's file or folder."""
        return self._file.parent / self.artifact

    def to_json(self) -> dict[str, Any]:
        """Return the record with the artifact's `name` and `path`."""
        return {"name": self.name, "path": str(self.path), **super().to_json()}

    @classmethod
    def upgrade(cls, document: dict[str, Any]) -> dict[str, Any]:
        """Return a version 0 document in the current format."""
        document = _renamed(document, {"proof": "parity", "trained_for_int8": "qat"})
        if isinstance(document.get("parity"), dict):
            parity = _renamed(document["parity"], {"largest_difference": "max_difference"})
            document["parity"] = parity
        return document


# --- benchmark.json -------------------------------------------------------------------


class Speed(Part):
    """Latency of calls with `batch_size` images each, milliseconds, and throughput at the median."""

    batch_size: Count
    calls: Count
    median_milliseconds: Number
    p90_milliseconds: Number
    images_per_second: Number


class BenchmarkedArtifact(Part):
    """What one artifact gives and costs.

    Attributes:
        agreement: share of images with the same top-1 class as the first artifact's.
        threads: that it may use.
        peak_memory_bytes: of a process that only runs this artifact.
    """

    name: str
    path: str
    bytes: Count
    accuracy: Number
    agreement: Number
    runtime: str
    assumed: list[str]
    threads: Count
    peak_memory_bytes: Count
    speed: list[Speed]


class Benchmark(Record):
    """`benchmark.json`: artifacts side by side, on images of one split."""

    machine: dict[str, Any]
    versions: dict[str, str]
    images: Count
    split: str
    data: str
    artifacts: list[BenchmarkedArtifact]


# --- reading, writing -----------------------------------------------------------------


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


def _load(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        content = file.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise ValueError(f"more than {_MAX_BYTES:,} bytes")
    value = json.loads(content.decode("utf-8"), parse_constant=_refuse)
    if not isinstance(value, dict):
        raise ValueError("expected a JSON object")
    json.dumps(value, ensure_ascii=False).encode("utf-8")  # refuses a lone surrogate
    return value


def _renamed(document: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
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
