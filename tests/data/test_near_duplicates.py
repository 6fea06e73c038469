"""Near duplicates: planted ones are found, similar images are not."""

import io

import numpy as np
import pytest
from PIL import Image

from cifarnet.data import near_duplicates


def photographs(count: int, seed: int = 0, side: int = 32) -> np.ndarray:
    """Make images with details of several sizes, mostly of brightness, as photographs have."""
    random = np.random.default_rng(seed)
    total = np.zeros((count, side, side, 3))
    for small, weight in ((4, 60), (8, 40), (16, 20)):
        noise = 0.8 * random.uniform(0, 255, (count, small, small, 1))
        noise = (noise + 0.2 * random.uniform(0, 255, (count, small, small, 3))).astype(np.uint8)
        for i, one in enumerate(noise):
            big = Image.fromarray(one).resize((side, side), Image.Resampling.BICUBIC)
            total[i] += 2 * weight * (np.asarray(big) / 255.0 - 0.5)
    return np.clip(total + 128, 0, 255).astype(np.uint8)


def recompressed(image: np.ndarray, quality: int = 40) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def moved(image: np.ndarray, down: int, right: int) -> np.ndarray:
    """Shift an image; the border is repeated."""
    padded = np.pad(image, ((4, 4), (4, 4), (0, 0)), mode="edge")
    return padded[4 - down : 4 - down + len(image), 4 - right : 4 - right + len(image)]


CHANGES = {
    "equal": lambda x: x,
    "mirrored": lambda x: x[:, ::-1],
    "shifted": lambda x: moved(x, 2, -1),
    "recompressed": recompressed,
    "brighter": lambda x: np.clip(x * 0.6 + 70, 0, 255).astype(np.uint8),
    "mirrored and shifted": lambda x: moved(x[:, ::-1], 1, 2),
    "gray": lambda x: np.repeat(x.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8),
}


def planted() -> tuple[np.ndarray, list[tuple[int, int]]]:
    """200 images, and a changed copy of each of the first, with the pairs that they make."""
    pixels = photographs(200)
    copies = [change(pixels[i]) for i, change in enumerate(CHANGES.values())]
    return np.concatenate([pixels, copies]), [(i, 200 + i) for i in range(len(copies))]


def test_planted_duplicates_are_found_and_nothing_else():
    pixels, pairs = planted()
    found = near_duplicates.find(pixels)
    assert list(zip(found.first.tolist(), found.second.tolist(), strict=True)) == sorted(pairs)
    mirrored = dict(zip(found.second.tolist(), found.mirrored.tolist(), strict=True))
    assert [mirrored[200 + i] for i in range(6)] == [False, True, False, False, False, True]
    equal = found.second == 200
    assert found.distance[equal] == pytest.approx(0, abs=1e-5)


def test_blocks_do_not_change_the_result():
    pixels, _ = planted()
    whole, parts = (near_duplicates.find(pixels, 0.3, block=n) for n in (1000, 7))
    np.testing.assert_array_equal(whole.first, parts.first)
    np.testing.assert_array_equal(whole.second, parts.second)
    np.testing.assert_allclose(whole.correlation, parts.correlation, atol=1e-5)


def test_images_of_similar_color_and_layout_are_no_duplicates():
    """Ships on a horizon: one layout, other details."""
    pixels = photographs(60, seed=1) // 2 + 40
    pixels[:, :16] += 40
    assert len(near_duplicates.find(pixels).first) == 0


def test_plain_images_and_noise_of_one_level_are_no_duplicates_of_each_other():
    random = np.random.default_rng(2)
    pixels = np.full((30, 32, 32, 3), 90, np.uint8)
    pixels[10:] += random.integers(0, 2, (20, 32, 32, 3), np.uint8)
    assert len(near_duplicates.find(pixels).first) == 0
    assert near_duplicates.one_color(pixels).tolist() == list(range(10))


def test_other_sizes_are_reduced_by_area():
    """Equal 2 x 2 blocks have the mean of each block, and 3 pixels of 2 share the middle one."""
    image = np.arange(64 * 64 * 3, dtype=np.uint8).reshape(1, 64, 64, 3)
    blocks = image.reshape(1, 32, 2, 32, 2, 3).mean(axis=(2, 4))
    np.testing.assert_allclose(near_duplicates._reduced(image, 32), blocks, atol=1e-3)
    row = np.zeros((1, 3, 3, 3), np.uint8)
    row[0, 1] = 90
    reduced = near_duplicates._reduced(row, 2)
    np.testing.assert_allclose(reduced, 30.0, rtol=1e-6)  # (1 x 0 + 0.5 x 90) / 1.5


@pytest.mark.parametrize("side", [8, 48])
def test_images_of_other_sizes_are_compared(side):
    pixels = photographs(40, seed=3, side=side)
    pixels = np.concatenate([pixels, pixels[3:4, :, ::-1]])
    found = near_duplicates.find(pixels)
    assert (3, 40, True) in zip(
        found.first.tolist(), found.second.tolist(), found.mirrored.tolist(), strict=True
    )


def test_the_correlation_is_that_of_numpy():
    """Without shift, of images whose details have zero mean: Pearson's, by np.corrcoef."""
    details = near_duplicates._fine(photographs(2, seed=4), np.arange(2))
    details -= details.mean(axis=(1, 2, 3), keepdims=True)
    centered = near_duplicates._correlation(details[:1], details[:1] * 2 + 0, False)[0]
    assert centered == pytest.approx(1, abs=1e-5)
    expected = np.corrcoef(details[0].ravel(), details[1].ravel())[0, 1]
    assert near_duplicates._correlation(details[:1], details[1:], False)[0] >= expected - 1e-5


def test_exact_copies_are_listed_by_the_first_of_their_group():
    pixels = photographs(5)
    pixels[3] = pixels[1]
    pixels[4] = pixels[1]
    first, copies = near_duplicates.exact(pixels)
    assert (first.tolist(), copies.tolist()) == ([1, 1], [3, 4])


def test_the_list_of_cifar10_has_rows_of_the_test_set():
    rows = near_duplicates.cifar10_test()
    assert len(rows) == 345 and len(set(rows.tolist())) == 345
    assert rows.min() >= 0 and rows.max() < 10_000


@pytest.mark.slow
def test_the_list_of_cifar10_is_what_the_search_finds():
    from cifarnet.data import cifar10

    source = cifar10.load()
    train = len(source.train.labels)
    found = near_duplicates.find(np.concatenate([source.train.pixels, source.test.pixels]))
    leaks = (found.first < train) & (found.second >= train)
    rows = np.unique(found.second[leaks]) - train
    # Matrix products of other machines differ in the last bits.
    assert len(np.setxor1d(rows, near_duplicates.cifar10_test())) <= 2
