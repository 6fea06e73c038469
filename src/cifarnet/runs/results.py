"""The records of an evaluation and of an export, and their parts."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from cifarnet.errors import JsonObject
from cifarnet.runs.audits import WithoutNearDuplicates
from cifarnet.runs.confidence import SelectivePrediction, TemperatureScaling
from cifarnet.runs.documents import Count, InsidePath, Number, Part, Record, renamed
from cifarnet.runs.sprites import Sprite

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
    """What was evaluated: the artifact, its runtime, the images, and how long it took.

    Attributes:
        changed_data: what differs from the images that the run was given; empty: nothing.
        duplicates: how many images are byte-identical to training images.
        weights_sha256: of the run's `model.keras` that it is or was exported from; empty: unknown.
    """

    artifact: str = ""
    runtime: str = ""
    assumed: list[str] = []
    data: str = ""
    split: str = ""
    tta: str = "none"
    digest: str = ""
    duplicates: Count = 0
    changed_data: str = ""
    weights_sha256: str = ""
    seconds: Number = 0.0
    images_per_second: Number = 0.0


def evaluation_stem(split: str, tta: str) -> str:
    """Return the name of an evaluation's files, without suffix."""
    return split if tta == "none" else f"{split}-{tta}"


class Evaluation(Record):
    """`evaluation/<split>.json`: metrics of a network on a split.

    Attributes:
        loss, accuracy: mean negative log-likelihood, nats; accuracies and errors are 0 to 1.
        macro_f1, balanced_accuracy: mean F1 and recall of classes with images; None in old records.
        accuracy_interval: 95 % interval of the accuracy (Wilson).
        confusion_matrix: counts; rows are true classes, columns predicted ones.
        mistakes: the most confident ones first.
        expected_calibration_error_interval: 95 %, bootstrap over images; None in old records.
        selective: how well confidence tells right decisions from wrong ones; None in old records.
        temperature: None without validation images beside the evaluated ones.
        advice: what would lower a calibration error above 5 %; empty: nothing that is known.
        without_near_duplicates: None where it is not known which images have them.
        sprite: the images stored beside the record; None in old records.
    """

    SCALARS = (
        "accuracy",
        "balanced_accuracy",
        "macro_f1",
        "top5_accuracy",
        "loss",
        "expected_calibration_error",
        "calibrated_error",
        "calibrated_loss",
        "aurc",
        "accuracy_at_80_coverage",
        "error_auroc",
        "accuracy_without_near_duplicates",
    )

    count: Count
    loss: Number
    accuracy: Number
    accuracy_interval: list[Number]
    top5_accuracy: Number
    expected_calibration_error: Number
    macro_f1: Number | None = None
    balanced_accuracy: Number | None = None
    calibration: list[CalibrationBin]
    per_class: list[ClassMetrics]
    classes: list[str]
    confusion_matrix: list[list[Count]]
    mistakes: list[Mistake]
    expected_calibration_error_interval: list[Number] | None = None
    selective: SelectivePrediction | None = None
    temperature: TemperatureScaling | None = None
    advice: str = ""
    without_near_duplicates: WithoutNearDuplicates | None = None
    sprite: Sprite | None = None
    about: EvaluationSource = EvaluationSource()

    @property
    def predictions_file(self) -> Path:
        """The file of its arrays, beside the record."""
        return self.path.with_name(f"{self.path.stem}-predictions.npz")

    @property
    def sprite_file(self) -> Path:
        """The file of its images, beside the record; see `sprite`."""
        return self.path.with_name(f"{self.path.stem}-images.webp")

    def scalars(self) -> dict[str, float | None]:
        """Return the numbers named by `SCALARS`, also those of parts."""
        parts = (self, self.selective, self.temperature, self.without_near_duplicates)
        return {
            name: next((getattr(part, name) for part in parts if hasattr(part, name)), None)
            for name in self.SCALARS
        }


# --- exports/<name>/export.json -------------------------------------------------------


class Parity(Part):
    """How an artifact's predictions compare with the Keras model's, in the artifact's runtime.

    Attributes:
        max_difference: of a probability; None if one is not finite.
        agreement: share of images with the same top-1 class.
        reference_accuracy: of the Keras model on the same images.
        loss, reference_loss: mean negative log-likelihood, nats; probabilities below 1/512, half a
            step of 8-bit outputs, count as 1/512.
        calibration_error, reference_calibration_error: expected calibration error, 0 to 1.
    """

    runtime: str
    split: str
    images: Count
    max_difference: Number | None
    agreement: Number
    accuracy: Number
    reference_accuracy: Number
    loss: Number | None = None
    reference_loss: Number | None = None
    calibration_error: Number | None = None
    reference_calibration_error: Number | None = None
    seconds: Number = 0.0


class MicroRecord(Part):
    """How a file for microcontrollers was checked beside its parity in LiteRT.

    Attributes:
        checked_by: the TensorFlow Lite Micro interpreter and its version, or `list of operations`.
        images: that the interpreter ran on.
        mean_difference: mean over images of the largest difference of a probability from LiteRT's.
    """

    checked_by: str
    images: Count = 0
    mean_difference: Number | None = None


class BrowserRecord(Part):
    """How a page with the network inside was checked in a browser.

    Attributes:
        checked_by: browser and runtime with their versions, or `not run in a browser` and why.
        images: that it classified.
        max_difference: of a probability, from ONNX Runtime's; None: not run, or not finite.
    """

    checked_by: str
    images: Count = 0
    max_difference: Number | None = None


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
        weights_sha256: of the `model.keras` it was exported from.
        changed_data: what differs from the images that the run was given; empty: nothing.
    """

    artifact: InsidePath
    format: str
    quantization: str
    bytes: Count
    compressed_bytes: Count
    parity: Parity
    weights_sha256: str = ""
    calibration: CalibrationRecord | None = None
    prune: PruneRecord | None = None
    qat: QatRecord | None = None
    micro: MicroRecord | None = None
    browser: BrowserRecord | None = None
    changed_data: str = ""

    @property
    def name(self) -> str:
        """Name of the artifact's folder, such as `litert-int8`."""
        return self._file.parent.name

    @property
    def path(self) -> Path:
        """The artifact's file or folder."""
        return self._file.parent / self.artifact

    def to_json(self) -> JsonObject:
        """Return the record with the artifact's `name` and `path`."""
        return {"name": self.name, "path": str(self.path), **super().to_json()}

    @classmethod
    def upgrade(cls, document: JsonObject) -> JsonObject:
        """Return a version 0 document in the current format."""
        document = renamed(document, {"proof": "parity", "trained_for_int8": "qat"})
        if isinstance(document.get("parity"), dict):
            parity = renamed(document["parity"], {"largest_difference": "max_difference"})
            document["parity"] = parity
        return document
