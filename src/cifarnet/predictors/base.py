"""A loaded network of any format, with its preprocessing, as one function."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from cifarnet.errors import ArtifactError

# uint8 [N, S, S, 3], RGB, 0-255 -> float32 [N, classes], probabilities
Predict = Callable[[np.ndarray], np.ndarray]

_RANGES = {"0-255": (0.0, 255.0), "0-1": (0.0, 1.0), "-1-1": (-1.0, 1.0)}
# Of a model file, and of what is unpacked from it.
MOST_BYTES = 1_000_000_000


@dataclass(frozen=True)
class Preprocessing:
    """How raw pixels become what a network takes, and what it gives; None: found out.

    Attributes:
        input_range: what 0 and 255 become: `0-255`, `0-1` or `-1-1`.
        mean, std: per channel, in that range: subtracted, then divided by.
        layout: `nhwc` or `nchw`.
        logits: the network gives logits, not probabilities.
    """

    input_range: str | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    layout: Literal["nhwc", "nchw"] | None = None
    logits: bool | None = None


# What the model of a run takes and gives.
OF_RUNS = Preprocessing("0-255", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "nhwc", logits=True)


@dataclass(frozen=True)
class Network:
    """A file's network in its runtime, before any preprocessing.

    Attributes:
        runtime: name and version.
        run: an array of `dtype` in the network's layout -> float32 [N, classes].
        shape: of its input; None where the file leaves a dimension open.
        dtype: of its input.
        scale, zero: an integer input q stands for scale x (q - zero).
        metadata: what cifarnet wrote into the file; empty in a foreign one.
    """

    runtime: str
    run: Callable[[np.ndarray], np.ndarray]
    shape: tuple[int | None, ...]
    dtype: Any
    scale: float = 1.0
    zero: int = 0
    metadata: dict[str, Any] = field(default_factory=dict)


class Predictor:
    """A `Predict`, and what is known of it.

    Attributes:
        runtime: what computes.
        size: side of the images it takes, pixels.
        classes: number of probabilities it gives.
        assumed: what nobody stated, in words; empty for our own files.
        metadata: what cifarnet wrote into the file; empty in a foreign one.
    """

    def __init__(
        self, network: Network, batch_size: int = 500, preprocessing: Preprocessing | None = None
    ) -> None:
        """Find the layout, and try the network on noise to see what it gives.

        Raises:
            ArtifactError: it does not take one batch of square RGB images, or fails on one.
        """
        given = preprocessing or Preprocessing()
        self._network = network
        self.runtime = network.runtime
        self.metadata = network.metadata
        self.assumed: list[str] = []
        self._layout, self.size = _layout(network.shape, given.layout)
        self._fixed = network.shape[0]
        self._batch = self._fixed or batch_size
        self._low, self._high = _RANGES[given.input_range or "0-255"]
        self._mean = np.asarray(given.mean or (0.0,) * 3, np.float32)
        self._std = np.asarray(given.std or (1.0,) * 3, np.float32)
        self._logits = False
        outputs = np.concatenate(self._in_batches(_noise(self.size)))
        self.classes = outputs.shape[1]
        self._logits = not _are_probabilities(outputs) if given.logits is None else given.logits
        if not network.metadata:
            self._say_what_is_assumed(given)

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Probabilities float32 [N, classes] of uint8 [N, size, size, 3].

        Raises:
            ArtifactError: other images, or the runtime fails.
        """
        expected = (self.size, self.size, 3)
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1:] != expected:
            raise ArtifactError(
                f"expected images uint8 [N, {self.size}, {self.size}, 3], received "
                f"{pixels.dtype} {list(pixels.shape)}"
            )
        none = np.empty((0, self.classes), np.float32)
        return np.concatenate([none, *self._in_batches(pixels)])

    def _in_batches(self, pixels: np.ndarray) -> list[np.ndarray]:
        starts = range(0, len(pixels), self._batch)
        return [self._outputs(pixels[i : i + self._batch]) for i in starts]

    def _outputs(self, pixels: np.ndarray) -> np.ndarray:
        count = len(pixels)
        inputs = self._inputs(pixels)
        if self._fixed and count < self._fixed:  # a file for whole batches only
            inputs = np.concatenate([inputs, np.repeat(inputs[-1:], self._fixed - count, axis=0)])
        try:
            outputs = np.asarray(self._network.run(inputs), np.float32)[:count]
        except Exception as error:  # each runtime raises its own
            text = " ".join(str(error).split())
            raise ArtifactError(f"{self.runtime} failed: {text[:300]}") from error
        if outputs.ndim != 2 or len(outputs) != count:
            raise ArtifactError(
                f"expected an output [N, classes] for {count} images, received "
                f"{list(outputs.shape)}"
            )
        return _softmax(outputs) if self._logits else outputs

    def _inputs(self, pixels: np.ndarray) -> np.ndarray:
        wanted = self._network.dtype
        if wanted == np.uint8 and self._takes_pixels():
            return self._arranged(pixels)
        values = self._low + pixels.astype(np.float32) * ((self._high - self._low) / 255)
        values = (values - self._mean) / self._std
        if np.issubdtype(wanted, np.integer):
            limits = np.iinfo(wanted)
            values = np.rint(values / self._network.scale) + self._network.zero
            values = np.clip(values, limits.min, limits.max)
        return self._arranged(values.astype(wanted))

    def _takes_pixels(self) -> bool:
        plain = not self._mean.any() and (self._std == 1).all()
        return plain and (self._low, self._high, self._network.scale, self._network.zero) == (
            0.0,
            255.0,
            1.0,
            0,
        )

    def _arranged(self, images: np.ndarray) -> np.ndarray:
        if self._layout == "nchw":
            images = images.transpose(0, 3, 1, 2)
        return np.ascontiguousarray(images)

    def _say_what_is_assumed(self, given: Preprocessing) -> None:
        if given.input_range is None:
            self.assumed.append("pixels 0-255 (--input-range)")
        if given.mean is None and given.std is None:
            self.assumed.append("no mean and std (--mean, --std)")
        if given.layout is None:
            self.assumed.append(f"layout {self._layout}, from the input's shape (--layout)")
        if given.logits is None:
            found = "logits" if self._logits else "probabilities"
            self.assumed.append(f"{found} out, from its outputs (--logits)")


def read_metadata(text: str | bytes) -> dict[str, Any]:
    """What cifarnet wrote into a file: a JSON object whose `classes`, if any, are names.

    Raises:
        ArtifactError: anything else.
    """
    try:
        found = json.loads(text)
        classes = found.get("classes", [])
        if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
            raise ValueError("its `classes` are not a list of names")
    except (ValueError, AttributeError, RecursionError) as error:
        raise ArtifactError(f"its metadata cannot be read: {error}") from error
    return dict(found)


def _layout(shape: tuple[int | None, ...], given: str | None) -> tuple[str, int]:
    """`nhwc` or `nchw`, and the side of the images."""
    for layout, channels, sides in (("nhwc", 3, (1, 2)), ("nchw", 1, (2, 3))):
        if len(shape) == 4 and shape[channels] == 3 and given in (None, layout):
            height, width = (shape[i] for i in sides)
            if height is not None and height == width:
                return layout, height
    wanted = "[N, S, S, 3] or [N, 3, S, S]" if given is None else f"in layout {given}"
    raise ArtifactError(
        f"expected a model of square RGB images {wanted}, received input {list(shape)}"
    )


def _noise(size: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (4, size, size, 3), np.uint8)


def _are_probabilities(outputs: np.ndarray) -> bool:
    """Whether rows are in [0, 1] and sum to 1, but for the rounding of 8-bit outputs."""
    inside = (outputs >= 0).all() and (outputs <= 1).all()
    return bool(inside and np.allclose(outputs.sum(axis=1), 1, atol=0.03))


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
