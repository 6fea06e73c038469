"""Corruptions by digital processing: brightness, contrast, distortion, pixels, JPEG."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image

from cifarnet.robustness.streams import Generators


def brightness(images: np.ndarray, added: float, generators: Generators) -> np.ndarray:
    """Add to the value of hue, saturation and value; black becomes gray."""
    value = images.max(axis=3, keepdims=True)
    brighter = np.minimum(value + np.float32(added), 1)
    scaled = images * (brighter / np.maximum(value, np.finfo(np.float32).tiny))
    return np.where(value > 0, scaled, brighter)


def contrast(images: np.ndarray, share: float, generators: Generators) -> np.ndarray:
    """Scale each channel's deviation from its mean over the image."""
    means = images.mean(axis=(1, 2), keepdims=True)
    return means + np.float32(share) * (images - means)


def pixelate(images: np.ndarray, share: float, generators: Generators) -> np.ndarray:
    """Shrink to a share of the side and enlarge again, both with a box filter."""
    size = images.shape[1]
    small = int(size * share)

    def resize(image: Image.Image) -> Image.Image:
        shrunk = image.resize((small, small), Image.Resampling.BOX)
        return shrunk.resize((size, size), Image.Resampling.BOX)

    return _each(images, resize)


def jpeg(images: np.ndarray, quality: int, generators: Generators) -> np.ndarray:
    """Encode as JPEG and decode, with Pillow."""

    def encode(image: Image.Image) -> Image.Image:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality)
        return Image.open(file, formats=("JPEG",))

    return _each(images, encode)


def _each(images: np.ndarray, change: Callable[[Image.Image], Image.Image]) -> np.ndarray:
    pixels = np.rint(images * 255).astype(np.uint8)
    changed = [np.asarray(change(Image.fromarray(one))) for one in pixels]
    return np.stack(changed).astype(np.float32) / 255


def elastic(
    images: np.ndarray, parameters: tuple[float, float, float], generators: Generators
) -> np.ndarray:
    """Shift three corners of a square in the middle, then displace pixels by smooth noise.

    After Simard 2003. The image is interpolated twice, as in the published code.
    """
    from scipy import ndimage

    displacement, smoothness, shift = parameters
    count, size = images.shape[:2]
    corners, noise = np.empty((count, 3, 2)), np.empty((count, 2, size, size), np.float32)
    for n, generator in enumerate(generators):
        corners[n] = generator.uniform(-shift * size, shift * size, (3, 2))
        generator.random(out=noise[n], dtype=np.float32)
    y, x = np.indices((size, size), np.float32)
    shifted = _interpolate(images, *_affine(corners, size, y, x), mode="mirror")
    if displacement == 0:
        return shifted
    eye = np.eye(size, dtype=np.float32)
    smooth = ndimage.gaussian_filter1d(eye, smoothness * size, 0, mode="reflect", truncate=3)
    smoothed = smooth @ (2 * noise - 1) @ smooth.T
    dx, dy = (np.float32(displacement * size) * smoothed).transpose(1, 0, 2, 3)
    return _interpolate(shifted, y + dy, x + dx, mode="reflect")


def _affine(
    shifts: np.ndarray, size: int, y: np.ndarray, x: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return where the pixels of an image come from whose corners are shifted.

    Args:
        shifts: of three corners of the square, pixels [N, 3, 2], right and down.
        size: side of the image; the square's is two thirds of it.
        y, x: of the pixels.

    Returns:
        Down and right, float32 [N, S, S].
    """
    middle, reach = size // 2, size // 3
    corners = middle + reach * np.array([[1, 1], [1, -1], [-1, -1]])
    moved = np.concatenate([corners + shifts, np.ones((len(shifts), 3, 1))], axis=2)
    back = np.linalg.solve(moved, np.broadcast_to(corners, shifts.shape)).astype(np.float32)
    places = np.stack([x, y, np.ones_like(x)], axis=-1).reshape(-1, 3)
    right, down = (places @ back).transpose(2, 0, 1).reshape(2, -1, size, size)
    return down, right


def _interpolate(images: np.ndarray, y: np.ndarray, x: np.ndarray, mode: str) -> np.ndarray:
    """Interpolate linearly at y, x [N, S, S]; outside, the image is `mirror` or `reflect`ed."""
    count, size = images.shape[:2]
    top, left = np.floor(y), np.floor(x)
    dy, dx = (y - top)[..., None], (x - left)[..., None]
    rows = [_inside(top.astype(np.int32) + i, size, mode) * size for i in (0, 1)]
    columns = [_inside(left.astype(np.int32) + i, size, mode) for i in (0, 1)]
    first = (np.arange(count) * size * size)[:, None, None]
    pixels = images.reshape(-1, images.shape[3])
    upper, lower = (
        (1 - dx) * pixels[first + row + columns[0]] + dx * pixels[first + row + columns[1]]
        for row in rows
    )
    return (1 - dy) * upper + dy * lower


def _inside(places: np.ndarray, size: int, mode: str) -> np.ndarray:
    """Return the places inside that those outside repeat: edges once (mirror) or twice."""
    if mode == "mirror":
        folded = places % (2 * size - 2)
        return np.minimum(folded, 2 * size - 2 - folded)
    folded = places % (2 * size)
    return np.minimum(folded, 2 * size - 1 - folded)
