"""Pixels as a network's values and its values as probabilities, by hand, without any runtime."""

import numpy as np
import pytest

from cifarnet.errors import ArtifactError, ConfigError
from cifarnet.predictors import Predictor, Preprocessing, RuntimeModel, inputs, outputs
from cifarnet.predictors.base import read_metadata
from cifarnet.predictors.preprocessing import MAX_SIDE, RUN_PREPROCESSING, refuse_options


def values(said: Preprocessing, pixel, dtype=np.float32, scale=1.0, zero_point=0) -> list[float]:
    """What a network gets for an image of one pixel, RGB."""
    image = np.uint8([[[np.broadcast_to(pixel, 3)]]])
    given = inputs.Inputs("nhwc", said, dtype, scale, zero_point)(image)
    assert given.dtype == dtype
    return given[0, 0, 0].tolist()


# --- pixels ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (None, [0, 51, 255]),
        ("0-255", [0, 51, 255]),
        ("0-1", [0, 0.2, 1]),
        ("-1-1", [-1, -0.6, 1]),
    ],
)
def test_a_range_is_what_0_and_255_become(name, expected):
    assert values(Preprocessing(name), [0, 51, 255]) == pytest.approx(expected, abs=1e-6)


def test_the_mean_is_subtracted_before_the_std_divides():
    said = Preprocessing("-1-1", mean=(0.5, 0.0, -1.0), std=(2.0, 0.5, 4.0))
    expected = [(-1 - 0.5) / 2, (-0.6 - 0.0) / 0.5, (1 + 1.0) / 4]
    assert values(said, [0, 51, 255]) == pytest.approx(expected, abs=1e-6)
    assert values(Preprocessing(mean=(1, 2, 3)), 51) == [50, 49, 48]
    assert values(Preprocessing(std=(1, 2, 3)), 51) == [51, 25.5, 17]


@pytest.mark.parametrize(
    ("said", "dtype", "scale", "zero_point", "expected"),
    [
        (Preprocessing("0-255"), np.uint8, 1.0, 0, [0, 51, 255]),
        (Preprocessing("0-255"), np.int8, 1.0, -128, [-128, -77, 127]),
        (Preprocessing("0-255"), np.uint8, 2.0, 0, [0, 26, 128]),  # 25.5 and 127.5: to even
        (Preprocessing("0-255"), np.uint8, 1.0, 3, [3, 54, 255]),  # clipped
        (Preprocessing("0-1"), np.uint8, 1 / 255, 0, [0, 51, 255]),
        (Preprocessing("-1-1"), np.int8, 0.01, 5, [-95, -55, 105]),
        (Preprocessing(mean=(1, 1, 1)), np.uint8, 1.0, 0, [0, 50, 254]),
        (Preprocessing(std=(2, 2, 2)), np.uint8, 1.0, 0, [0, 26, 128]),
        (Preprocessing("0-1"), np.int16, 0.001, 0, [0, 200, 1000]),
    ],
    ids=str,
)
def test_an_integer_input_gets_the_nearest_value(said, dtype, scale, zero_point, expected):
    assert values(said, [0, 51, 255], dtype, scale, zero_point) == expected


def test_eight_bit_limits_are_those_of_the_quantization():
    assert inputs.represented(np.uint8, 0.5, 2) == (-1.0, 126.5)
    assert inputs.represented(np.int8, 0.5, 2) == (-65.0, 62.5)
    assert inputs.represented(np.int16, 0.5, 2) is None
    assert inputs.represented(np.float32, 1.0, 0) is None


@pytest.mark.parametrize(
    ("limits", "name"),
    [
        ((0.0, 255.0), "0-255"),
        ((5.0, 250.0), "0-255"),  # 2 % of 255 are 5.1
        ((5.2, 255.0), None),
        ((0.0, 249.8), None),
        ((0.019, 1.019), "0-1"),
        ((0.0, 1.021), None),
        ((-1.039, 0.961), "-1-1"),  # 2 % of 2
        ((-1.041, 1.0), None),
        (None, None),
    ],
)
def test_a_range_is_found_within_two_percent_of_its_width(limits, name):
    assert inputs.range_of(limits) == name


@pytest.mark.parametrize(
    ("shape", "said", "found"),
    [
        ((None, 32, 32, 3), {}, ("nhwc", 32)),
        ((1, 3, 24, 24), {}, ("nchw", 24)),
        ((None, 3, 3, 3), {}, ("nhwc", 3)),
        ((None, 3, 3, 3), {"layout": "nchw"}, ("nchw", 3)),
        ((None, None, None, 3), {"image_size": 48}, ("nhwc", 48)),
        ((None, 32, None, 3), {"image_size": 32}, ("nhwc", 32)),
        ((None, 3, None, 32), {"image_size": 32}, ("nchw", 32)),
        ((None, None, None, None), {"layout": "nchw", "image_size": 16}, ("nchw", 16)),
        ((None, None, 32, 32), {"layout": "nchw"}, ("nchw", 32)),
    ],
    ids=str,
)
def test_layout_and_side_are_found(shape, said, found):
    assert inputs.find_layout(shape, Preprocessing(**said)) == found


@pytest.mark.parametrize(
    ("shape", "said", "says"),
    [
        ((None, 32, 31, 3), {}, r"square RGB images \[N, S, S, 3\] or \[N, 3, S, S\], received"),
        ((None, 32, 32, 1), {}, "square RGB images"),
        ((32, 32, 3), {}, "square RGB images"),
        ((None, 4, 32, 32, 3), {}, "square RGB images"),
        ((None, 32, 32, 3), {"layout": "nchw"}, "in layout nchw, received"),
        ((None, None, None, None), {}, "state its --layout and --image-size"),
        ((None, None, None, 3), {}, "leaves the size of the images open"),
        ((None, 32, None, 3), {}, "leaves the size of the images open"),
        ((None, 32, 32, 3), {"image_size": 48}, "images of 32 pixels, received --image-size 48"),
    ],
    ids=str,
)
def test_other_inputs_are_refused(shape, said, says):
    with pytest.raises(ArtifactError, match=says):
        inputs.find_layout(shape, Preprocessing(**said))


def test_the_probe_has_noise_and_five_colors():
    images = inputs.probe(4)
    assert (images.shape, images.dtype) == ((9, 4, 4, 3), np.uint8)
    colors = [one[0, 0].tolist() for one in images[4:]]
    assert colors == [[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]]
    assert all((one == one[0, 0]).all() for one in images[4:])
    assert images[:4].min() < 10 and images[:4].max() > 245 and len(set(map(bytes, images))) == 9


@pytest.mark.parametrize(("side", "right"), [(0, False), (1, True), (1024, True), (1025, False)])
def test_image_sizes_are_limited(side, right):
    assert MAX_SIDE == 1024
    if right:
        assert Preprocessing(image_size=side).image_size == side
    else:
        with pytest.raises(ConfigError, match="image_size: expected 1 to 1024 pixels, received"):
            Preprocessing(image_size=side)


def test_what_is_stated_goes_before_what_the_file_says():
    file = Preprocessing("0-1", (1, 1, 1), (2, 2, 2), "nchw")
    assert Preprocessing(layout="nhwc").over(file) == Preprocessing(
        "0-1", (1, 1, 1), (2, 2, 2), "nhwc"
    )
    # Range, mean and std belong together.
    for said in ({"input_range": "-1-1"}, {"mean": (3, 3, 3)}, {"std": (3, 3, 3)}):
        assert Preprocessing(**said).over(file) == Preprocessing(**said, layout="nchw")


def test_the_model_of_a_run_takes_raw_pixels_and_gives_logits():
    assert values(RUN_PREPROCESSING, [51, 102, 255]) == [51, 102, 255]
    assert (RUN_PREPROCESSING.layout, RUN_PREPROCESSING.output_kind) == ("nhwc", "logits")
    refuse_options("x", None)
    refuse_options("x", Preprocessing())
    with pytest.raises(ConfigError, match="leave out --input-range, which is for"):
        refuse_options("x", Preprocessing("0-1"))


# --- outputs --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "step", "kind", "says"),
    [
        ([[0.0, 1.0]], 0, "probabilities", "probabilities out, from"),
        ([[-1e-6, 1.0]], 0, "logits", "logits out"),
        # 1 + a rounding step of 1/256 = 0.0039 is still a probability, and 2 of them one in 2.
        ([[0.0, 1.0039]], 0, "probabilities", "probabilities out, from"),
        ([[0.0, 1.004]], 0, "logits", "logits out"),
        ([[0.0, 1.0499]], 0.05, "probabilities", "probabilities out, from"),
        ([[0.0, 1.051]], 0.05, "logits", "logits out"),
        # Sums differ by up to K / 2 steps and 0.01.
        ([[0.5, 0.5138]], 0, "probabilities", "probabilities out, from"),
        ([[0.5, 0.5140]], 0, "probabilities", "independent"),
        ([[0.5, 0.4862]], 0, "probabilities", "probabilities out, from"),
        ([[0.5, 0.4860]], 0, "probabilities", "independent"),
        ([[0.5, 0.559]], 0.05, "probabilities", "probabilities out, from"),
        ([[0.5, 0.561]], 0.05, "probabilities", "independent"),
        ([[0.5]], 0, "probabilities", "one column of probabilities"),
        ([[2.0]], 0, "logits", "one column of logits"),
    ],
)
def test_the_kind_of_outputs_is_found_by_range_and_rounding(rows, step, kind, says):
    found, text = outputs.kind_of(np.float32(rows), step)
    assert found == kind
    assert text.startswith(says)


def test_probabilities_of_logits_are_their_softmax():
    rows = np.float32([[1000.0, 1000.0, 0.0], [0.0, np.log(2), np.log(5)]])
    given = outputs.to_probabilities(rows, "logits")
    np.testing.assert_allclose(given, [[0.5, 0.5, 0], [1 / 8, 2 / 8, 5 / 8]], atol=1e-6)
    kept = np.float32([[0.2, 0.3, 0.1]])
    np.testing.assert_array_equal(outputs.to_probabilities(kept, "probabilities"), kept)


def test_one_column_is_of_the_second_class():
    column = np.float32([[0.25], [0.75]])
    given = outputs.to_probabilities(column, "probabilities")
    np.testing.assert_array_equal(given, [[0.75, 0.25], [0.25, 0.75]])
    given = outputs.to_probabilities(np.float32([[np.log(3)], [-1000.0]]), "logits")
    np.testing.assert_allclose(given, [[0.25, 0.75], [1, 0]], atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "count", "expected"),
    [((4, 3), 4, (4, 3)), ((4, 1, 1, 3), 4, (4, 3)), ((3,), 1, (1, 3)), ((4,), 4, (4, 1))],
)
def test_dimensions_of_one_are_left_out(shape, count, expected):
    given = np.arange(np.prod(shape), dtype=np.float64).reshape(shape)
    rows = outputs.as_rows(given, count)
    assert (rows.shape, rows.dtype) == (expected, np.float32)
    np.testing.assert_array_equal(rows.ravel(), given.ravel())


@pytest.mark.parametrize(("shape", "count"), [((4, 2, 3), 4), ((4, 3), 3), ((), 1), ((3,), 2)])
def test_other_outputs_are_refused(shape, count):
    with pytest.raises(ArtifactError, match=rf"\[N, classes\] for {count} images, received"):
        outputs.as_rows(np.zeros(shape), count)
    for dtype in (np.int64, np.uint8, bool):
        with pytest.raises(ArtifactError, match="which may be class numbers"):
            outputs.as_rows(np.zeros((4, 3), dtype), 4)


def test_the_output_is_the_only_one_or_the_stated_one():
    assert outputs.choose(["a"], [[1]], None) == 0
    assert outputs.choose(["a", "b", "c"], [[1]] * 3, "b") == 1
    with pytest.raises(ArtifactError, match=r"2 outputs: a \[1\], b \[2\]. State .* a$"):
        outputs.choose(["a", "b"], [[1], [2]], None)
    with pytest.raises(ArtifactError, match=r"no output 'x' \(--output-name\), but a \[1\]"):
        outputs.choose(["a"], [[1]], "x")


# --- batches --------------------------------------------------------------------------


def predictor(sizes: list[int], batch: int | None, **options) -> Predictor:
    """A predictor of the mean of red, which notes the sizes of its batches."""

    def run(images):
        sizes.append(len(images))
        red = images[..., 0].mean(axis=(1, 2)) / 255
        return np.stack([red, 1 - red], axis=1)

    said = Preprocessing("0-255", layout="nhwc", output_kind="probabilities")
    model = RuntimeModel("none", run, (batch, 4, 4, 3), np.float32, **options)
    found = Predictor(model, batch_size=3, preprocessing=said)
    sizes.clear()
    return found


@pytest.mark.parametrize(("batch", "expected"), [(None, [3, 3, 1]), (2, [2] * 4), (1, [1] * 7)])
def test_batches_are_whole_where_their_size_is_fixed(batch, expected):
    sizes: list[int] = []
    images = np.random.default_rng(0).integers(0, 256, (7, 4, 4, 3), np.uint8)
    given = predictor(sizes, batch)(images)
    assert sizes == expected
    np.testing.assert_allclose(given[:, 0], images[..., 0].mean(axis=(1, 2)) / 255, atol=1e-6)


def test_names_of_another_number_are_noted_or_damage():
    assert predictor([], None, classes=("a", "b")).class_names == ["a", "b"]
    foreign = predictor([], None, classes=("a", "b", "c"))
    assert foreign.class_names is None
    assert "its 3 labels are not of its 2 classes" in foreign.assumed

    def run(images):
        return np.zeros((len(images), 2), np.float32)

    own = RuntimeModel("none", run, (None, 4, 4, 3), np.float32, metadata={"classes": ["a"]})
    with pytest.raises(ArtifactError, match="has 1 classes, but the network gives 2"):
        Predictor(own)


@pytest.mark.parametrize(
    ("what", "expected"),
    [("logits", [[0.5, 0.5]]), ("probabilities, float32", [[1, 1]]), (None, [[1, 1]])],
)
def test_metadata_says_what_a_file_gives(what, expected):
    def run(images):
        return np.ones((len(images), 2), np.float32)

    metadata = {"classes": ["a", "b"], **({"output": {"what": what}} if what else {})}
    model = RuntimeModel("none", run, (None, 4, 4, 3), np.float32, metadata=metadata)
    found = Predictor(model)
    np.testing.assert_array_equal(found(np.zeros((1, 4, 4, 3), np.uint8)), expected)
    assert (found.assumed, found.class_names) == ([], ["a", "b"])


def test_metadata_of_an_unknown_output_is_refused():
    assert read_metadata('{"output": {"what": "logits"}}') == {"output": {"what": "logits"}}
    with pytest.raises(ArtifactError, match="its `output` is unknown: scores"):
        read_metadata('{"output": {"what": "scores"}}')
    for text in ('{"classes": [1]}', '{"classes": "ab"}', "[]"):
        with pytest.raises(ArtifactError, match="its metadata cannot be read"):
            read_metadata(text)


ASSUMED = [
    "pixels 0-255 (--input-range)",
    "no mean and std (--mean, --std)",
    "layout nhwc, from the input's shape (--layout)",
    "probabilities out, from its outputs (--output-kind)",
]


@pytest.mark.parametrize(
    ("said", "red", "left_out"),
    [
        (None, 51, []),
        (Preprocessing(), 51, []),
        (Preprocessing("0-1"), 0.2, [0]),
        (Preprocessing(mean=(1, 0, 0)), 50, [1]),
        (Preprocessing(std=(2, 1, 1)), 25.5, [1]),
        (Preprocessing(layout="nhwc"), 51, [2]),
        (Preprocessing(output_kind="probabilities"), 51, [3]),
        (Preprocessing("-1-1", (0, 0, 0), (1, 1, 1), "nhwc", "probabilities"), -0.6, range(4)),
    ],
    ids=str,
)
def test_what_is_not_stated_is_assumed_and_listed(said, red, left_out):
    seen = []

    def run(images):
        seen.append(images)
        return np.tile(np.float32([0.25, 0.75]), (len(images), 1))

    model = RuntimeModel("none", run, (None, 4, 4, 3), np.float32)
    found = Predictor(model, preprocessing=said)
    assert found.assumed == [text for i, text in enumerate(ASSUMED) if i not in left_out]
    found(np.full((1, 4, 4, 3), 51, np.uint8))
    np.testing.assert_allclose(seen[-1][..., 0], red, atol=1e-6)
    own = RuntimeModel("none", run, (None, 4, 4, 3), np.float32, metadata={"classes": ["a", "b"]})
    if said is None or not said.stated():
        assert Predictor(own, preprocessing=said).assumed == []
    else:
        with pytest.raises(ConfigError, match="the file states its input and output itself"):
            Predictor(own, preprocessing=said)
