"""The output of a network: which one, what it is, and probabilities of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cifarnet.choices import OutputKind
from cifarnet.errors import ArtifactError

# Rounding step of probabilities in 8 bits, by LiteRT's specification of softmax and logistic. Files
# that give floats may compute them in 8 bits.
_STEP = 1 / 256
# Further rounding, of the exponentials.
_SLACK = 0.01


def choose(names: Sequence[str], shapes: Sequence[object], stated: str | None) -> int:
    """Return the position of the output to read: the only one, or the one of the stated name.

    Raises:
        ArtifactError: there is no output of that name, or several and none is stated.
    """
    if stated is not None and stated in names:
        return list(names).index(stated)
    if stated is None and len(names) == 1:
        return 0
    found = ", ".join(f"{name} {shape}" for name, shape in zip(names, shapes, strict=True))
    if stated is None:
        raise ArtifactError(
            f"it has {len(names)} outputs: {found}. State the one of the classes with "
            f"--output-name{f', such as --output-name {names[0]}' if names else ''}"
        )
    raise ArtifactError(f"it has no output {stated!r} (--output-name), but {found}")


def as_rows(values: np.ndarray, count: int) -> np.ndarray:
    """Return the outputs of `count` images as float32 [N, K], without further dimensions of 1.

    Raises:
        ArtifactError: another shape, or integers, which are class numbers.
    """
    if values.dtype.kind in "biu":
        raise ArtifactError(
            f"expected logits or probabilities, received {values.dtype} {list(values.shape)}, "
            "which may be class numbers; if there is another output, state it with --output-name"
        )
    if values.ndim == 1 and count == 1:
        values = values[None]
    if values.ndim == 0 or len(values) != count or sum(side > 1 for side in values.shape[1:]) > 1:
        raise ArtifactError(
            f"expected an output [N, classes] for {count} images, received {list(values.shape)}"
        )
    return values.astype(np.float32, copy=False).reshape(count, -1)


def kind_of(rows: np.ndarray, step: float) -> tuple[OutputKind, str]:
    """Return what outputs [N, K] are, and how that was found.

    K probabilities that are rounded to multiples of a step sum to 1 within K x step / 2.

    Args:
        rows: of images that differ.
        step: of quantized outputs; 0 if the file does not say it.
    """
    count, step = rows.shape[1], step or _STEP
    if not ((rows >= 0).all() and (rows <= 1 + step).all()):
        if count == 1:
            return "logits", "one column of logits out, of the second class, from its outputs"
        return "logits", "logits out, from its outputs"
    if count == 1:
        return "probabilities", "one column of probabilities out, of the second class"
    sums = rows.sum(axis=1)
    if np.abs(sums - 1).max() <= count * step / 2 + _SLACK:
        return "probabilities", "probabilities out, from its outputs"
    spread = f"rows sum to {sums.min():.2g} to {sums.max():.2g}"
    return "probabilities", f"independent probabilities out, since they are 0 to 1 and {spread}"


def to_probabilities(rows: np.ndarray, kind: OutputKind) -> np.ndarray:
    """Return probabilities of outputs [N, K]; one column is of the second of two classes.

    Logits go through a softmax, or one column through a sigmoid. Probabilities are returned as they
    are: those of independent sigmoids do not sum to 1, rounded ones only nearly.
    """
    if rows.shape[1] == 1:
        second = np.exp(-np.logaddexp(0, -rows)) if kind == "logits" else rows
        return np.concatenate([1 - second, second], axis=1)
    return _softmax(rows) if kind == "logits" else rows


def _softmax(logits: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):  # a damaged network may give inf; the result is NaN then
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)
