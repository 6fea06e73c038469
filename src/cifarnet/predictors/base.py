"""A network of any format, with its preprocessing, as one function."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

import numpy as np

from cifarnet.choices import InputRange, Layout
from cifarnet.errors import ArtifactError, ConfigError

# uint8 [N, S, S, 3], RGB, 0-255 -> float32 [N, classes], probabilities
Predict = Callable[[np.ndarray], np.ndarray]

# What cifarnet stores inside an artifact: a JSON object with `classes`, `run` and more.
Metadata = dict[str, Any]

_RANGES: dict[InputRange, tuple[float, float]] = {
    "0-255": (0.0, 255.0),
    "0-1": (0.0, 1.0),
    "-1-1": (-1.0, 1.0),
}
# Limit for a model file, and for what is unpacked from it.
MAX_BYTES = 1_000_000_000


def _channels(name: str, values: Sequence[float]) -> tuple[float, ...]:
    numbers = tuple(float(value) for value in values)
    zero = name == "std" and 0.0 in numbers
    if len(numbers) != 3 or zero or not np.isfinite(numbers).all():
        what = "three numbers that are not 0" if name == "std" else "three numbers"
        raise ConfigError(f"{name}: expected {what}, received {list(numbers)}")
    return numbers


@dataclass(frozen=True)
class Preprocessing:
    """How raw pixels become a network's input, and what its output is.

    None stands for the default: pixels 0-255, no mean and std; the layout is found from the
    input's shape, logits from the outputs.

    Attributes:
        input_range: what 0 and 255 become: `0-255`, `0-1` or `-1-1`.
        mean, std: per channel, in that range: subtracted, then divided by.
        layout: of the input, `nhwc` or `nchw`.
        logits: whether the network returns logits, not probabilities.

    Raises:
        ConfigError: a value that is none of these.

    Example:
        cifarnet.Preprocessing("0-1", mean=(0.49, 0.48, 0.45), std=(0.25, 0.24, 0.26))
    """

    input_range: InputRange | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    layout: Layout | None = None
    logits: bool | None = None

    def __post_init__(self) -> None:
        """Check the values; take any sequence of three numbers."""
        for name, choices in (("input_range", get_args(InputRange)), ("layout", get_args(Layout))):
            value = getattr(self, name)
            if value is not None and value not in choices:
                expected = ", ".join(choices)
                raise ConfigError(f"{name}: expected one of {expected}; received {value!r}")
        for name in ("mean", "std"):
            values = getattr(self, name)
            if values is not None:
                object.__setattr__(self, name, _channels(name, values))


# Of `model.keras` of a run.
RUN_PREPROCESSING = Preprocessing("0-255", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "nhwc", logits=True)


@dataclass(frozen=True)
class RuntimeModel:
    """A network loaded in its runtime, without any preprocessing.

    Attributes:
        runtime: name and version.
        run: an array of `dtype` in the network's layout -> float32 [N, classes].
        shape: of the input; None where the file leaves a dimension open.
        dtype: of the input.
        scale, zero_point: an integer input q stands for scale x (q - zero_point).
        metadata: what cifarnet stored in the file; empty in a foreign one.
    """

    runtime: str
    run: Callable[[np.ndarray], np.ndarray]
    shape: tuple[int | None, ...]
    dtype: Any
    scale: float = 1.0
    zero_point: int = 0
    metadata: Metadata = field(default_factory=dict)


class Predictor:
    """The predict function of a network; see `Predict`.

    Attributes:
        runtime: name and version.
        size: side of the images, pixels.
        classes: number of classes.
        assumed: assumptions about a foreign file that `preprocessing` does not state, as texts.
        metadata: what cifarnet stored in the file; empty in a foreign one.
    """

    def __init__(
        self,
        model: RuntimeModel,
        batch_size: int = 500,
        preprocessing: Preprocessing | None = None,
    ) -> None:
        """Find the layout, and run the network on noise to find its outputs.

        Raises:
            ArtifactError: it does not take a batch of square RGB images, or fails on one.
        """
        stated = preprocessing or Preprocessing()
        self._model = model
        self.runtime = model.runtime
        self.metadata = model.metadata
        self.assumed: list[str] = []
        self._layout, self.size = _layout(model.shape, stated.layout)
        self._fixed_batch = model.shape[0]
        self._batch_size = self._fixed_batch or batch_size
        self._low, self._high = _RANGES[stated.input_range or "0-255"]
        self._mean = np.asarray(stated.mean or (0.0,) * 3, np.float32)
        self._std = np.asarray(stated.std or (1.0,) * 3, np.float32)
        self._logits = False
        outputs = np.concatenate(self._in_batches(_noise(self.size)))
        self.classes = outputs.shape[1]
        self._logits = not _are_probabilities(outputs) if stated.logits is None else stated.logits
        if not model.metadata:
            self._list_assumptions(stated)

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Return probabilities float32 [N, classes] of pixels uint8 [N, size, size, 3].

        Raises:
            ArtifactError: another shape or dtype, or the runtime fails.
        """
        expected = (self.size, self.size, 3)
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1:] != expected:
            raise ArtifactError(
                f"expected images uint8 [N, {self.size}, {self.size}, 3], received "
                f"{pixels.dtype} {list(pixels.shape)}"
            )
        empty = np.empty((0, self.classes), np.float32)
        return np.concatenate([empty, *self._in_batches(pixels)])

    def _in_batches(self, pixels: np.ndarray) -> list[np.ndarray]:
        starts = range(0, len(pixels), self._batch_size)
        return [self._outputs(pixels[i : i + self._batch_size]) for i in starts]

    def _outputs(self, pixels: np.ndarray) -> np.ndarray:
        count = len(pixels)
        inputs = self._inputs(pixels)
        missing = (self._fixed_batch or 0) - count
        if missing > 0:
            inputs = np.concatenate([inputs, np.repeat(inputs[-1:], missing, axis=0)])
        try:
            outputs = np.asarray(self._model.run(inputs), np.float32)[:count]
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
        dtype = self._model.dtype
        if dtype == np.uint8 and self._takes_raw_pixels():
            return self._in_layout(pixels)
        values = self._low + pixels.astype(np.float32) * ((self._high - self._low) / 255)
        values = (values - self._mean) / self._std
        if np.issubdtype(dtype, np.integer):
            limits = np.iinfo(dtype)
            values = np.rint(values / self._model.scale) + self._model.zero_point
            values = np.clip(values, limits.min, limits.max)
        return self._in_layout(values.astype(dtype))

    def _takes_raw_pixels(self) -> bool:
        unscaled = (self._model.scale, self._model.zero_point) == (1.0, 0)
        unchanged = not self._mean.any() and (self._std == 1).all()
        return bool(unscaled and unchanged and (self._low, self._high) == _RANGES["0-255"])

    def _in_layout(self, images: np.ndarray) -> np.ndarray:
        if self._layout == "nchw":
            images = images.transpose(0, 3, 1, 2)
        return np.ascontiguousarray(images)

    def _list_assumptions(self, stated: Preprocessing) -> None:
        if stated.input_range is None:
            self.assumed.append("pixels 0-255 (--input-range)")
        if stated.mean is None and stated.std is None:
            self.assumed.append("no mean and std (--mean, --std)")
        if stated.layout is None:
            self.assumed.append(f"layout {self._layout}, from the input's shape (--layout)")
        if stated.logits is None:
            found = "logits" if self._logits else "probabilities"
            self.assumed.append(f"{found} out, from its outputs (--logits)")


def read_metadata(text: str | bytes) -> Metadata:
    """Parse what cifarnet stored in a file: a JSON object whose `classes`, if any, are names.

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


def _layout(shape: tuple[int | None, ...], stated: Layout | None) -> tuple[Layout, int]:
    """Return the layout of an input of this shape, and the side of its images."""
    layouts: list[tuple[Layout, int, tuple[int, int]]] = [("nhwc", 3, (1, 2)), ("nchw", 1, (2, 3))]
    for layout, channels, sides in layouts:
        if len(shape) == 4 and shape[channels] == 3 and stated in (None, layout):
            height, width = (shape[i] for i in sides)
            if height is not None and height == width:
                return layout, height
    expected = "[N, S, S, 3] or [N, 3, S, S]" if stated is None else f"in layout {stated}"
    raise ArtifactError(
        f"expected a model of square RGB images {expected}, received input {list(shape)}"
    )


def _noise(size: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (4, size, size, 3), np.uint8)


def _are_probabilities(outputs: np.ndarray) -> bool:
    """Return whether rows are in [0, 1] and sum to 1 within the rounding of 8-bit outputs."""
    inside = (outputs >= 0).all() and (outputs <= 1).all()
    return bool(inside and np.allclose(outputs.sum(axis=1), 1, atol=0.03))


def _softmax(logits: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):  # a damaged network may give inf; the result is NaN then
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)
