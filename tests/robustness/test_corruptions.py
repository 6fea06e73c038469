"""Each corruption against a computation by hand or by another library."""

import colorsys
import io
import math

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage, stats

from cifarnet import config, data
from cifarnet.robustness import blur, corruptions, digital, weather
from cifarnet.robustness.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from cifarnet.robustness.streams import generators

GROWING = [
    *("gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "zoom_blur", "snow", "fog"),
    *("brightness", "contrast", "pixelate", "jpeg_compression"),
]


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return data.load(config.DataConfig(source="synthetic"), 0).test.pixels[:24]


def flat(level: int, count: int = 20) -> np.ndarray:
    return np.full((count, 32, 32, 3), level, np.uint8)


def one(image: np.ndarray, name: str, severity: int) -> np.ndarray:
    return corrupt(image[None].astype(np.uint8), name, severity, np.array([0]))[0].astype(int)


def test_the_15_corruptions_have_their_published_names():
    assert len(CORRUPTIONS) == 15
    assert CORRUPTIONS[0] == "gaussian_noise" and CORRUPTIONS[-1] == "jpeg_compression"


def test_the_parameters_are_the_published_ones():
    """As `c` of each function in make_cifar_c.py; max_delta of glass blur is 1 throughout."""
    assert {name: list(values) for name, (_, values) in corruptions._TABLE.items()} == {
        "gaussian_noise": [0.04, 0.06, 0.08, 0.09, 0.10],
        "shot_noise": [500, 250, 100, 75, 50],
        "impulse_noise": [0.01, 0.02, 0.03, 0.05, 0.07],
        "defocus_blur": [(0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)],
        "glass_blur": [(0.05, 1), (0.25, 1), (0.4, 1), (0.25, 2), (0.4, 2)],
        "motion_blur": [(6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)],
        # Stops of np.arange from 1 by 0.01; rounding includes some of them.
        "zoom_blur": [len(np.arange(1, to, 0.01)) - 1 for to in (1.06, 1.11, 1.16, 1.21, 1.26)],
        "snow": [
            (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
        ],
        "frost": [(1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)],
        "fog": [(0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)],
        "brightness": [0.05, 0.1, 0.15, 0.2, 0.3],
        "contrast": [0.75, 0.5, 0.4, 0.3, 0.15],
        "elastic_transform": [
            (0, 0, 0.08),
            (0.05, 0.2, 0.07),
            (0.08, 0.06, 0.06),
            (0.1, 0.04, 0.05),
            (0.1, 0.03, 0.03),
        ],
        "pixelate": [0.95, 0.9, 0.85, 0.75, 0.65],
        "jpeg_compression": [80, 65, 58, 50, 40],
    }


# --- what the noise depends on --------------------------------------------------------


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_an_image_is_corrupted_alike_whatever_is_with_it(pictures, name):
    rows = np.arange(100, 106)
    together = corrupt(pictures[:6], name, 4, rows)
    assert together.dtype == np.uint8 and together.shape == pictures[:6].shape
    np.testing.assert_array_equal(corrupt(pictures[:6], name, 4, rows), together)
    np.testing.assert_array_equal(corrupt(pictures[2:4], name, 4, rows[2:4]), together[2:4])
    np.testing.assert_array_equal(corrupt(pictures[:6][::-1], name, 4, rows[::-1]), together[::-1])


@pytest.mark.parametrize(
    "name", ["gaussian_noise", "shot_noise", "impulse_noise", "glass_blur", "motion_blur", "snow",
             "frost", "fog", "elastic_transform"]
)  # fmt: skip
def test_rows_seeds_and_severities_have_noise_of_their_own(pictures, name):
    same = np.stack([pictures[0]] * 8)
    found = corrupt(same, name, 3, np.arange(8))
    least = 4 if name == "motion_blur" else 8  # directions are rounded to whole pixels
    assert len({image.tobytes() for image in found}) >= least
    others = (found != corrupt(same, name, 3, np.arange(8), seed=1)).any(axis=(1, 2, 3))
    assert others.sum() >= least


@pytest.mark.parametrize("name", GROWING)
def test_images_are_farther_from_the_clean_ones_with_every_severity(pictures, name):
    rows = np.arange(len(pictures))
    distances = [
        np.abs(corrupt(pictures, name, severity, rows).astype(int) - pictures).mean()
        for severity in SEVERITIES
    ]
    assert distances == sorted(distances) and distances[0] > 0


@pytest.mark.parametrize("size", [24, 48])
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_other_sizes_are_corrupted_too(name, size):
    images = np.random.default_rng(0).integers(0, 256, (2, size, size, 3), np.uint8)
    for severity in (1, 5):
        assert corrupt(images, name, severity, np.arange(2)).shape == images.shape


# --- noise ----------------------------------------------------------------------------


@pytest.mark.parametrize(("severity", "deviation"), [*enumerate((0.04, 0.06, 0.08, 0.09, 0.1), 1)])
def test_gaussian_noise_has_its_deviation(severity, deviation):
    noise = (corrupt(flat(128), "gaussian_noise", severity, np.arange(20)) - 128.0) / 255
    # 61,440 values: the standard error of the deviation is 0.3 %, of the mean deviation / 248.
    assert noise.std() == pytest.approx(deviation, rel=0.012)
    assert abs(noise.mean()) < 4 * deviation / 248


@pytest.mark.parametrize(("severity", "photons"), [*enumerate((500, 250, 100, 75, 50), 1)])
def test_shot_noise_has_the_distribution_of_its_counts(severity, photons):
    counts = np.arange(3 * photons)
    chances = stats.poisson.pmf(counts, 128 / 255 * photons)
    levels = np.rint(np.minimum(counts / photons, 1) * 255)
    mean = (chances * levels).sum()
    variance = (chances * (levels - mean) ** 2).sum()
    found = corrupt(flat(128), "shot_noise", severity, np.arange(20))
    assert found.var() == pytest.approx(variance, rel=0.025)  # 4 standard errors
    assert found.mean() == pytest.approx(mean, abs=4 * math.sqrt(variance) / 248)
    # The variance of a count is its mean, but for the rounding to levels.
    assert variance / 255**2 == pytest.approx(128 / 255 / photons, rel=0.05)
    assert (corrupt(flat(0, 1), "shot_noise", severity, np.arange(1)) == 0).all()


@pytest.mark.parametrize(("severity", "share"), [*enumerate((0.01, 0.02, 0.03, 0.05, 0.07), 1)])
def test_impulse_noise_changes_its_share_half_to_black_half_to_white(severity, share):
    found = corrupt(flat(128), "impulse_noise", severity, np.arange(20))
    assert set(np.unique(found)) == {0, 128, 255}
    error = 4 * math.sqrt(share / 2 / found.size)
    assert (found == 0).mean() == pytest.approx(share / 2, abs=error)
    assert (found == 255).mean() == pytest.approx(share / 2, abs=error)


# --- blur -----------------------------------------------------------------------------


def point() -> np.ndarray:
    image = np.zeros((32, 32, 3), np.uint8)
    image[16, 16] = 255
    return image


def test_defocus_spreads_a_point_over_its_disk():
    # Radius 0.3: one pixel, smoothed by a 3 x 3 Gaussian of 0.4: exp(-1 / 0.32) = 0.04394 beside
    # 1 in each direction.
    beside = math.exp(-1 / 0.32)
    spread = one(point(), "defocus_blur", 1)[15:18, 15:18, 0]
    weights = np.array([beside, 1, beside]) / (1 + 2 * beside)
    np.testing.assert_allclose(spread, 255 * np.outer(weights, weights), atol=0.51)
    # Radius 1: the pixel and its four neighbors; radius 1.5: all nine.
    cross = one(point(), "defocus_blur", 4)[15:18, 15:18, 0]
    assert cross.tolist() == [[0, 51, 0], [51, 51, 51], [0, 51, 0]]
    assert (one(point(), "defocus_blur", 5)[15:18, 15:18] == 28).all()  # 255 / 9


def test_glass_takes_each_pixel_from_itself_or_up_or_left():
    image = np.zeros((32, 32, 3), np.uint8)
    image[..., 0], image[..., 1] = np.indices((32, 32)) * 8
    found = one(image, "glass_blur", 1)  # a deviation of 0.05 blurs nothing
    down, right = np.indices((32, 32)) - found.transpose(2, 0, 1)[:2] // 8
    assert set(np.unique(down)) == set(np.unique(right)) == {0, 1}
    assert (found[:2] == image[:2]).all() and (found[:, :2] == image[:, :2]).all()
    for shift in (0, 1):  # 900 pixels: 4 standard errors are 0.067
        assert (down[2:, 2:] == shift).mean() == pytest.approx(0.5, abs=0.067)
    assert np.mean((down == right)[2:, 2:]) == pytest.approx(0.5, abs=0.067)


def test_glass_blurs_as_scipy_does():
    kernel = ndimage.gaussian_filter1d(np.eye(32), 0.4, 0, mode="nearest")
    image = np.random.default_rng(0).random((1, 32, 32, 3)).astype(np.float32)
    expected = ndimage.gaussian_filter(image, (0, 0.4, 0.4, 0), mode="nearest")
    np.testing.assert_allclose(
        blur._separable(image, kernel.astype(np.float32)), expected, atol=1e-6
    )


@pytest.mark.parametrize(
    ("angle", "places"),
    [
        (0, [(16, 16), (16, 15), (16, 14)]),  # what is to the right comes to the left
        (90, [(16, 16), (15, 16), (14, 16)]),
        (-45, [(16, 16), (17, 15), (17, 15)]),  # 0.71 and 1.41 pixels round to 1
    ],
)
def test_motion_spreads_a_point_along_a_half_gaussian(angle, places):
    image = point()[None].astype(np.float32)
    found = blur.along(image, 6, 2.0, np.array([angle]))[0, ..., 0]
    weights = np.exp(-(np.arange(13) ** 2) / 8)
    expected = np.zeros((32, 32))
    for place, weight in zip(places, weights / weights.sum() * 255, strict=False):
        expected[place] += weight
    for place in places:
        assert found[place] == pytest.approx(expected[place], rel=1e-4)
    assert found.sum() == pytest.approx(255, rel=1e-4)


def test_motion_blur_has_directions_up_to_45_degrees():
    count = 400
    image = np.repeat(point()[None].astype(np.float32), count, axis=0)
    found = blur.motion(image, (9, 2.5), generators(np.arange(count), (0,)))[..., 0]
    steps = np.arange(32) - 16
    right, down = (found.sum(axis=axis) @ steps / found.sum(axis=(1, 2)) for axis in (1, 2))
    angles = np.degrees(np.arctan2(-down, -right))
    assert np.abs(angles).max() == pytest.approx(45, abs=3)
    assert angles.min() < -40 and angles.max() > 40


def test_zoom_is_the_mean_of_scipys_enlargements(pictures):
    image = pictures[3] / 255
    total = image.copy()
    for factor in np.arange(1, 1.16, 0.01):  # severity 3: 16 of them
        kept = math.ceil(32 / factor)
        first = (32 - kept) // 2
        part = image[first : first + kept, first : first + kept]
        large = ndimage.zoom(part, (factor, factor, 1), order=1)
        trim = (len(large) - 32) // 2
        total += large[trim : trim + 32, trim : trim + 32]
    expected = total / 17 * 255
    assert np.abs(one(pictures[3], "zoom_blur", 3) - expected).max() <= 0.51


# --- weather --------------------------------------------------------------------------


def test_snow_makes_black_gray_and_adds_flakes():
    found = corrupt(flat(0), "snow", 5, np.arange(20)).astype(int)
    # 20 % of 0.5, where no flake is; flakes are gray.
    assert found.min() == pytest.approx(0.2 * 0.5 * 255, abs=1)
    assert (found.std(axis=3) == 0).all()
    assert found.mean() > 40 and found.max() > 200
    # The flakes are there a second time, turned by 180 degrees.
    np.testing.assert_array_equal(found, found[:, ::-1, ::-1])


def test_frost_adds_its_share_of_bluish_ice():
    found = corrupt(flat(0), "frost", 5, np.arange(20)).astype(float)
    assert found.min() >= 0 and 80 < found.max() <= math.ceil(0.45 * 255)
    red, green, blue = found.mean(axis=(0, 1, 2))
    assert red / blue == pytest.approx(0.82, abs=0.01)
    assert green / blue == pytest.approx(0.92, abs=0.01)
    # 0.9 of the image and 0.4 of the ice.
    twice = [corrupt(flat(level), "frost", 3, np.arange(20)).astype(float) for level in (0, 100)]
    np.testing.assert_allclose(twice[1] - twice[0], 90, atol=1)


def test_fog_spans_all_of_its_range_and_leaves_black():
    found = corrupt(flat(255), "fog", 5, np.arange(20))
    # (1 + 1.5 x height) / (1 + 1.5), heights from 0 to 1 in every image.
    assert (found.min(axis=(1, 2, 3)) == 102).all()
    assert (found.max(axis=(1, 2, 3)) == 255).all()
    assert (corrupt(flat(0, 2), "fog", 5, np.arange(2)) == 0).all()


def test_fog_of_a_lower_decay_is_rougher():
    values = np.random.default_rng(0).uniform(-1, 1, (20, 1023)).astype(np.float32)

    def roughness(decay: float) -> float:
        heights = weather._fractal(values, 32, decay)
        return float(np.abs(np.diff(heights, axis=1)).mean() / heights.std())

    assert roughness(1.75) > roughness(2.5) > roughness(3)


def test_heights_of_a_small_fractal_by_hand():
    """Two by two: the center is the corners' mean, 0, + 0.5; edges add to the mean of four."""
    values = np.array([[0.5, 0.25, -0.75]], np.float32)
    heights = np.array([[0, 0.25 + 0.25], [0.25 - 0.75, 0.5]])
    expected = (heights + 0.5) / 1.0
    np.testing.assert_allclose(weather._fractal(values, 2, 2.0)[0], expected, atol=1e-6)


@pytest.mark.parametrize("decay", [1.75, 3.0])
def test_the_noise_of_a_finer_scale_is_smaller_by_the_square_of_the_decay(decay):
    """A side of 4, where only one noise of the second scale is not 0, beside one of the first."""
    values = np.zeros((1, 15), np.float32)
    values[0, 0] = 1  # the center
    values[0, 3] = 1  # of the first cell of the second scale
    heights = weather._fractal(values, 4, decay)[0]
    # Before they are scaled to 0 to 1: corner 0, center 1, edges 1/2, so cell centers 1/2.
    low, high = 0.0, max(1.0, 0.5 + decay**-2)
    expected = (np.array([[0.5 + decay**-2, 0.5], [0.5, 0.5]]) - low) / (high - low)
    np.testing.assert_allclose(heights[1::2, 1::2], expected, atol=1e-6)


# --- digital --------------------------------------------------------------------------


@pytest.mark.parametrize(("severity", "added"), [*enumerate((0.05, 0.1, 0.15, 0.2, 0.3), 1)])
def test_brightness_adds_to_the_value_of_colorsys(severity, added):
    image = np.random.default_rng(1).integers(0, 256, (32, 32, 3), np.uint8)
    image[0, :2] = [[0, 0, 0], [255, 255, 255]]
    expected = np.empty(image.shape)
    for place in np.ndindex(32, 32):
        hue, saturation, value = colorsys.rgb_to_hsv(*(image[place] / 255))
        expected[place] = colorsys.hsv_to_rgb(hue, saturation, min(value + added, 1))
    assert np.abs(one(image, "brightness", severity) - 255 * expected).max() <= 0.51


@pytest.mark.parametrize(("severity", "share"), [*enumerate((0.75, 0.5, 0.4, 0.3, 0.15), 1)])
def test_contrast_scales_each_channel_around_its_mean(severity, share):
    image = np.zeros((32, 32, 3), np.uint8)
    image[:16, :, 0], image[16:, :, 0], image[:8, :, 1] = 40, 200, 100
    found = one(image, "contrast", severity)
    assert found[0, 0, 0] == pytest.approx(120 - 80 * share, abs=0.51)  # the mean is 120
    assert found[31, 0, 0] == pytest.approx(120 + 80 * share, abs=0.51)
    assert found[0, 0, 1] == pytest.approx(25 + 75 * share, abs=0.51)  # the mean is 25
    assert (found[..., 2] == 0).all()


@pytest.mark.parametrize(("severity", "small"), [*enumerate((30, 28, 27, 24, 20), 1)])
def test_pixelate_is_pillows_box_filter(pictures, severity, small):
    shrunk = Image.fromarray(pictures[5]).resize((small, small), Image.Resampling.BOX)
    expected = np.asarray(shrunk.resize((32, 32), Image.Resampling.BOX))
    np.testing.assert_array_equal(one(pictures[5], "pixelate", severity), expected)


@pytest.mark.parametrize(("severity", "quality"), [*enumerate((80, 65, 58, 50, 40), 1)])
def test_jpeg_is_pillows(pictures, severity, quality):
    file = io.BytesIO()
    Image.fromarray(pictures[5]).save(file, "JPEG", quality=quality)
    np.testing.assert_array_equal(
        one(pictures[5], "jpeg_compression", severity), np.asarray(Image.open(file))
    )


@pytest.mark.parametrize("mode", ["mirror", "reflect"])
def test_interpolation_is_scipys(mode):
    random = np.random.default_rng(0)
    images = random.random((3, 12, 12, 2)).astype(np.float32)
    y, x = random.uniform(-8, 20, (2, 3, 12, 12)).astype(np.float32)
    found = digital._interpolate(images, y, x, mode)
    for n, channel in np.ndindex(3, 2):
        expected = ndimage.map_coordinates(
            images[n, ..., channel], (y[n], x[n]), order=1, mode=mode
        )
        np.testing.assert_allclose(found[n, ..., channel], expected, atol=1e-5)


def test_shifted_corners_come_from_where_they_were():
    y, x = np.indices((32, 32), np.float32)
    # The corners are (26, 26), (26, 6), (6, 6), right and down, of 16 and 10.
    shifts = np.array([[[2.0, 0]] * 3, [[0, 0], [0, 0], [3, -1]]])
    down, right = digital._affine(shifts, 32, y, x)
    np.testing.assert_allclose(right[0], x - 2, atol=1e-4)
    np.testing.assert_allclose(down[0], y, atol=1e-4)
    for right_to, down_to, right_from, down_from in (
        (26, 26, 26, 26),
        (26, 6, 26, 6),
        (9, 5, 6, 6),
    ):
        assert right[1, down_to, right_to] == pytest.approx(right_from, abs=1e-4)
        assert down[1, down_to, right_to] == pytest.approx(down_from, abs=1e-4)


def test_elastic_moves_a_ramp_by_less_than_its_displacement():
    """Of a ramp, a displacement is a difference of values: at most the shift of the corners."""
    ramp = np.broadcast_to(np.arange(0, 256, 8)[None, :, None], (32, 32, 3))
    found = one(ramp, "elastic_transform", 1)
    middle = (found[12:20, 12:20, 0] - ramp[12:20, 12:20, 0]) / 8
    assert 0 < np.abs(middle).max() <= 32 * 0.08 * 1.5
