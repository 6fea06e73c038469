"""Heat maps of networks whose reasons are known, and against computations by hand."""

import keras
import numpy as np
import pytest
from scipy import signal

from cifarnet.errors import ArtifactError
from cifarnet.explanations import maps
from cifarnet.predictors import keras_file
from cifarnet.predictors.gradients import Differentiable

COLOR = (100.0, 120.0, 140.0)
METHODS = ["occlusion", "layercam", "gradcam", "integrated"]


def images(count: int, size: int = 32) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (count, size, size, 3), np.uint8)


def explainer(method: str, model: keras.Model, color=COLOR) -> maps.Explainer:
    predictor = keras_file.from_model(model)
    if method == "occlusion":
        return maps.occlusion(predictor, color)
    return maps.of_gradients(method, Differentiable(predictor), color)


def network(*layers: keras.Layer, size: int = 32) -> keras.Model:
    pixels = keras.Input((size, size, 3))
    tensor = pixels
    for layer in layers:
        tensor = layer(tensor)
    return keras.Model(pixels, tensor)


def convolution(filters: int, size: int) -> keras.layers.Conv2D:
    return keras.layers.Conv2D(filters, size, padding="same", kernel_initializer="zeros")


# --- where the reason is known --------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_the_highest_value_is_where_the_only_object_is(method):
    """A red square on black; class 1 is the mean of red over the image."""
    red = convolution(2, 1)
    head = keras.layers.Dense(2)
    model = network(red, keras.layers.GlobalAveragePooling2D(), head)
    kernel = np.zeros((1, 1, 3, 2), np.float32)
    kernel[0, 0, 0, 0] = 1 / 255
    red.set_weights([kernel, np.zeros(2)])
    head.set_weights([np.float32([[0, 30], [0, 0]]), np.float32([0, -1])])
    image = np.zeros((1, 32, 32, 3), np.uint8)
    image[0, 8:16, 16:24, 0] = 255
    (found,) = explainer(method, model, (0, 0, 0))(image, np.array([1]))
    row, column = np.unravel_index(found.argmax(), found.shape)
    assert 8 <= row < 16 and 16 <= column < 24
    assert found[8:16, 16:24].sum() > 0.6 * np.maximum(found, 0).sum()


@pytest.mark.parametrize("method", ["occlusion", "layercam", "integrated"])
def test_a_network_that_looks_at_one_block_depends_on_that_block(method):
    """Every pixel of the image differs from the color, but only a block's have weights."""
    same, head = convolution(3, 1), keras.layers.Dense(2)
    model = network(same, keras.layers.Flatten(), head)
    same.set_weights([np.eye(3, dtype=np.float32)[None, None] / 255, np.zeros(3)])
    weights = np.zeros((32, 32, 3, 2), np.float32)
    weights[8:16, 16:24] = [-0.05, 0.05]
    head.set_weights([weights.reshape(-1, 2), np.zeros(2)])
    found = explainer(method, model, (0, 0, 0))(images(3) // 2 + 100, np.array([1, 1, 1]))
    for one in found:
        row, column = np.unravel_index(one.argmax(), one.shape)
        assert 8 <= row < 16 and 16 <= column < 24
        outside = one.copy()
        outside[4:20, 12:28] = 0  # the squares of occlusion reach beyond the block
        assert np.abs(outside).max() < 1e-6
    # For the other class the block is evidence against it; class activation maps show none.
    against = explainer(method, model, (0, 0, 0))(images(3) // 2 + 100, np.array([0, 0, 0]))
    assert against[:, 8:16, 16:24].max() < 0 or method == "layercam"


# --- against other computations -------------------------------------------------------


def test_occlusion_is_the_mean_fall_over_the_squares_that_cover_a_pixel():
    weights = np.random.default_rng(0).normal(0, 0.002, (32 * 32 * 3, 4))

    def predict(pixels: np.ndarray) -> np.ndarray:
        logits = np.exp(pixels.reshape(len(pixels), -1).astype(float) @ weights)
        return (logits / logits.sum(axis=1, keepdims=True)).astype(np.float32)

    pixels, classes = images(12), np.arange(12) % 4
    found = maps.occlusion(predict, COLOR)(pixels, classes)
    for image, of_class, one in zip(pixels, classes, found, strict=True):
        before = np.log(predict(image[None])[0, of_class] + 1 / 512)
        total, covered = np.zeros((32, 32)), np.zeros((32, 32))
        for top in range(0, 25, 4):
            for left in range(0, 25, 4):
                copy = image.copy()
                copy[top : top + 8, left : left + 8] = COLOR
                fall = before - np.log(predict(copy[None])[0, of_class] + 1 / 512)
                total[top : top + 8, left : left + 8] += fall
                covered[top : top + 8, left : left + 8] += 1
        np.testing.assert_allclose(one, total / covered, atol=1e-5)


@pytest.mark.parametrize("size", [3, 7, 8, 28, 33, 64])
def test_squares_cover_images_of_every_size(size):
    found = maps.occlusion(lambda x: np.full((len(x), 2), 0.5, np.float32), COLOR)
    assert not found(images(2, size), np.array([0, 1])).any()  # 0 / 0 would be NaN


def test_class_activation_maps_are_those_of_numpy():
    """Logits are linear in the convolution's output, so that the gradients are the weights."""
    random = np.random.default_rng(5)
    kernel = random.normal(0, 0.01, (3, 3, 3, 4)).astype(np.float32)
    dense = random.normal(0, 0.1, (8, 8, 4, 5)).astype(np.float32)
    inner, head = convolution(4, 3), keras.layers.Dense(5)
    model = network(inner, keras.layers.Flatten(), head, size=8)
    inner.set_weights([kernel, np.float32([0.1, -0.2, 0.3, 0.0])])
    head.set_weights([dense.reshape(-1, 5), np.zeros(5)])
    pixels, of_class = images(1, 8), 3
    output = np.stack(
        [
            sum(
                signal.correlate2d(pixels[0, :, :, c].astype(float), kernel[:, :, c, k], "same")
                for c in range(3)
            )
            for k in range(4)
        ],
        axis=-1,
    )
    output += np.array([0.1, -0.2, 0.3, 0.0])
    gradients = dense[..., of_class]
    expected = {
        "gradcam": (output * gradients.mean(axis=(0, 1))).sum(axis=-1),
        "layercam": (output * np.maximum(gradients, 0)).sum(axis=-1),
    }
    for method, values in expected.items():
        (found,) = explainer(method, model)(pixels, np.array([of_class]))
        np.testing.assert_allclose(found, np.maximum(values, 0), rtol=1e-4, atol=1e-4)


def test_integrated_gradients_sum_to_the_difference_of_the_logits():
    keras.utils.set_random_seed(4)
    model = network(
        keras.layers.Rescaling(1 / 64),
        keras.layers.Conv2D(8, 3, activation="gelu"),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(4),
    )
    pixels, classes = images(5), np.array([0, 1, 2, 3, 0])
    pixels[:, :, :16] //= 2
    found = explainer("integrated", model)(pixels, classes)
    blank = np.broadcast_to(np.float32(COLOR), (1, 32, 32, 3))
    difference = np.asarray(model(pixels.astype(np.float32)) - model(blank))
    expected = difference[np.arange(5), classes]
    np.testing.assert_allclose(found.sum(axis=(1, 2)), expected, rtol=0.01)


@pytest.mark.parametrize("method", ["layercam", "gradcam"])
def test_a_network_without_convolution_has_no_activation_map(method):
    model = network(keras.layers.Flatten(), keras.layers.Dense(2))
    with pytest.raises(ArtifactError, match=r"no convolution.*use the method occlusion"):
        explainer(method, model)
