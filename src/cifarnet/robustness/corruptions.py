"""The 15 common corruptions of Hendrycks and Dietterich 2019, arXiv 1903.12261.

Parameters are those that CIFAR-10-C was made with (`create_c/make_cifar_c.py` of the authors'
repository), which are weaker than ImageNet-C's. They are meant for images of 32 x 32 pixels. The
noise is our own: the published files were made without a seed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from cifarnet.robustness import blur, digital, noise, weather
from cifarnet.robustness.streams import Generators, generators

SEVERITIES = (1, 2, 3, 4, 5)

# Each takes images float32 [N, S, S, 3], 0 to 1, parameters, and a generator per image.
_Corruption = Callable[[np.ndarray, Any, Generators], np.ndarray]

# By name: the function, and its parameters at severities 1 to 5.
_TABLE: dict[str, tuple[_Corruption, Sequence[Any]]] = {
    # Standard deviation.
    "gaussian_noise": (noise.gaussian, (0.04, 0.06, 0.08, 0.09, 0.10)),
    # Photons of a white pixel.
    "shot_noise": (noise.shot, (500, 250, 100, 75, 50)),
    # Share of values.
    "impulse_noise": (noise.impulse, (0.01, 0.02, 0.03, 0.05, 0.07)),
    # Radius of the disk; standard deviation that smooths it.
    "defocus_blur": (blur.defocus, ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1))),
    # Standard deviation; repetitions.
    "glass_blur": (blur.glass, ((0.05, 1), (0.25, 1), (0.4, 1), (0.25, 2), (0.4, 2))),
    # Radius; standard deviation.
    "motion_blur": (blur.motion, ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5))),
    # Number of zoom factors 1, 1.01, ... after the first.
    "zoom_blur": (blur.zoom, (6, 11, 15, 20, 25)),
    # Mean, standard deviation, zoom, threshold, radius and sigma of the blur, share of the image.
    "snow": (
        weather.snow,
        (
            (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
        ),
    ),
    # Shares of image and frost.
    "frost": (weather.frost, ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45))),
    # Share of the fog; decay from scale to scale.
    "fog": (weather.fog, ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75))),
    # Added to the value of HSV.
    "brightness": (digital.brightness, (0.05, 0.1, 0.15, 0.2, 0.3)),
    # Share of the deviation from the mean that stays.
    "contrast": (digital.contrast, (0.75, 0.5, 0.4, 0.3, 0.15)),
    # As shares of the side: displacement, its smoothness, shift of the corners.
    "elastic_transform": (
        digital.elastic,
        ((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)),
    ),
    # Share of the side.
    "pixelate": (digital.pixelate, (0.95, 0.9, 0.85, 0.75, 0.65)),
    # Quality.
    "jpeg_compression": (digital.jpeg, (80, 65, 58, 50, 40)),
}
CORRUPTIONS = tuple(_TABLE)


def corrupt(
    pixels: np.ndarray, name: str, severity: int, rows: np.ndarray, seed: int = 0
) -> np.ndarray:
    """Corrupt images.

    Args:
        pixels: uint8 [N, S, S, 3], RGB.
        name: one of `CORRUPTIONS`.
        severity: 1 to 5.
        rows: int [N], the images' rows in their split: with the seed, the name and the severity
            they determine the noise, whatever images are corrupted together.
        seed: of the noise.

    Returns:
        uint8 [N, S, S, 3]; values are rounded, where the published code cuts them off.
    """
    function, parameters = _TABLE[name]
    streams = generators(rows, (seed, CORRUPTIONS.index(name), severity))
    images = pixels.astype(np.float32) / 255
    corrupted = function(images, parameters[severity - 1], streams)
    return np.rint(np.clip(corrupted, 0, 1) * 255).astype(np.uint8)
