"""The part of an evaluation on its stored images."""

from __future__ import annotations

from pydantic import Field

from cifarnet.runs.documents import Count, Part


class Sprite(Part):
    """The images of `<split>-images.webp`: the most confident ones of each cell of the matrix.

    Attributes:
        rows: of the images in the split, from left to right and from top to bottom; by true class,
            then by predicted class, then by falling confidence.
        columns: images per line.
        side: of each square image, pixels; larger ones are reduced.
    """

    rows: list[Count]
    columns: int = Field(ge=1, le=10_000)
    side: int = Field(ge=1, le=10_000)
