"""The part of an evaluation on its stored images."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from cifarnet.runs.documents import Count, Part

MOST_MISTAKES, MOST_RIGHT = 10, 4  # of each cell of the matrix


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

    def surest(self, confusion_matrix: list[list[int]]) -> list[int]:
        """Return where the most confident right image of each class is.

        Args:
            confusion_matrix: of the evaluation.

        Returns:
            Places from 0, by class, without classes that have no right image; empty if only the
            images of the largest cells are stored.
        """
        matrix = np.array(confusion_matrix)
        most = np.where(np.eye(len(matrix), dtype=bool), MOST_RIGHT, MOST_MISTAKES)
        stored = np.minimum(matrix, most)
        if stored.sum() != len(self.rows):
            return []
        first = (np.cumsum(stored) - stored.ravel()).reshape(matrix.shape)
        return first.diagonal()[stored.diagonal() > 0].tolist()
