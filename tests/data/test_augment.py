"""Each transform on hand-sized arrays, eagerly and inside a graph."""

import numpy as np
import pytest
import tensorflow as tf

from cifarnet import config
from cifarnet.data import augment

MEAN = (10.0, 20.0, 30.0)


def images(count: int = 2, size: int = 8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8)


def both(function, pixels, draws) -> np.ndarray:
    """Return the result of running eagerly, which must equal that of a graph."""
    draws = tf.constant(draws, tf.float32)
    eager = function(tf.constant(pixels), draws).numpy()
    graph = tf.function(function)(tf.constant(pixels), draws).numpy()
    np.testing.assert_allclose(eager, graph, atol=1e-3)
    return eager


def test_flip_mirrors_left_right_below_one_half():
    pixels = images()
    result = both(augment.flip, pixels, [[0.49], [0.5]])
    np.testing.assert_array_equal(result[0], pixels[0, :, ::-1])
    np.testing.assert_array_equal(result[1], pixels[1])


@pytest.mark.parametrize(("draw", "shift"), [(0.0, -2), (0.5, 0), (0.99, 2)])
def test_crop_is_a_window_of_the_reflect_padded_image(draw, shift):
    pixels = images(1)
    padded = np.pad(pixels[0], ((2, 2), (2, 2), (0, 0)), mode="reflect")
    result = both(
        lambda x, u: augment.crop(x, u, config.Crop(kind="crop", pixels=2)), pixels, [[draw, 0.5]]
    )
    np.testing.assert_array_equal(result[0], padded[2 - shift : 10 - shift, 2:10])
    result = both(
        lambda x, u: augment.crop(x, u, config.Crop(kind="crop", pixels=2)), pixels, [[0.5, draw]]
    )
    np.testing.assert_array_equal(result[0], padded[2:10, 2 - shift : 10 - shift])


def test_crop_reaches_every_shift_equally_often():
    pixels = np.zeros((9000, 8, 8, 3), np.uint8)
    pixels[:, 4, 4] = 1
    crop = augment.build([config.Crop(kind="crop", pixels=1)], MEAN)
    result = np.asarray(crop.apply(tf.constant(pixels), crop.draw(0, 0, 9000)))
    counts = result[..., 0].sum(axis=0)[3:6, 3:6]
    assert counts.sum() == 9000
    assert counts.min() > 850
    assert counts.max() < 1150


def test_rotate_by_a_right_angle_is_rot90():
    pixels = images(1)
    result = both(
        lambda x, u: augment.rotate(x, u, config.Rotate(kind="rotate", degrees=180.0)),
        pixels,
        [[0.75]],
    )  # +90 degrees
    np.testing.assert_allclose(result[0], np.rot90(pixels[0]), atol=0.01)


def test_rotate_by_nothing_changes_nothing():
    pixels = images(1)
    result = both(
        lambda x, u: augment.rotate(x, u, config.Rotate(kind="rotate", degrees=30.0)),
        pixels,
        [[0.5]],
    )
    np.testing.assert_allclose(result[0], pixels[0], atol=1e-3)


def test_scale_magnifies_about_the_center():
    ramp = np.broadcast_to(np.arange(8, dtype=np.uint8)[:, None, None] * 10, (1, 8, 8, 3))
    result = both(
        lambda x, u: augment.scale(x, u, config.Scale(kind="scale", fraction=0.5)), ramp, [[1.0]]
    )  # factor 1.5
    # Row r shows row 3.5 + (r - 3.5) / 1.5 of a ramp of 10 per row.
    expected = 10 * (3.5 + (np.arange(8) - 3.5) / 1.5)
    np.testing.assert_allclose(result[0, :, 4, 0], expected, atol=1e-3)


@pytest.mark.parametrize(
    ("kind", "draw", "factor"),
    [("scale", 0.0, 0.5), ("scale", 0.25, 0.75), ("contrast", 0.25, 0.75), ("contrast", 1.0, 1.5)],
)
def test_factors_are_from_one_less_to_one_more_than_the_fraction(kind, draw, factor):
    """Of a ramp of 4 per column about 100: slope 4 / factor if scaled, 4 x factor in contrast."""
    ramp = (100 + 4 * (np.arange(8) - 3.5)).astype(np.float32)
    pixels = np.broadcast_to(ramp[None, None, :, None], (1, 8, 8, 3))
    result = build([{"kind": kind, "fraction": 0.5}]).apply(
        tf.constant(pixels), tf.constant([[draw]])
    )
    slope = 4 / factor if kind == "scale" else 4 * factor
    np.testing.assert_allclose(
        np.asarray(result)[0, 4, 3:5, 0], 100 + slope * np.array([-0.5, 0.5])
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_cutout_fills_one_square_with_the_mean(dtype):
    pixels = np.full((1, 8, 8, 3), 200, dtype)
    result = both(
        lambda x, u: augment.cutout(x, u, config.Cutout(kind="cutout", size=3), MEAN),
        pixels,
        [[0.0, 0.99]],
    )
    expected = pixels.copy()
    expected[0, 0:3, 5:8] = MEAN
    np.testing.assert_array_equal(result, expected)


def test_cutout_as_large_as_the_image_fills_it():
    result = both(
        lambda x, u: augment.cutout(x, u, config.Cutout(kind="cutout", size=32), MEAN),
        images(1),
        [[0.3, 0.7]],
    )
    np.testing.assert_array_equal(result, np.broadcast_to(MEAN, (1, 8, 8, 3)))


def test_cutout_rounds_the_mean_and_starts_anywhere_equally_often():
    cutout = augment.build([config.Cutout(kind="cutout", size=3)], (10.4, 20.6, 30.5))
    pixels = np.full((6000, 8, 8, 3), 200, np.uint8)
    result = np.asarray(cutout.apply(tf.constant(pixels), cutout.draw(0, 0, 6000)))
    assert {tuple(color) for color in result[result[..., 0] != 200]} == {(10, 21, 30)}
    inside = result[..., 0] != 200
    for sides in (inside.any(axis=2), inside.any(axis=1)):
        assert (sides.sum(axis=1) == 3).all()
        starts = np.bincount(sides.argmax(axis=1))
        assert len(starts) == 6 and starts.min() > 900 and starts.max() < 1100


@pytest.mark.parametrize(("draw", "change"), [(0.0, -51), (0.25, -25.5), (0.5, 0), (0.75, 25.5)])
def test_brightness_changes_by_up_to_its_fraction_of_255(draw, change):
    pixels = np.full((1, 8, 8, 3), 100, np.uint8)
    result = build([{"kind": "brightness", "fraction": 0.2}]).apply(
        tf.constant(pixels), tf.constant([[draw]])
    )
    np.testing.assert_allclose(result, np.full((1, 8, 8, 3), 100 + change), atol=1e-3)


def test_brightness_adds_and_clips():
    pixels = np.array([[[[0, 100, 250]]]], np.uint8)
    result = both(
        lambda x, u: augment.brightness(x, u, config.Brightness(kind="brightness", fraction=0.2)),
        pixels,
        [[1.0]],
    )
    np.testing.assert_allclose(result[0, 0, 0], [51, 151, 255], atol=1e-3)


def test_contrast_scales_about_the_images_own_mean():
    pixels = np.array([[[[90, 100, 110]]]], np.uint8)
    result = both(
        lambda x, u: augment.contrast(x, u, config.Contrast(kind="contrast", fraction=0.5)),
        pixels,
        [[0.0]],
    )
    np.testing.assert_allclose(result[0, 0, 0], [95, 100, 105], atol=1e-3)


def schema_kinds() -> list[str]:
    """Return the kinds that a config may name, from its JSON Schema."""
    sections = config.DataConfig.model_json_schema()["properties"]["augment"]["items"]
    return sorted(sections["discriminator"]["mapping"])


def test_each_kind_of_the_schema_has_one_registered_transform():
    assert sorted(augment.KINDS) == schema_kinds()
    assert "crop" in augment.KINDS


@pytest.mark.parametrize("kind", schema_kinds())
def test_each_kind_keeps_shape_and_range_eagerly_and_in_a_graph(kind):
    transforms = build([{"kind": kind}])
    pixels = images(50, 16)
    draws = transforms.draw(0, 1, 50)
    assert draws.dtype == np.float32 and draws.shape == (50, augment.KINDS[kind].width)
    assert draws.min() >= 0 and draws.max() < 1
    result = both(transforms.apply, pixels, draws)
    assert result.shape == pixels.shape and result.dtype in (np.uint8, np.float32)
    assert result.min() >= 0 and result.max() <= 255
    assert (result != pixels).any(axis=(1, 2, 3)).sum() > 10


OPTIONS = {"crop": {"pixels": 2}, "cutout": {"size": 2}}  # for images of 8 x 8
ALL = [{"kind": kind, **OPTIONS.get(kind, {})} for kind in schema_kinds()]


def build(configs: list) -> augment.Augment:
    train = {"epochs": 1, "learning_rate": 1}
    document = {"model": {"layers": ["Flatten"]}, "train": train, "data": {"augment": configs}}
    return augment.build(config.parse(document).data.augment, MEAN)


def test_result_depends_on_seed_epoch_and_index_alone():
    transforms = build(ALL)
    pixels = images(6)
    whole = transforms.draw(seed=3, epoch=4, count=6)
    together = np.asarray(transforms.apply(tf.constant(pixels), whole))
    alone = transforms.apply(
        tf.constant(pixels[[5, 2]]), transforms.draw(seed=3, epoch=4, count=50)[[5, 2]]
    )
    np.testing.assert_array_equal(together[[5, 2]], np.asarray(alone))
    for other in (transforms.draw(3, 5, 6), transforms.draw(4, 4, 6)):
        assert (other != whole).all()


def test_the_streams_of_numbers_stay_what_they_are():
    """A change of them would change the bits of every training."""
    draws = build([{"kind": "flip"}, {"kind": "crop"}]).draw(seed=3, epoch=4, count=6)
    columns = [
        np.random.default_rng([3, 4, position, 2]).random((6, width), np.float32)
        for position, width in enumerate((1, 2))
    ]
    np.testing.assert_array_equal(draws, np.concatenate(columns, axis=1))
    alternating = build([{"kind": "flip"}, {"kind": "alternating_flip"}])
    once = np.random.default_rng([3, 1]).random((6, 1), np.float32)
    np.testing.assert_array_equal(alternating.draw(3, 4, 6)[:, 1:], once)
    largest = np.float32(1 - 2**-24)
    np.testing.assert_array_equal(alternating.draw(3, 5, 6)[:, 1:], largest - once)
    assert np.nextafter(largest, np.float32(2)) == 1


def test_each_transform_takes_as_many_numbers_as_it_needs():
    widths = {kind: entry.width for kind, entry in augment.KINDS.items()}
    assert widths == {**dict.fromkeys(schema_kinds(), 1), "crop": 2, "cutout": 2}
    # No shift, no flip, and the fourth number for the brightness.
    sections = [{"kind": "crop", "pixels": 2}, {"kind": "flip"}, {"kind": "brightness"}]
    result = build([*sections[:2], {**sections[2], "fraction": 0.2}]).apply(
        tf.constant(np.full((1, 8, 8, 3), 100, np.uint8)), tf.constant([[0.5, 0.5, 0.9, 0.75]])
    )
    np.testing.assert_allclose(result, np.full((1, 8, 8, 3), 125.5), atol=1e-3)


def test_equal_transforms_at_two_places_draw_differently():
    draws = build([{"kind": "flip"}, {"kind": "flip"}]).draw(0, 0, 100)
    assert (draws[:, 0] != draws[:, 1]).all()


def test_alternating_flip_shows_each_image_both_ways_in_two_epochs():
    transforms = build([{"kind": "alternating_flip"}])
    flipped = [transforms.draw(1, epoch, 1000)[:, 0] < 0.5 for epoch in range(4)]
    np.testing.assert_array_equal(flipped[0], ~flipped[1])
    np.testing.assert_array_equal(flipped[0], flipped[2])
    assert 400 < flipped[0].sum() < 600


def test_no_transforms_leave_the_images_alone():
    transforms = build([])
    draws = transforms.draw(0, 0, 2)
    assert draws.shape == (2, 0)
    np.testing.assert_array_equal(transforms.apply(images(), draws), images())
