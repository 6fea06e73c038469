"""A network of any format, with its preprocessing, as one function."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from cifarnet.choices import OutputKind
from cifarnet.data import Pixels, images_per_batch
from cifarnet.errors import ArtifactError
from cifarnet.predictors import inputs, outputs
from cifarnet.predictors.preprocessing import (
    RANGES,
    RUN_PREPROCESSING,
    Preprocessing,
    refuse_options,
)

# uint8 [N, S, S, 3], RGB, 0-255 -> float32 [N, classes], probabilities
Predict = Callable[[Pixels], np.ndarray]

# What cifarnet stores inside an artifact: a JSON object with `classes`, `output`, `run` and more.
Metadata = dict[str, Any]

# Limit for a model file, and for what is unpacked from it.
MAX_BYTES = 1_000_000_000


@dataclass(frozen=True)
class RuntimeModel:
    """A network loaded in its runtime, without any preprocessing.

    Attributes:
        runtime: name and version.
        run: an array of `dtype` in the network's layout -> its output, floats of [N, classes].
        shape: of the input; None where the file leaves a dimension open.
        dtype: of the input.
        scale, zero_point: an integer input q stands for scale x (q - zero_point).
        output_step: to whose multiples outputs are rounded; 0 if the file does not say it.
        metadata: what cifarnet stored in the file; empty in a foreign one.
        states: what a foreign file says itself of its input.
        classes: names that a foreign file has for its classes.
        network: the `keras.Model` of a Keras file, which has gradients; None of other files.
    """

    runtime: str
    run: Callable[[np.ndarray], np.ndarray]
    shape: inputs.Shape
    dtype: Any
    scale: float = 1.0
    zero_point: int = 0
    output_step: float = 0.0
    metadata: Metadata = field(default_factory=dict)
    states: Preprocessing = field(default_factory=Preprocessing)
    classes: tuple[str, ...] = ()
    network: Any = None


class Predictor:
    """The predict function of a network; see `Predict`.

    Attributes:
        runtime: name and version.
        size: side of the images, pixels.
        classes: number of classes.
        class_names: as the file says them; None if it does not.
        assumed: assumptions about a foreign file that neither it nor `preprocessing` states, as
            texts that name the option to state it with.
        metadata: what cifarnet stored in the file; empty in a foreign one.
        network: the `keras.Model` of a Keras file; None of other files. See `gradients`.
        inputs: raw pixels to the values that the network takes.
        output_kind: what the network gives.
        fixed_batch: how many images the network takes per call; None: any number.
    """

    def __init__(
        self,
        model: RuntimeModel,
        batch_size: int = 500,
        preprocessing: Preprocessing | None = None,
    ) -> None:
        """Find the layout, and run the network on a few images to find its outputs.

        Raises:
            ArtifactError: it does not take a batch of square RGB images, or fails on one.
            ConfigError: preprocessing is stated for a file of cifarnet, which has its own.
        """
        self._model = model
        self.runtime = model.runtime
        self.metadata = model.metadata
        self.network = model.network
        self.assumed: list[str] = []
        said = self._said(preprocessing or Preprocessing())
        layout, self.size = inputs.find_layout(model.shape, said)
        self.inputs = inputs.Inputs(layout, said, model.dtype, model.scale, model.zero_point)
        if said.layout is None:
            self.assumed.append(f"layout {layout}, from the input's shape (--layout)")
        self.fixed_batch = model.shape[0]
        self._batch_size = self.fixed_batch or images_per_batch(self.size, batch_size)
        rows = self._probe()
        found, text = outputs.kind_of(rows, model.output_step)
        self.output_kind = said.output_kind or found
        if said.output_kind is None:
            self.assumed.append(f"{text} (--output-kind)")
        self.classes = outputs.to_probabilities(rows, self.output_kind).shape[1]
        self.class_names = self._class_names()

    @property
    def test_fraction(self) -> float | None:
        """Share of a folder's images that the training held out, if the file says it."""
        about = self.metadata.get("data", {})
        fraction = about.get("test_fraction") if isinstance(about, dict) else None
        return float(fraction) if isinstance(fraction, float) else None

    def __call__(self, pixels: Pixels) -> np.ndarray:
        """Return probabilities float32 [N, classes] of pixels uint8 [N, size, size, 3].

        Raises:
            ArtifactError: another shape or dtype, or the runtime fails.
        """
        expected = (self.size, self.size, 3)
        if pixels.dtype != np.uint8 or len(pixels.shape) != 4 or pixels.shape[1:] != expected:
            raise ArtifactError(
                f"expected images uint8 [N, {self.size}, {self.size}, 3], received "
                f"{pixels.dtype} {list(pixels.shape)}"
            )
        if len(pixels) == 0:
            return np.empty((0, self.classes), np.float32)
        return outputs.to_probabilities(self._in_batches(pixels), self.output_kind)

    def _said(self, stated: Preprocessing) -> Preprocessing:
        """Return what is known of input and output, and list what is assumed of the pixels."""
        model = self._model
        if model.metadata:
            own = replace(RUN_PREPROCESSING, output_kind=_output_kind(model.metadata))
            if stated != own:
                refuse_options("the file", stated)
            return own
        said = stated.over(model.states)
        limits = inputs.represented(model.dtype, model.scale, model.zero_point)
        found = None if said.states_pixels else inputs.range_of(limits)
        if found is not None:
            if limits != RANGES["0-255"]:
                text = f"pixels {found}, from the input's quantization (--input-range)"
                self.assumed.append(text)
            return replace(said, input_range=found)
        if said.input_range is None:
            covers = "" if limits is None else f", but its input is for {_interval(limits)}"
            self.assumed.append(f"pixels 0-255{covers} (--input-range)")
        if said.mean is None and said.std is None:
            self.assumed.append("no mean and std (--mean, --std)")
        return said

    def _probe(self) -> np.ndarray:
        """Return the outputs of a few images; find out whether it takes more than one at once."""
        images = inputs.probe(self.size)
        try:
            return self._in_batches(images)
        except ArtifactError:
            if self.fixed_batch is not None:
                raise
            self.fixed_batch = self._batch_size = 1
            try:
                rows = self._in_batches(images)
            except ArtifactError:
                self.fixed_batch = None
            else:
                self.assumed.append("one image at a time, since it fails on several")
                return rows
            raise

    def _class_names(self) -> list[str] | None:
        """Return the file's class names.

        Raises:
            ArtifactError: a file of cifarnet has another number of them than its network.
        """
        names = list(self.metadata.get("classes", self._model.classes))
        if not names or len(names) == self.classes:
            return names or None
        if self.metadata:
            raise ArtifactError(
                f"its metadata has {len(names)} classes, but the network gives {self.classes}"
            )
        self.assumed.append(f"its {len(names)} labels are not of its {self.classes} classes")
        return None

    def _in_batches(self, pixels: Pixels) -> np.ndarray:
        starts = range(0, len(pixels), self._batch_size)
        return np.concatenate([self._rows(pixels[i : i + self._batch_size]) for i in starts])

    def _rows(self, pixels: np.ndarray) -> np.ndarray:
        """Return the network's outputs of one batch, float32 [N, K]."""
        count = len(pixels)
        batch = self.inputs(pixels)
        missing = (self.fixed_batch or 0) - count
        if missing > 0:
            batch = np.concatenate([batch, np.repeat(batch[-1:], missing, axis=0)])
        try:
            values = np.asarray(self._model.run(batch))
        except Exception as error:  # each runtime raises its own
            text = " ".join(str(error).split())
            raise ArtifactError(f"{self.runtime} failed: {text[:300]}") from error
        return outputs.as_rows(values, len(batch))[:count]


def read_metadata(text: str | bytes) -> Metadata:
    """Parse what cifarnet stored in a file: a JSON object.

    Raises:
        ArtifactError: anything else, or `classes` that are not names, or an unknown `output`.
    """
    try:
        found = json.loads(text)
        classes = found.get("classes", [])
        if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
            raise ValueError("its `classes` are not a list of names")
        _output_kind(found)
    except (ValueError, AttributeError, RecursionError) as error:
        raise ArtifactError(f"its metadata cannot be read: {error}") from error
    return dict(found)


def _interval(limits: tuple[float, float]) -> str:
    return f"{limits[0]:.3g} to {limits[1]:.3g}"


def _output_kind(metadata: Metadata) -> OutputKind:
    """Return what a file of cifarnet gives, by the first word of `output.what`."""
    what = str(metadata.get("output", {}).get("what", "probabilities"))
    if what.startswith("logits"):
        return "logits"
    if what.startswith("probabilities"):
        return "probabilities"
    raise ValueError(f"its `output` is unknown: {what[:100]}")
