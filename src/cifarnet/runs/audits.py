"""The record of an audit of images, its parts, and what an evaluation says of duplicates."""

from __future__ import annotations

from cifarnet.runs.documents import Count, Number, Part, Record


class WithoutNearDuplicates(Part):
    """Accuracy on the images that have no near duplicate among the training images.

    Attributes:
        images, left_out: how many images have none, and how many have one.
        accuracy_without_near_duplicates: of the former, 0 to 1.
        interval: its 95 % interval (Wilson).
        left_out_accuracy, left_out_interval: the same of the latter; None if there are none.
        rule: how near duplicates were found; or the user's list.
    """

    images: Count
    left_out: Count
    accuracy_without_near_duplicates: Number
    interval: list[Number]
    left_out_accuracy: Number | None
    left_out_interval: list[Number] | None
    rule: str


class AuditedSplit(Part):
    """One split: its images per class, in the order of `classes`, and its digest."""

    split: str
    count: Count
    digest: str
    per_class: list[Count]


class Overlap(Part):
    """How many images of `split` have a duplicate among the images of `other`.

    Attributes:
        split, other: `other` comes first in the order train, validation, test; or they are equal,
            and the duplicate is an earlier image.
        images: number of images of `split`.
        exact: with equal pixels.
        near: with a near duplicate, and no exact one.
    """

    split: str
    other: str
    images: Count
    exact: Count
    near: Count


class Duplicate(Part):
    """A pair of duplicates: an image, and one that comes before it in the order of splits.

    Attributes:
        index, other_index: rows in their splits.
        file, other_file: of a folder's images; empty for other sources.
        label, other_label: names of their classes.
        distance: 1 - correlation of the details; 0 if exact.
        mirrored: whether one is the mirror image of the other.
    """

    exact: bool
    split: str
    index: Count
    file: str
    label: str
    other_split: str
    other_index: Count
    other_file: str
    other_label: str
    distance: Number
    mirrored: bool


class Doubt(Part):
    """An image whose given label the network believes little: a candidate for a wrong label.

    Attributes:
        label: the given class.
        label_confidence: probability of the given class.
        predicted, confidence: the most probable class, and its probability.
    """

    split: str
    index: Count
    file: str
    label: str
    label_confidence: Number
    predicted: str
    confidence: Number


class Audit(Record):
    """`audit.json`: what is wrong, or may be wrong, with the images of a dataset.

    Each image counts once, against those before it in the order train, validation, test.

    Attributes:
        data: one line on the dataset.
        exact_duplicates: images with the same pixels as an earlier one.
        near_duplicates: other images that have a near duplicate before them.
        leaks: validation and test images that have a duplicate, exact or near, in a split before.
        conflicting_labels: images of which a duplicate, exact or near, with another class is before
            them, in any split; None in older records.
        one_color: images whose pixels all have one color.
        unreadable: image files that cannot be read; None: not known, of the images of a run.
        class_ratio: of the largest and the smallest class in the training split; None: one has no
            image.
        missing_classes: classes without an image, summed over the splits that have images.
        overlaps: duplicates within and between splits.
        rule: when two images are near duplicates.
        duplicates: some pairs, of all distances: leaks and those of two classes, if there are any,
            leaks first; all pairs are in `audit.csv`.
        artifact: the network that was asked for doubts; empty: none was.
        doubts: the least believed labels, least first.
        changed_data: what differs from the images of the run; empty: nothing.
    """

    SCALARS = (
        "leaks",
        "exact_duplicates",
        "near_duplicates",
        "conflicting_labels",
        "one_color",
        "unreadable",
        "class_ratio",
        "missing_classes",
    )

    data: str
    classes: list[str]
    splits: list[AuditedSplit]
    leaks: Count
    exact_duplicates: Count
    near_duplicates: Count
    conflicting_labels: Count | None = None
    one_color: Count
    unreadable: Count | None
    class_ratio: Number | None
    missing_classes: Count
    overlaps: list[Overlap]
    rule: str
    duplicates: list[Duplicate]
    artifact: str = ""
    doubts: list[Doubt] = []
    changed_data: str = ""
    notes: list[str] = []
