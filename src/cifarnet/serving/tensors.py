"""Pixels in requests: of numbers in JSON or raw bytes to an array, checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cifarnet.choices import MAX_REQUEST
from cifarnet.serving.refusals import Refused


def check_shape(shape: Any, size: int) -> int:
    """Check the shape that a request states; return its number of images.

    Raises:
        Refused: 400 for another shape than [N, size, size, 3]; 413 for too many images.
    """
    expected = f"[N, {size}, {size}, 3]"
    is_whole = isinstance(shape, list) and len(shape) == 4 and all(type(x) is int for x in shape)
    if not is_whole or shape[1:] != [size, size, 3] or shape[0] < 1:
        raise Refused(400, f"shape: expected {expected}, received {str(shape)[:100]}")
    _check_count(shape[0])
    return int(shape[0])


def _check_count(count: int) -> None:
    if count > MAX_REQUEST:
        raise Refused(413, f"expected at most {MAX_REQUEST:,} images, received {count:,}")


def of_bytes(content: bytes | memoryview, count: int, size: int) -> np.ndarray:
    """Return the pixels of raw bytes, uint8 [count, size, size, 3].

    Raises:
        Refused: 400 for another number of bytes.
    """
    expected = count * size * size * 3
    if len(content) != expected:
        raise Refused(400, f"expected {expected:,} bytes of pixels, received {len(content):,}")
    return np.frombuffer(content, np.uint8).reshape(count, size, size, 3)


def of_numbers(values: Any, size: int, count: int | None = None) -> np.ndarray:
    """Return the pixels of numbers in JSON, uint8 [N, size, size, 3].

    Args:
        values: nested lists; or one flat list, if `count` is given.
        size: side of the images, pixels.
        count: how many images there must be; None: any number.

    Raises:
        Refused: 400 for another shape, or values that are not whole numbers from 0 to 255.
    """
    try:
        # A type of fixed width: text among numbers would else make every element as long.
        numbers = np.asarray(values, np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        raise Refused(400, "expected a regular array of numbers") from error
    shape = (size, size, 3)
    if count is not None and numbers.shape == (count * size * size * 3,):
        numbers = numbers.reshape(count, *shape)
    is_shaped = numbers.ndim == 4 and numbers.shape[1:] == shape and len(numbers) > 0
    if not is_shaped or count not in (None, len(numbers)):
        wanted = [count or "N", *shape]
        raise Refused(400, f"expected numbers {_text(wanted)}, received {_text(numbers.shape)}")
    _check_count(len(numbers))
    with np.errstate(invalid="ignore"):
        pixels = numbers.astype(np.uint8)
    if not np.array_equal(pixels, numbers):
        raise Refused(400, "expected whole numbers from 0 to 255, the pixels as they are")
    return pixels


def _text(shape: Sequence[object]) -> str:
    return f"[{', '.join(map(str, shape))}]"
