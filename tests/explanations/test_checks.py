"""The checks of methods, on curves and methods whose results are known."""

import keras
import numpy as np
import pytest
from scipy import ndimage

from cifarnet.explanations import checks, maps
from cifarnet.predictors import keras_file
from cifarnet.predictors.gradients import Differentiable
from cifarnet.runs.explanations import Gain, RandomizedWeights

WHITE = np.full((2, 8, 8, 3), 255, np.uint8)
BLACK = np.zeros((8, 8, 3), np.uint8)
CLASSES = np.array([1, 1])


def left_half(pixels: np.ndarray) -> np.ndarray:
    """The probability of class 1 is the share of white pixels in the left half."""
    share = (pixels[:, :, :4, 0] == 255).mean(axis=(1, 2), dtype=np.float32)
    return np.stack([1 - share, share], axis=1)


def whole(pixels: np.ndarray) -> np.ndarray:
    share = (pixels[..., 0] == 255).mean(axis=(1, 2), dtype=np.float32)
    return np.stack([1 - share, share], axis=1)


def test_areas_of_a_perfect_an_inverted_and_an_even_map():
    left = np.zeros((2, 8, 8), np.float32)
    left[:, :, :4] = np.random.default_rng(0).random((2, 8, 4)) + 1
    # Deleted left first, the probability falls from 1 to 0 over half of the pixels: an area of 1/4.
    deletion, insertion = checks.areas(left_half, left, WHITE, CLASSES, BLACK)
    assert deletion == pytest.approx([0.25, 0.25])
    assert insertion == pytest.approx([0.75, 0.75])
    deletion, insertion = checks.areas(left_half, -left, WHITE, CLASSES, BLACK)
    assert deletion == pytest.approx([0.75, 0.75])
    assert insertion == pytest.approx([0.25, 0.25])
    # Every order deletes as many pixels.
    deletion, insertion = checks.areas(whole, left, WHITE, CLASSES, BLACK)
    assert deletion == pytest.approx([0.5, 0.5])
    assert insertion == pytest.approx([0.5, 0.5])


def test_equal_values_are_in_random_order_not_from_the_top():
    flat = np.zeros((2, 8, 8), np.float32)
    deletion, _ = checks.areas(left_half, flat, WHITE, CLASSES, BLACK)
    assert deletion == pytest.approx([0.5, 0.5], abs=0.1)

    def upper_half(pixels: np.ndarray) -> np.ndarray:
        return left_half(pixels.transpose(0, 2, 1, 3))

    deletion, _ = checks.areas(upper_half, flat, WHITE, CLASSES, BLACK)
    assert deletion == pytest.approx([0.5, 0.5], abs=0.1)


def test_gains_are_means_of_differences_by_hand():
    own = np.array([0.1, 0.2, 0.3, 0.2]), np.array([0.9, 0.8, 0.7, 0.8])
    reference = np.array([0.3, 0.3, 0.5, 0.5]), np.array([0.5, 0.6, 0.6, 0.5])
    found = checks.gain("edges", own, reference)
    assert found.deletion == pytest.approx(0.2)  # of .2, .1, .2, .3
    assert found.insertion == pytest.approx(0.25)  # of .4, .2, .1, .3
    assert 0.1 <= found.deletion_interval[0] < 0.2 < found.deletion_interval[1] <= 0.3
    assert 0.1 <= found.insertion_interval[0] < 0.25 < found.insertion_interval[1] <= 0.4


def test_the_references_are_what_they_are_called():
    pixels = np.zeros((2, 32, 32, 3), np.uint8)
    pixels[:, :, 16:] = 200
    blob, edges, random = (
        make(pixels) for make in (checks.centered_blob, checks.edges, checks.random_maps)
    )
    assert np.unravel_index(blob[0].argmax(), (32, 32)) in [(15, 15), (15, 16), (16, 15), (16, 16)]
    # A Gaussian of 8 pixels: exp(-1/2) of it 8 pixels from the middle.
    assert blob[0, 8, 16] / blob[0, 16, 16] == pytest.approx(np.exp(-(7.5**2 - 0.5**2) / 128))
    assert set(edges.argmax(axis=2).ravel()) <= {15, 16}
    assert edges[0, 5, 0] == pytest.approx(0, abs=1e-3)
    assert not np.array_equal(random[0], random[1])
    assert abs(np.corrcoef(random[0].ravel(), blob[0].ravel())[0, 1]) < 0.3
    np.testing.assert_array_equal(random, checks.random_maps(pixels))


# --- verdicts -------------------------------------------------------------------------


def gains(*lows_and_highs: tuple[float, float]) -> list[Gain]:
    return [
        Gain(
            over=name,
            deletion=(low + high) / 2,
            deletion_interval=[low, high],
            insertion=0.2,
            insertion_interval=[low + 0.01, high + 0.01],
        )
        for name, (low, high) in zip(checks.REFERENCES, lows_and_highs, strict=True)
    ]


def stage(correlation: float) -> RandomizedWeights:
    interval = [correlation - 0.05, correlation + 0.05]
    return RandomizedWeights(down_to="conv2d/kernel", correlation=correlation, interval=interval)


@pytest.mark.parametrize(
    ("intervals", "last", "expected"),
    [
        (((0.1, 0.2),) * 3, 0.1, "better than random maps, a centered blob and edges"),
        (
            ((0.1, 0.2), (-0.1, 0.1), (0.1, 0.2)),
            None,
            "better than random maps and edges; not shown to be better than a centered blob",
        ),
        (
            ((-0.1, 0.1), (-0.2, -0.1), (0.1, 0.2)),
            0.9,
            "not shown to be better than random maps; worse than a centered blob; better than "
            "edges; hardly dependent on the weights",
        ),
    ],
)
def test_a_verdict_says_what_the_intervals_show(intervals, last, expected):
    stages = None if last is None else [stage(0.9), stage(last)]
    assert checks.verdict(gains(*intervals), stages) == expected


def test_a_method_that_is_the_blob_is_not_better_than_the_blob():
    pixels = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), np.uint8)
    pixels[:, :, :4] //= 2

    def explain(pixels: np.ndarray, classes: np.ndarray) -> np.ndarray:
        return checks.centered_blob(pixels)

    def predict(pixels: np.ndarray) -> np.ndarray:
        share = pixels[:, 2:6, 2:6].mean(axis=(1, 2, 3)) / 255
        return np.stack([1 - share, share], axis=1)

    found = checks.check(explain, predict, None, pixels)
    assert found.randomized is None and found.randomized_images == 0
    blob = found.gains[1]
    assert (blob.deletion, blob.deletion_interval) == (0, [0, 0])
    not_shown = checks.verdict(found.gains, None).split("not shown to be better than")[1]
    assert "a centered blob" in not_shown


def test_what_covers_pixels_is_the_image_blurred_by_an_eighth_of_its_side():
    pixels = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8)
    seen = []

    def predict(pixels: np.ndarray) -> np.ndarray:
        seen.append(pixels)
        return np.full((len(pixels), 2), 0.5, np.float32)

    checks.check(lambda pixels, _: checks.centered_blob(pixels), predict, None, pixels)
    planes = pixels.astype(np.float64).transpose(0, 3, 1, 2)
    blurred = [[ndimage.gaussian_filter(plane, 2) for plane in image] for image in planes]
    covered = np.transpose(blurred, (0, 2, 3, 1))
    assert any(np.abs(images - covered).max() < 0.51 for images in seen)


# --- randomized weights ---------------------------------------------------------------


@pytest.fixture(scope="module")
def model() -> keras.Model:
    keras.utils.set_random_seed(2)
    return keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            keras.layers.Rescaling(1 / 64),
            keras.layers.Conv2D(8, 3, activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.Flatten(),
            keras.layers.Dense(4),
        ]
    )


def test_a_method_that_uses_the_weights_changes_with_them(model):
    predictor = keras_file.from_model(model)
    pixels = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3), np.uint8)
    classes = predictor(pixels).argmax(axis=1)
    before = [np.array(weight) for weight in model.get_weights()]
    for explain in (
        maps.occlusion(predictor, (128, 128, 128)),
        maps.integrated(Differentiable(predictor), (128, 128, 128)),
    ):
        stages = checks.randomized(explain, predictor.network, pixels, classes)
        kernels = [one.down_to.rpartition("/")[0] for one in stages]
        assert len(kernels) == 2 and "dense" in kernels[0] and "conv2d" in kernels[1]
        assert abs(stages[-1].correlation) < 0.3
        assert stages[-1].interval[0] <= stages[-1].correlation <= stages[-1].interval[1]
    for weight, original in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, original)


def test_all_arrays_are_shuffled_when_the_first_kernel_is_reached():
    keras.utils.set_random_seed(3)
    layers = [keras.Input((16, 16, 3)), keras.layers.BatchNormalization(), keras.layers.Flatten()]
    model = keras.Sequential([*layers, keras.layers.Dense(4)])
    before = [np.random.default_rng(i).random(w.shape) for i, w in enumerate(model.get_weights())]
    model.set_weights(before)
    seen = []

    def explain(pixels: np.ndarray, classes: np.ndarray) -> np.ndarray:
        seen.append(model.get_weights())
        return checks.edges(pixels)

    checks.randomized(explain, model, np.zeros((3, 16, 16, 3), np.uint8), np.zeros(3, int))
    for weight, original in zip(seen[-1], before, strict=True):
        assert not np.array_equal(weight, original.astype(np.float32))
        assert sorted(weight.ravel()) == sorted(original.astype(np.float32).ravel())


def test_a_method_that_ignores_the_weights_stays_the_same(model):
    pixels = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3), np.uint8)
    stages = checks.randomized(lambda x, _: checks.edges(x), model, pixels, np.zeros(12, int))
    assert [one.correlation for one in stages] == [pytest.approx(1.0)] * 2
    assert "hardly dependent on the weights" in checks.verdict(gains(*[(0.1, 0.2)] * 3), stages)


def test_an_error_of_the_method_leaves_the_weights_as_they_were(model):
    before = [np.array(weight) for weight in model.get_weights()]
    calls = []

    def explain(pixels: np.ndarray, classes: np.ndarray) -> np.ndarray:
        calls.append(1)
        if len(calls) == 2:
            raise ValueError("no more")
        return checks.edges(pixels)

    with pytest.raises(ValueError, match="no more"):
        checks.randomized(explain, model, np.zeros((3, 16, 16, 3), np.uint8), np.zeros(3, int))
    for weight, original in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, original)


def test_a_map_of_one_value_has_no_correlation_and_no_warning(model):
    flat = checks.randomized(
        lambda x, _: np.zeros(x.shape[:3], np.float32),
        model,
        np.zeros((3, 16, 16, 3), np.uint8),
        np.zeros(3, int),
    )
    assert [one.correlation for one in flat] == [0.0, 0.0]
