"""mixup and CutMix against NumPy, and what their random numbers depend on."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from cifarnet import config
from cifarnet.data import draw_preview, inspection, load
from cifarnet.data.mixing import Mix
from cifarnet.training.examples import Examples
from cifarnet.training.team import Team


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_shares_are_of_the_beta_distribution_and_partners_a_permutation(alpha):
    partners, draws = Mix("mixup", alpha).draw(3, 7, 20_000)
    assert partners.dtype == np.int32 and draws.dtype == np.float32
    assert np.array_equal(np.sort(partners), np.arange(20_000))
    for at in (0.05, 0.3, 0.5, 0.7, 0.95):  # in float32 some are 1
        expected = stats.beta(alpha, alpha).cdf(at)
        found = int(np.sum(draws[:, 0] < at))
        assert stats.binomtest(found, 20_000, expected).pvalue > 0.001
    for column in (1, 2):
        assert stats.kstest(draws[:, column], stats.uniform.cdf).pvalue > 0.001


def test_draws_depend_on_seed_and_epoch():
    drawn = [Mix("cutmix", 1.0).draw(*at, 50) for at in ((0, 0), (0, 0), (0, 1), (1, 0))]
    for one, again in zip(drawn[0], drawn[1], strict=True):
        assert np.array_equal(one, again)
    for other in drawn[2:]:
        assert not np.array_equal(drawn[0][0], other[0])
        for column in range(3):
            assert not np.array_equal(drawn[0][1][:, column], other[1][:, column])


def test_partners_are_not_drawn_as_the_order_or_the_augmentations():
    # An image would be mixed with that of its own place in the epoch.
    for stream in (1, 2):  # of the order and of augmentations
        order = np.random.default_rng([3, 7, stream]).permutation(50)
        assert not np.array_equal(Mix("mixup", 1.0).draw(3, 7, 50)[0], order)


@pytest.fixture(scope="module")
def batch():
    random = np.random.default_rng(0)
    images, others = random.integers(0, 256, (2, 200, 12, 12, 3)).astype(np.float32)
    _, draws = Mix("mixup", 1.0).draw(0, 0, 200)
    return images, others, draws


def test_mixup_is_the_weighted_mean(batch):
    images, others, draws = batch
    mixed, shares = Mix("mixup", 1.0).apply(*map(tf.constant, batch))
    expected = [s * a + (1 - s) * b for s, a, b in zip(draws[:, 0], images, others, strict=True)]
    np.testing.assert_allclose(mixed, expected, atol=1e-3)
    assert np.array_equal(shares, draws[:, 0])


def test_cutmix_pastes_the_box_of_the_published_code(batch):
    images, others, draws = batch
    mixed, shares = Mix("cutmix", 1.0).apply(*map(tf.constant, batch))
    seen = set()
    for i, (share, *center) in enumerate(draws):
        expected, cut = images[i].copy(), int(12 * np.sqrt(1 - share))
        (top, bottom), (left, right) = (
            np.clip([int(12 * c) - cut // 2, int(12 * c) + cut // 2], 0, 12) for c in center
        )
        expected[top:bottom, left:right] = others[i, top:bottom, left:right]
        assert np.array_equal(mixed[i], expected)
        area = (bottom - top) * (right - left)
        assert float(shares[i]) == pytest.approx(1 - area / 144, abs=1e-6)
        seen.add((top == 0, right == 12, area == 0))
    assert len(seen) > 4  # boxes at borders, inside and empty


def test_the_preview_shows_the_mixed_images_of_the_training(monkeypatch, tmp_path):
    settings = config.parse(
        {
            "seed": 5,
            "data": {
                "source": "synthetic",
                "limit": 200,
                "mix": "mixup",
                "augment": [{"kind": "flip"}],
            },
            "model": {"layers": ["Flatten", {"Dense": {"units": 10}}]},
            "train": {"epochs": 3, "batch_size": 150, "learning_rate": 0.1, "precision": "float32"},
        }
    )
    drawn = []
    monkeypatch.setattr(inspection.plots, "sheet", lambda images, *rest: drawn.append(images))
    assert draw_preview(settings, tmp_path / "sheet.png", 2) == "flip, mixup"
    dataset = load(settings.data, settings.seed)
    steps = len(dataset.train.labels) // 150
    examples = Examples(settings, dataset, steps, 3 * steps, Team())
    order, draws = examples.feed.epoch(2)
    pixels = examples.feed.images(None)
    batch = examples.take(*pixels, draws, tf.constant(order[0]), slice(0, 150))
    place = {int(row): i for i, row in enumerate(order[0])}
    compared = 0
    for c in range(10):
        row = int(np.flatnonzero(dataset.train.labels == c)[0])
        np.testing.assert_array_equal(drawn[0][2 * c], dataset.train.pixels[row])
        if row in place:
            expected = np.round(batch.images[place[row]].numpy())
            np.testing.assert_array_equal(drawn[0][2 * c + 1], expected)
            compared += 1
    assert compared > 3
