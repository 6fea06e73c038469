"""The record of explanations: what was explained, and how the method stood its checks."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from cifarnet.runs.documents import Count, Number, Part, Record
from cifarnet.runs.results import EvaluationSource

Interval = Annotated[list[Number], Field(min_length=2, max_length=2)]

METHOD_NAMES = {  # in prose, by `choices.ExplanationMethod`
    "occlusion": "occlusion",
    "layercam": "LayerCAM",
    "gradcam": "Grad-CAM",
    "integrated": "integrated gradients",
}


class ExplainedImage(Part):
    """An image that was explained.

    Attributes:
        image: path of a file; of the test split, `test[ROW]`.
        true, true_probability: None where the true class is unknown.
        confidence: the predicted class' probability.
    """

    image: str
    predicted: str
    confidence: Number
    true: str | None = None
    true_probability: Number | None = None


class Gain(Part):
    """By how much the method surpasses a reference: means over images, with 95 % intervals.

    Attributes:
        over: the reference: random maps, a centered blob, or edges.
        deletion: the reference's area minus the method's.
        insertion: the method's area minus the reference's.
    """

    over: str
    deletion: Number
    deletion_interval: Interval
    insertion: Number
    insertion_interval: Interval


class RandomizedWeights(Part):
    """How far maps stay the same when weights are shuffled from the output on to `down_to`.

    Attributes:
        correlation: Spearman's, with the map of the trained weights; mean over images, with its 95
            % interval. A map of one value counts as 0.
    """

    down_to: str
    correlation: Number
    interval: Interval


class MethodChecks(Part):
    """Whether the method finds pixels that matter, and depends on the weights.

    Attributes:
        images: how many the gains are of.
        deletion, insertion: the method's mean areas under the two curves, 0 to 1.
        gains: over each reference.
        randomized: from the last layer to the first; None where weights cannot be changed.
        randomized_images: how many of the images the correlations are of.
    """

    images: Count
    deletion: Number
    insertion: Number
    gains: list[Gain]
    randomized: list[RandomizedWeights] | None
    randomized_images: Count


class Explanation(Record):
    """`explain.json`: images explained by one method, and how the method stood its checks.

    Attributes:
        method: `occlusion`, `layercam`, `gradcam` or `integrated`.
        images: in the order of the arrays.
        unreadable: image files that could not be read, with the reason.
        verdict: what the checks show, in words.
        about: what was explained; `split` and `digest` are of the checks' images.
    """

    SCALARS = (
        "deletion_gain",
        "insertion_gain",
        "deletion_gain_over_blob",
        "insertion_gain_over_blob",
        "deletion_gain_over_edges",
        "insertion_gain_over_edges",
        "least_gain",
        "randomized_correlation",
    )

    method: str
    images: list[ExplainedImage]
    unreadable: list[str]
    checks: MethodChecks
    verdict: str
    classes: list[str]
    about: EvaluationSource

    @property
    def method_name(self) -> str:
        """The method in prose, such as `Grad-CAM`."""
        return METHOD_NAMES.get(self.method, self.method)

    def scalars(self) -> dict[str, float | None]:
        """Return the gains; `least_gain` is the lowest end of their intervals."""
        gains, stages = self.checks.gains, self.checks.randomized
        suffixes = ("", "_over_blob", "_over_edges")
        over = dict(zip(suffixes, gains, strict=True))
        lows = (min(one.deletion_interval[0], one.insertion_interval[0]) for one in gains)
        return {
            **{f"deletion_gain{suffix}": one.deletion for suffix, one in over.items()},
            **{f"insertion_gain{suffix}": one.insertion for suffix, one in over.items()},
            "least_gain": min(lows),
            "randomized_correlation": stages[-1].correlation if stages else None,
        }
