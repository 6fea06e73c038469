"""What a `kind:` key chooses: augmentations and learning rate schedules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field, StrictFloat, StrictInt
from pydantic_core import PydanticCustomError

# Strict: `epochs: "3"` and `epochs: true` are mistakes, not numbers. An integer is a float, too.
Fraction = Annotated[StrictFloat, Field(ge=0.0, le=1.0)]
Positive = Annotated[StrictFloat, Field(gt=0.0)]


class Section(pydantic.BaseModel):
    """Keys with values; frozen, unknown keys refused."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @pydantic.model_validator(mode="before")
    @classmethod
    def _known_keys_only(cls, value: Any) -> Any:
        # Not left to `extra="forbid"`: the message needs the keys that are known here.
        if isinstance(value, Mapping):
            known = [*cls.model_fields]
            unknown = [key for key in value if key not in known]
            if unknown:
                raise PydanticCustomError("unknown_keys", "", {"keys": unknown, "known": known})
        return value


class Flip(Section):
    """Mirror left-right, each image with probability 1/2, anew every epoch."""

    kind: Literal["flip"]


class AlternatingFlip(Section):
    """Mirror a random half of the images in even epochs and the other half in odd ones.

    Jordan 2024, arXiv 2404.00498, section 3.6: two epochs show every image both ways.
    """

    kind: Literal["alternating_flip"]


class Crop(Section):
    """Shift by up to `pixels` in each direction, the border filled by reflection."""

    kind: Literal["crop"]
    pixels: StrictInt = Field(4, ge=1, le=16, description="largest shift, pixels")


class Rotate(Section):
    """Rotate about the centre by up to `degrees` either way."""

    kind: Literal["rotate"]
    degrees: StrictFloat = Field(10.0, gt=0.0, le=180.0)


class Scale(Section):
    """Zoom about the centre by a factor between 1 - fraction and 1 + fraction."""

    kind: Literal["scale"]
    fraction: StrictFloat = Field(0.1, gt=0.0, lt=1.0)


class Cutout(Section):
    """Replace a square wholly inside the image by the training set's mean colour.

    DeVries and Taylor 2017, arXiv 1708.04552.
    """

    kind: Literal["cutout"]
    size: StrictInt = Field(8, ge=1, le=32, description="side of the square, pixels")


class Brightness(Section):
    """Add up to +-`fraction` of the full range of 255."""

    kind: Literal["brightness"]
    fraction: StrictFloat = Field(0.2, gt=0.0, le=1.0)


class Contrast(Section):
    """Scale each image's distance from its own mean by 1 +- `fraction`."""

    kind: Literal["contrast"]
    fraction: StrictFloat = Field(0.2, gt=0.0, le=1.0)


Augmentation = Annotated[
    Flip | AlternatingFlip | Crop | Rotate | Scale | Cutout | Brightness | Contrast,
    Field(discriminator="kind"),
]


# --- schedules ------------------------------------------------------------------------


class _Schedule(Section):
    warmup_epochs: StrictFloat = Field(
        0.0, ge=0.0, description="epochs over which the rate first rises linearly from 0"
    )


class ConstantSchedule(_Schedule):
    """The same rate throughout."""

    kind: Literal["constant"]


class StepSchedule(_Schedule):
    """Multiply by `factor` at each of the epochs `at`."""

    kind: Literal["step"]
    at: tuple[Positive, ...] = Field(min_length=1, description="epochs")
    factor: StrictFloat = Field(0.1, gt=0.0, le=1.0)


class CosineSchedule(_Schedule):
    """Half a cosine from the peak to `end` times the peak.

    Loshchilov and Hutter 2017, arXiv 1608.03983, without restarts.
    """

    kind: Literal["cosine"]
    end: Fraction = Field(0.0, description="last rate, as a share of the peak")


class TriangleSchedule(_Schedule):
    """Linear from `start` to the peak at the share `peak_at` of training, then to `end`.

    The one-cycle policy of Smith 2018, arXiv 1803.09820, with straight sides.
    """

    kind: Literal["triangle"]
    start: Fraction = Field(0.2, description="first rate, as a share of the peak")
    peak_at: StrictFloat = Field(
        0.2, gt=0.0, lt=1.0, description="where the peak is, share of all steps"
    )
    end: Fraction = Field(0.0, description="last rate, as a share of the peak")


Schedule = Annotated[
    ConstantSchedule | StepSchedule | CosineSchedule | TriangleSchedule,
    Field(discriminator="kind"),
]
