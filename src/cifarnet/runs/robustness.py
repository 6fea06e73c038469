"""The record of a robustness evaluation, and its parts."""

from __future__ import annotations

from cifarnet.runs.documents import Count, Number, Part, Record
from cifarnet.runs.results import EvaluationSource


class CorruptionScore(Part):
    """Accuracy under one corruption at severities 1 to 5, 0 to 1."""

    corruption: str
    accuracy: list[Number]


class SeverityScore(Part):
    """Means over all corruptions at one severity: accuracy, confidence, calibration error."""

    severity: Count
    accuracy: Number
    confidence: Number
    calibration_error: Number


class CorruptionRecord(Part):
    """Accuracy under the common corruptions at five severities.

    Attributes:
        images_from: where the corrupted images are from: generated, or a published set.
        images, of: how many test images were corrupted, of how many.
        chosen: why so many.
        seed: of the choice of images and of the corruptions' noise, which a published set has not.
        accuracy: mean over corruptions and severities, 0 to 1.
        accuracy_interval: 95 % bootstrap interval over images.
        clean: accuracy, confidence and calibration error of the same images uncorrupted, as
            severity 0.
        scores: one for each corruption.
        severities: one for each severity.
        notes: what limits the meaning of the figures.
    """

    images_from: str
    images: Count
    of: Count
    chosen: str
    seed: Count | None
    accuracy: Number
    accuracy_interval: list[Number]
    clean: SeverityScore
    scores: list[CorruptionScore]
    severities: list[SeverityScore]
    notes: list[str] = []


class DetectionScore(Part):
    """How well confidence tells test images from out-of-distribution images.

    Attributes:
        against: `noise`, `shuffled` or `given`.
        images: number of those.
        test_images: number of test images.
        auroc: area under the ROC curve of the confidence; 0.5 is chance.
        auroc_interval: 95 % interval (Newcombe 2006, method 5).
        confidence, test_confidence: means.
        unreadable: files that could not be read.
    """

    against: str
    images: Count
    test_images: Count
    auroc: Number
    auroc_interval: list[Number]
    confidence: Number
    test_confidence: Number
    unreadable: Count = 0


class AttackScore(Part):
    """Accuracy under attacks of one size.

    Attributes:
        epsilon: largest change of a pixel value, of 255.
        accuracy: of images that stay right under every attack: an upper bound of robust accuracy.
        accuracy_interval: 95 % interval (Wilson).
        pgd, apgd_dlr: accuracy under each gradient attack alone.
        only_square: how many images Square broke of those that both left right.
    """

    epsilon: Number
    accuracy: Number
    accuracy_interval: list[Number]
    pgd: Number
    apgd_dlr: Number
    only_square: Count


class AttackRecord(Part):
    """Worst-case accuracy under L-infinity attacks: an upper bound, not AutoAttack.

    Attributes:
        images, of: how many test images were attacked, of how many.
        chosen: why so many.
        seed: of the choice of images and of the attacks.
        clean_accuracy: of the same images.
        scores: one for each size of the attack.
        notes: what limits the meaning of the figures, such as masked gradients.
    """

    images: Count
    of: Count
    chosen: str
    seed: Count
    clean_accuracy: Number
    scores: list[AttackScore]
    notes: list[str] = []


class Robustness(Record):
    """`evaluation/robustness.json`: corruptions, attacks, out-of-distribution images.

    Attributes:
        about: what was evaluated.
        budget_seconds: time allowed; None: no limit.
        seconds: time taken.
        corruptions: accuracy on corrupted images.
        attacks: worst-case accuracy; None where the network has no gradients (only Keras has).
        out_of_distribution: one for each kind of other images.
    """

    SCALARS = (
        "corruption_accuracy",
        "ood_auroc_noise",
        "ood_auroc_shuffled",
        "ood_auroc_given",
        "adversarial_accuracy_0.5",
        "adversarial_accuracy_1",
        "adversarial_accuracy_2",
        "adversarial_accuracy_8",
    )

    about: EvaluationSource
    budget_seconds: Number | None
    seconds: Number
    corruptions: CorruptionRecord
    attacks: AttackRecord | None
    out_of_distribution: list[DetectionScore]

    def scalars(self) -> dict[str, float | None]:
        """Return the numbers that `--require` may name; None: not measured."""
        found: dict[str, float | None] = dict.fromkeys(self.SCALARS)
        found["corruption_accuracy"] = self.corruptions.accuracy
        for one in self.out_of_distribution:
            found[f"ood_auroc_{one.against}"] = one.auroc
        for score in self.attacks.scores if self.attacks is not None else []:
            found[f"adversarial_accuracy_{score.epsilon:g}"] = score.accuracy
        return found
