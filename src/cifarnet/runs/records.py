"""The records of a run: `run.json`, and those of its evaluations, exports and benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from cifarnet.runs.documents import Count, InsidePath, Number, Part, Record, read, renamed, write

__all__ = [
    "Benchmark",
    "BenchmarkedArtifact",
    "CalibrationBin",
    "CalibrationRecord",
    "ClassMetrics",
    "DataRecord",
    "DeterminismRecord",
    "Evaluation",
    "EvaluationSource",
    "Export",
    "FileRecord",
    "MachineRecord",
    "Mistake",
    "ModelRecord",
    "Parity",
    "PrecisionRecord",
    "ProcessRecord",
    "PruneRecord",
    "QatRecord",
    "ResumeRecord",
    "RunRecord",
    "Speed",
    "ThreadsRecord",
    "read",
    "write",
]

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


class MachineRecord(Part):
    """The host; see `system.Host`."""

    processor: str | None = None
    cores: Count | None = None
    memory_bytes: Count | None = None
    system: str | None = None
    python: str | None = None
    onednn: bool | None = None


class ThreadsRecord(Part):
    """TensorFlow's thread settings; 0 is its own choice."""

    intra_op: Count | None = None
    inter_op: Count | None = None


class ProcessRecord(Part):
    """The process that holds the run's lock, or held it last."""

    pid: Count | None = None
    host: str | None = None


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
    machine: MachineRecord = MachineRecord()
    threads: ThreadsRecord = ThreadsRecord()
    versions: dict[str, str] = {}
    git_commit: str | None = None
    process: ProcessRecord = ProcessRecord()
    determinism: DeterminismRecord = DeterminismRecord()
    resumed: list[ResumeRecord] = []
    files: dict[InsidePath, FileRecord] = {}

    @classmethod
    def upgrade(cls, document: dict[str, Any]) -> dict[str, Any]:
        """Return a version 0 document in the current format."""
        return renamed(document, {"why": "stop_reason", "kept_epoch": "selected_epoch"})


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


class CalibrationRecord(Part):
    """The images that int8 ranges were computed on."""

    images: Count
    of: str
    seed: Count
    digest: str
    training_digest: str


class PruneRecord(Part):
    """How a network was pruned, and its validation accuracy before and after."""

    sparsity: Number
    epochs: Number
    learning_rate: Number | None
    sparsity_reached: Number
    accuracy_before: Number
    accuracy: Number


class QatRecord(Part):
    """Validation accuracy before quantization-aware training."""

    accuracy_before: Number


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
    calibration: CalibrationRecord | None = None
    prune: PruneRecord | None = None
    qat: QatRecord | None = None

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
        document = renamed(document, {"proof": "parity", "trained_for_int8": "qat"})
        if isinstance(document.get("parity"), dict):
            parity = renamed(document["parity"], {"largest_difference": "max_difference"})
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

    machine: MachineRecord
    versions: dict[str, str]
    images: Count
    split: str
    data: str
    artifacts: list[BenchmarkedArtifact]
