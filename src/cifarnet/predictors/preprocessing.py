"""What a network takes and gives: the range, layout and normalization of pixels, and the output."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np

from cifarnet.choices import InputRange, Layout, OutputKind
from cifarnet.errors import ConfigError

RANGES: dict[InputRange, tuple[float, float]] = {
    "0-255": (0.0, 255.0),
    "0-1": (0.0, 1.0),
    "-1-1": (-1.0, 1.0),
}
# Largest image that may be stated, pixels; at 500 images per batch memory ends before that.
MAX_SIDE = 1024


@dataclass(frozen=True)
class Preprocessing:
    """How raw pixels become a network's input, and what its output is.

    None stands for what the file says itself, or else for the default: pixels 0-255, no mean and
    std; the layout is found from the input's shape, logits or probabilities from the outputs.

    Attributes:
        input_range: what 0 and 255 become: `0-255`, `0-1` or `-1-1`.
        mean, std: per channel, in that range: subtracted, then divided by.
        layout: of the input, `nhwc` or `nchw`.
        output_kind: what it gives: `logits`, or `probabilities`, also of independent sigmoids.
        output_name: which output, for a network of several.
        image_size: side of the images, pixels, for a network that leaves it open.

    Raises:
        ConfigError: a value that is none of these.

    Example:
        cifarnet.Preprocessing("0-1", mean=(0.49, 0.48, 0.45), std=(0.25, 0.24, 0.26))
    """

    input_range: InputRange | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    layout: Layout | None = None
    output_kind: OutputKind | None = None
    output_name: str | None = None
    image_size: int | None = None

    def __post_init__(self) -> None:
        """Check the values; take any sequence of three numbers."""
        known = {"input_range": InputRange, "layout": Layout, "output_kind": OutputKind}
        for name, choices in known.items():
            value = getattr(self, name)
            if value is not None and value not in get_args(choices):
                expected = ", ".join(get_args(choices))
                raise ConfigError(f"{name}: expected one of {expected}; received {value!r}")
        for name in ("mean", "std"):
            values = getattr(self, name)
            if values is not None:
                object.__setattr__(self, name, _channels(name, values))
        if self.image_size is not None and not 1 <= self.image_size <= MAX_SIDE:
            raise ConfigError(
                f"image_size: expected 1 to {MAX_SIDE} pixels, received {self.image_size}"
            )

    @property
    def states_pixels(self) -> bool:
        """Whether it says anything of the values that pixels become."""
        return any(value is not None for value in (self.input_range, self.mean, self.std))

    def stated(self) -> dict[str, object]:
        """Return the values that are not None, by name."""
        values = {one.name: getattr(self, one.name) for one in dataclasses.fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    def over(self, other: Preprocessing) -> Preprocessing:
        """Return this one, with what it leaves open from `other`.

        Range, mean and std belong together, so all three are from the same.
        """
        values = other.stated()
        if self.states_pixels:
            for name in ("input_range", "mean", "std"):
                values.pop(name, None)
        return Preprocessing(**{**values, **self.stated()})  # type: ignore[arg-type]


def _channels(name: str, values: Sequence[float]) -> tuple[float, ...]:
    numbers = tuple(float(value) for value in values)
    zero = name == "std" and 0.0 in numbers
    if len(numbers) != 3 or zero or not np.isfinite(numbers).all():
        what = "three numbers that are not 0" if name == "std" else "three numbers"
        raise ConfigError(f"{name}: expected {what}, received {list(numbers)}")
    return numbers


def refuse_options(name: str, stated: Preprocessing | None) -> None:
    """Refuse statements about a file that states its input and output itself.

    Raises:
        ConfigError: `stated` says something.
    """
    said = {} if stated is None else stated.stated()
    if said:
        options = ", ".join(f"--{key.replace('_', '-')}" for key in said)
        raise ConfigError(
            f"{name} states its input and output itself; leave out {options}, which "
            f"{'is' if len(said) == 1 else 'are'} for files that cifarnet did not write"
        )


# Of `model.keras` of a run.
RUN_PREPROCESSING = Preprocessing("0-255", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "nhwc", "logits")
