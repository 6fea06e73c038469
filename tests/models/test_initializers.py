"""Initial kernels of convolutions: whitening and Dirac."""

import numpy as np
import pytest
import tensorflow as tf

from cifarnet.models import initializers


def test_whitening_makes_patches_uncorrelated_and_of_unit_variance():
    random = np.random.default_rng(0)
    mixed = random.normal(size=(50, 16, 16, 3)) @ random.normal(size=(3, 3))
    kernel = initializers.whitening_kernel(mixed.astype(np.float32), 2, epsilon=0.0)
    assert kernel.shape == (2, 2, 3, 24)
    outputs = np.asarray(tf.nn.conv2d(mixed.astype(np.float32), kernel, 1, "VALID"))
    half = outputs[..., :12].reshape(-1, 12)
    np.testing.assert_allclose(half.T @ half / len(half), np.eye(12), atol=2e-3)
    np.testing.assert_allclose(outputs[..., 12:], -outputs[..., :12], atol=1e-4)


def test_whitening_holds_small_components_down_by_epsilon():
    images = np.zeros((4, 8, 8, 1), np.float32)
    images[..., 0] = np.random.default_rng(0).normal(0, 0.01, (4, 8, 8))
    kernel = initializers.whitening_kernel(images, 1, epsilon=5e-4)
    variance = float((images**2).mean())
    assert abs(kernel[0, 0, 0, 0]) == pytest.approx(1 / np.sqrt(variance + 5e-4), rel=1e-5)


@pytest.mark.parametrize(("inputs", "filters"), [(3, 5), (5, 3), (4, 4)])
def test_dirac_passes_the_inputs_on(inputs, filters):
    kernel = np.asarray(initializers.Dirac(seed=0)((3, 3, inputs, filters)))
    images = tf.random.stateless_normal([2, 6, 6, inputs], [0, 0])
    outputs = tf.nn.conv2d(images, kernel, 1, "SAME")
    passed = min(inputs, filters)
    np.testing.assert_allclose(outputs[..., :passed], images[..., :passed], atol=1e-6)
    # PyTorch draws from +-1 / sqrt(fan_in).
    rest = kernel[..., passed:]
    if rest.size:
        bound = 1 / np.sqrt(9 * inputs)
        assert 0.8 * bound < np.abs(rest).max() <= bound
