"""The parts of an evaluation on what confidence is worth."""

from __future__ import annotations

from cifarnet.runs.documents import Count, Number, Part


class RiskPoint(Part):
    """Share of images that are decided, the most confident ones, and share of errors among them."""

    coverage: Number
    risk: Number


class SelectivePrediction(Part):
    """How well confidence tells right decisions from wrong ones.

    Attributes:
        aurc: area under the risk-coverage curve, 0 to 1.
        accuracy_at_80_coverage: of the most confident 80 % of the images.
        error_auroc: chance that a wrong decision is less confident than a right one, a tie counting
            half; None without both.
        risk_coverage: at most 100 points of the curve, rising in coverage.
        aurc_interval, error_auroc_interval: 95 % intervals, bootstrap over images.
        accuracy_at_80_coverage_interval: 95 % interval (Wilson).
    """

    aurc: Number
    aurc_interval: list[Number]
    accuracy_at_80_coverage: Number
    accuracy_at_80_coverage_interval: list[Number]
    error_auroc: Number | None
    error_auroc_interval: list[Number] | None
    risk_coverage: list[RiskPoint]


class TemperatureScaling(Part):
    """What dividing the logits by a temperature fitted on validation images would give.

    Attributes:
        temperature: of the smallest log loss on the validation images; `at_bound`: whether the loss
            falls beyond 0.05 or 20.
        images, digest: of the validation images.
        calibrated_error: expected calibration error of the evaluated images, 0 to 1.
        calibrated_loss: their mean negative log-likelihood, nats.
    """

    temperature: Number
    at_bound: bool
    images: Count
    digest: str
    calibrated_error: Number
    calibrated_error_interval: list[Number]
    calibrated_loss: Number
