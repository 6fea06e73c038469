"""Find images that are equal, or nearly: one photograph, cut, mirrored, processed differently.

The rule is our own. Images are reduced to 32 x 32 RGB pixels by area and band-passed (Gaussians
of 1 and 2 pixels): what is left does not depend on brightness, and plain backgrounds leave nothing.
Two images are near duplicates if the correlation of what is left, the best over shifts of up to 4
of 32 pixels in both directions and mirroring, is at least `THRESHOLD`. To be compared that way, a
pair must correlate by `SHORTLIST` at 8 x 8 pixels without shifts (of each image at most the
`CANDIDATES` best of each orientation), and by `SIMILAR` at 16 x 16 pixels with shifts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import resources

import numpy as np

from cifarnet.data.images import images_per_batch
from cifarnet.data.stored_pixels import Pixels, blocks

THRESHOLD = 0.84
SIMILAR = 0.70
SHORTLIST = 0.65
CANDIDATES = 50
_COARSE, _MIDDLE, _FINE = 8, 16, 32  # pixels
_BLUR = {_COARSE: 1.5, _MIDDLE: 2.0, _FINE: 2.0}  # standard deviation of what is subtracted, pixels
_SMOOTHING = 1.0  # at 32 pixels, so that parts of a pixel of shift matter little
_MIN_CONTRAST = 1.0  # levels of 255: less is noise, not structure
_CHUNK = 512  # images or pairs at a time; of pairs, small enough for a processor's cache


@dataclass(frozen=True)
class Pairs:
    """Pairs of images, sorted by `first`, then `second`.

    Attributes:
        first, second: int64 [N], rows of the images; first < second.
        correlation: float32 [N], of the details; 1 for equal images.
        mirrored: bool [N], whether one is the mirror image of the other.
    """

    first: np.ndarray
    second: np.ndarray
    correlation: np.ndarray
    mirrored: np.ndarray

    @property
    def distance(self) -> np.ndarray:
        """1 - correlation, float32 [N]; 0 for equal images."""
        return np.clip(1 - self.correlation, 0, 2).astype(np.float32)


RULE = (
    f"near: correlation of details at {_FINE} x {_FINE} pixels at least {THRESHOLD}, with shifts "
    f"of up to {_FINE // 8} pixels and mirroring"
)


def one_color(pixels: Pixels) -> np.ndarray:
    """Return the rows of images whose pixels all have one color, int64.

    Args:
        pixels: uint8 [N, S, S, 3].
    """
    rows, size = [], _chunk(pixels)
    for start in range(0, len(pixels), size):
        chunk = pixels[start : start + size]
        plain = (chunk == chunk[:, :1, :1]).all(axis=(1, 2, 3))
        rows.append(start + np.flatnonzero(plain))
    return np.concatenate([np.empty(0, np.int64), *rows])


def exact(pixels: Pixels) -> tuple[np.ndarray, np.ndarray]:
    """Find images whose pixels are equal to those of an earlier image.

    Args:
        pixels: uint8 [N, S, S, 3].

    Returns:
        Rows of the first image of each group of equal ones, and of the others; int64 [n] both.
    """
    seen: dict[bytes, int] = {}
    pairs = []
    images = (image for block in blocks(pixels, _chunk(pixels)) for image in block)
    for row, image in enumerate(images):
        earlier = seen.setdefault(hashlib.sha256(np.ascontiguousarray(image).data).digest(), row)
        if earlier != row:
            pairs.append((earlier, row))
    found = np.array(pairs, np.int64).reshape(-1, 2)
    return found[:, 0], found[:, 1]


def find(
    pixels: Pixels,
    threshold: float = THRESHOLD,
    block: int = 500,
    on_share: Callable[[float], None] | None = None,
) -> Pairs:
    """Find all pairs of near duplicates, equal images included.

    Memory is about 4 kB per image, and `block` x N x 8 bytes.

    Args:
        pixels: uint8 [N, S, S, 3].
        threshold: least correlation.
        block: rows compared with all others at a time; does not change the result.
        on_share: called with the share of the pairs that is done, 0 to 1, before each block.
    """
    middle, coarse = _details(pixels)
    empty = np.empty(0, np.int64)
    parts = [(empty, empty, np.empty(0, np.float32), np.empty(0, bool))]
    for start in range(0, len(pixels), block):
        if on_share is not None:
            on_share(1 - (1 - start / len(pixels)) ** 2)  # rows are compared with later ones
        for mirrored in (False, True):
            for first, second in _shortlist(coarse, slice(start, start + block), mirrored):
                similar = _correlation(middle[first], middle[second], mirrored) >= SIMILAR
                first, second = first[similar], second[similar]
                one, other = _fine(pixels, first), _fine(pixels, second)
                value = _correlation(one, other, mirrored)
                good = value >= threshold
                flags = np.full(int(good.sum()), mirrored)
                parts.append((first[good], second[good], value[good], flags))
    return _better_orientation(*(np.concatenate(one) for one in zip(*parts, strict=True)))


def _better_orientation(
    first: np.ndarray, second: np.ndarray, value: np.ndarray, mirrored: np.ndarray
) -> Pairs:
    """Sort pairs; of one that is found in both orientations, keep the better one."""
    order = np.lexsort((mirrored, -value, second, first))
    first, second, value, mirrored = (x[order] for x in (first, second, value, mirrored))
    new = np.ones(len(first), bool)
    new[1:] = (first[1:] != first[:-1]) | (second[1:] != second[:-1])
    return Pairs(first[new], second[new], value[new], mirrored[new])


def _details(pixels: Pixels) -> tuple[np.ndarray, np.ndarray]:
    """Return details, float32 [N, 16, 16, 3], and unit vectors of coarse ones, [N, 8, 8, 3]."""
    middle = np.empty((len(pixels), _MIDDLE, _MIDDLE, 3), np.float32)
    coarse = np.empty((len(pixels), _COARSE, _COARSE, 3), np.float32)
    size = _chunk(pixels)
    for start in range(0, len(pixels), size):
        rows = slice(start, start + size)
        small = _reduced(pixels[rows], _MIDDLE)
        middle[rows] = _without_coarse(small)
        half = small.reshape(len(small), _COARSE, 2, _COARSE, 2, 3).mean(axis=(2, 4))
        found = _without_coarse(half)
        coarse[rows] = found / _norm(np.square(found).sum((1, 2, 3), keepdims=True), _COARSE**2)
    return middle, coarse


def _fine(pixels: Pixels, rows: np.ndarray) -> np.ndarray:
    """Return details of some images at 32 x 32 pixels, float32 [n, 32, 32, 3]."""
    small = np.empty((len(rows), _FINE, _FINE, 3), np.float32)
    size = _chunk(pixels)
    for start in range(0, len(rows), size):
        some = slice(start, start + size)
        small[some] = _reduced(pixels[rows[some]], _FINE)
    return _without_coarse(_blurred(small, _SMOOTHING))


def _chunk(pixels: Pixels) -> int:
    return images_per_batch(pixels.shape[1], _CHUNK)


def _reduced(pixels: np.ndarray, side: int) -> np.ndarray:
    """Reduce images to `side` x `side` pixels by area, float32."""
    size = pixels.shape[1]
    if size == side:
        return pixels.astype(np.float32)
    edges = np.arange(side + 1) * size / side
    low = np.maximum(edges[:-1, None], np.arange(size))
    high = np.minimum(edges[1:, None], np.arange(size) + 1)
    weights = (np.clip(high - low, 0, None) * side / size).astype(np.float32)
    rows = np.einsum("ih,nhwc->niwc", weights, pixels.astype(np.float32), optimize=True)
    return np.einsum("jw,niwc->nijc", weights, rows, optimize=True)


def _blurred(images: np.ndarray, sigma: float) -> np.ndarray:
    from scipy import ndimage

    return ndimage.gaussian_filter(images, (0, sigma, sigma, 0), mode="nearest")


def _without_coarse(images: np.ndarray) -> np.ndarray:
    return images - _blurred(images, _BLUR[images.shape[1]])


def _norm(energy: np.ndarray, pixels: int) -> np.ndarray:
    """Return the norm of details by the sum of their squares, at least that of noise."""
    return np.sqrt(np.maximum(energy, 3 * pixels * _MIN_CONTRAST**2))


def _shortlist(
    coarse: np.ndarray, rows: slice, mirrored: bool
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield candidates: rows of `rows`, and later rows whose coarse details correlate with them."""
    start, width = rows.start, int(np.prod(coarse.shape[1:]))
    some = (coarse[rows, :, ::-1] if mirrored else coarse[rows]).reshape(-1, width)
    similar = some @ coarse[start:].reshape(-1, width).T
    first, second = np.nonzero(similar >= SHORTLIST)
    later = second > first
    first, second = first[later], second[later]
    # The best candidates of each row; a stable order makes ties independent of the block.
    order = np.lexsort((second, -similar[first, second], first))
    first, second = first[order], second[order]
    begins = np.searchsorted(first, np.arange(len(some)))
    chosen = np.arange(len(first)) - begins[first] < CANDIDATES
    first, second = first[chosen] + start, second[chosen] + start
    for at in range(0, len(first), _CHUNK):
        yield first[at : at + _CHUNK], second[at : at + _CHUNK]


def _correlation(one: np.ndarray, other: np.ndarray, mirrored: bool) -> np.ndarray:
    """Return the highest correlation of details over shifts, of what overlaps; float32 [n].

    Args:
        one, other: details, float32 [n, side, side, 3].
        mirrored: compare with the mirror image.
    """
    side = one.shape[1]
    if mirrored:
        one = one[:, :, ::-1]
    best = np.full(len(one), -1, np.float32)
    energies = [np.square(x).sum(axis=3) for x in (one, other)]
    shifts = range(-side // 8, side // 8 + 1)
    for down in shifts:
        for right in shifts:
            a = (slice(None), _overlap(down, side), _overlap(right, side))
            b = (slice(None), _overlap(-down, side), _overlap(-right, side))
            count = (side - abs(down)) * (side - abs(right))
            norm = _norm(energies[0][a].sum((1, 2)), count)
            norm *= _norm(energies[1][b].sum((1, 2)), count)
            product = np.einsum("nhwc,nhwc->n", one[a], other[b])
            np.maximum(best, product / norm, out=best)
    return best


def _overlap(shift: int, side: int) -> slice:
    return slice(max(0, shift), side + min(0, shift))


def cifar10_test() -> np.ndarray:
    """Return the rows of CIFAR-10's test images that have near duplicates in training, int64.

    `find` gave them, on all 60,000 images with the pinned digests.
    """
    listed = resources.files("cifarnet.data").joinpath("cifar10_near_duplicates.csv")
    lines = listed.read_text(encoding="utf-8").splitlines()[1:]
    return np.array([int(line.split(",")[0]) for line in lines], np.int64)
