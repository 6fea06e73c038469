"""Initial kernels that a config can name besides those of Keras: `whitening` and `dirac`."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from cifarnet.backend import keras, tf

# Patches of so many images fit into a processor's cache.
_BLOCK = 100


class Whitening(keras.initializers.Initializer):
    """Filters that whiten the patches a convolution sees; see `whitening_kernel`.

    Args:
        images: float32 [N, S, S, C], inputs of the convolution; None for a kernel of zeros.
    """

    def __init__(self, images: npt.NDArray[np.float32] | None) -> None:
        self._images = images

    def __call__(self, shape: tuple[int, ...], dtype: Any = None) -> tf.Tensor:
        """Return a kernel of `shape`, [size, size, C, 2 size^2 C].

        Raises:
            ValueError: another number of filters.
        """
        if self._images is None:
            return keras.ops.zeros(shape, dtype=dtype)
        size, *_, filters = shape
        kernel = whitening_kernel(self._images, size)
        if kernel.shape != tuple(shape):
            raise ValueError(
                f"whitening a {size} x {size} kernel gives {kernel.shape[-1]} filters, received "
                f"filters: {filters}"
            )
        return keras.ops.convert_to_tensor(kernel, dtype=dtype)


class Dirac(keras.initializers.VarianceScaling):
    """Identity filters for a convolution's input channels; the remaining filters are random.

    Jordan 2024, arXiv 2404.00498, section 3.3. The random filters are uniform with variance
    1 / (3 fan_in), PyTorch's default.
    """

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(scale=1 / 3, mode="fan_in", distribution="uniform", seed=seed)

    def __call__(self, shape: tuple[int, ...], dtype: Any = None) -> tf.Tensor:
        """Return a kernel of `shape`, [rows, columns, inputs, filters]."""
        kernel = np.array(super().__call__(shape, dtype))
        rows, columns, inputs, filters = shape
        identities = min(inputs, filters)
        kernel[..., :identities] = 0.0
        kernel[rows // 2, columns // 2, range(identities), range(identities)] = 1.0
        return keras.ops.convert_to_tensor(kernel)


def whitening_kernel(
    images: npt.NDArray[np.float32], size: int, epsilon: float = 5e-4
) -> npt.NDArray[np.float32]:
    """Compute filters that decorrelate image patches and scale them to unit variance.

    The eigenvectors of the patches' covariance, each divided by the square root of its eigenvalue
    plus `epsilon`: Page 2019, "How to Train Your ResNet 8". Their negatives follow, so that both
    signs pass a ReLU: Jordan 2024, arXiv 2404.00498, section 3.2, which also gives `epsilon`.

    Args:
        images: float32 [N, S, S, C], inputs of the convolution.
        size: side of the kernel, pixels.
        epsilon: bounds the filters of the smallest eigenvalues.

    Returns:
        float32 [size, size, C, 2 size^2 C], the largest eigenvalue first.
    """
    width = images.shape[1] - size + 1
    shifts = [(y, x) for y in range(size) for x in range(size)]
    covariance, count = 0.0, len(images) * width * width
    for start in range(0, len(images), _BLOCK):
        part = images[start : start + _BLOCK]
        patches = np.stack([part[:, y : y + width, x : x + width] for y, x in shifts], axis=3)
        patches = patches.reshape(-1, size * size * images.shape[3])
        covariance += (patches.T @ patches).astype(np.float64) / count
    values, vectors = np.linalg.eigh(covariance)
    filters = (vectors / np.sqrt(values + epsilon))[:, ::-1]
    filters = np.concatenate([filters, -filters], axis=1)
    return filters.reshape(size, size, images.shape[3], -1).astype(np.float32)
