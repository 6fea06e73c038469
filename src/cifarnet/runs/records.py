"""The record of a run, `run.json`, and its parts."""

from __future__ import annotations

from cifarnet.errors import JsonObject
from cifarnet.runs.documents import Count, InsidePath, Number, Part, Record, renamed


class DataRecord(Part):
    """The dataset of a training: description, classes, images per split, digests per split.

    Attributes:
        read_from_disk: whether each batch is; False: all images are in memory.
    """

    source: str = ""
    classes: list[str] = []
    counts: dict[str, Count] = {}
    digests: dict[str, str] = {}
    notes: list[str] = []
    read_from_disk: bool | None = None


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


class TemperatureRecord(Part):
    """The temperature that the logits of `model.keras` are divided by, fitted on validation images.

    Attributes:
        at_bound: whether the loss falls beyond the temperatures that are tried, 0.05 to 20.
        images: validation images it was fitted on.
        loss_before, loss: mean negative log-likelihood of their labels, nats.
        calibration_error_before, calibration_error: expected, on the same images, 0 to 1.
        decisions_changed: images of these whose most probable class is another one after it.
    """

    temperature: Number
    at_bound: bool
    images: Count
    loss_before: Number
    loss: Number
    calibration_error_before: Number
    calibration_error: Number
    decisions_changed: Count


class TeacherRecord(Part):
    """The network that a training learned from.

    Attributes:
        artifact: its file, or its folder.
        sha256: of the file; of a folder, of the names and digests of its files.
        runtime: that computed it, and its version.
        assumed: of a foreign file; see `Predictor.assumed`.
    """

    artifact: str = ""
    sha256: str = ""
    runtime: str = ""
    assumed: list[str] = []


class TrackerRecord(Record):
    """`mlflow.json`: which MLflow run a training was sent to, so that resuming continues it."""

    uri: str = ""
    run_id: str = ""


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
    teacher: TeacherRecord | None = None
    epochs: Number = 0
    steps: Count = 0
    epochs_done: Number | None = None
    steps_done: Count | None = None
    selected_epoch: Count | None = None
    best_epoch: Count | None = None
    validation_accuracy: Number | None = None
    calibration: TemperatureRecord | None = None
    seconds: Number | None = None
    images_per_second: Number | None = None
    machine: MachineRecord = MachineRecord()
    threads: ThreadsRecord = ThreadsRecord()
    workers: Count = 1
    versions: dict[str, str] = {}
    git_commit: str | None = None
    process: ProcessRecord = ProcessRecord()
    determinism: DeterminismRecord = DeterminismRecord()
    resumed: list[ResumeRecord] = []
    files: dict[InsidePath, FileRecord] = {}

    @classmethod
    def upgrade(cls, document: JsonObject) -> JsonObject:
        """Return a version 0 document in the current format."""
        return renamed(document, {"why": "stop_reason", "kept_epoch": "selected_epoch"})
