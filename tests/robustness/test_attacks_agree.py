"""Attacks find what those of the Adversarial Robustness Toolbox find, from other random numbers."""

import keras
import numpy as np
import pytest

from cifarnet.predictors.gradients import Differentiable
from cifarnet.predictors.keras_file import from_model
from cifarnet.robustness import attacks_search as search
from cifarnet.robustness.attacks_losses import Losses
from cifarnet.robustness.attacks_search import Ball
from cifarnet.robustness.streams import generators


def learned() -> tuple[keras.Model, np.ndarray, np.ndarray]:
    """A small network that was trained to tell noisy patterns of four classes, and its images."""
    random, count = np.random.default_rng(3), 400
    patterns = random.normal(0, 1, (4, 8, 8, 3)) * 12 + 128
    labels = (np.arange(count) % 4).astype(np.int32)
    noisy = patterns[labels] + random.normal(0, 30, (count, 8, 8, 3))
    pixels = np.clip(np.round(noisy), 0, 255).astype(np.uint8)
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.Rescaling(1 / 64, -2),
            keras.layers.Conv2D(16, 3, activation="relu"),
            keras.layers.Conv2D(16, 3, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(4),
        ]
    )
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(pixels[:200].astype("f"), labels[:200], epochs=20, batch_size=50, verbose=0)
    return model, pixels[200:], labels[200:]


@pytest.mark.slow
def test_accuracies_agree_with_the_adversarial_robustness_toolbox():
    evasion = pytest.importorskip(
        "art.attacks.evasion", reason="adversarial-robustness-toolbox is in the extra `quality`"
    )
    import tensorflow as tf
    from art.estimators.classification import TensorFlowV2Classifier

    model, pixels, labels = learned()
    losses, images = Losses(Differentiable(from_model(model))), pixels.astype(np.float32)
    by_art = TensorFlowV2Classifier(
        model=model,
        nb_classes=4,
        input_shape=(8, 8, 3),
        loss_object=tf.keras.losses.SparseCategoricalCrossentropy(
            from_logits=True, reduction="sum"
        ),
        clip_values=(0, 255),
    )
    right = losses.right(images, labels)
    assert right.mean() > 0.8
    options = {"batch_size": 200, "verbose": False}
    compared = []
    for epsilon in (2.0, 4.0, 8.0):
        ball = Ball(images, epsilon)
        pgd = {"eps_step": 2.5 * epsilon / 20, "max_iter": 20, "num_random_init": 1}
        apgd = {"loss_type": "difference_logits_ratio", "max_iter": 50, "nb_random_init": 1}
        square = {"max_iter": 200, "nb_restarts": 1, "p_init": 0.8, "norm": np.inf}
        start = ball.random(generators(np.arange(200), (0, 1)))
        streams = generators(np.arange(200), (0, 2))
        for name, tolerance, mine, attack in (
            (
                "FGSM",
                1e-3,
                search.pgd(losses.cross_entropy, ball, labels, images, steps=1),
                evasion.FastGradientMethod(by_art, eps=epsilon, batch_size=200),
            ),
            (
                "PGD",
                0.02,
                search.pgd(
                    losses.cross_entropy,
                    ball,
                    labels,
                    start,
                ),
                evasion.ProjectedGradientDescentTensorFlowV2(by_art, eps=epsilon, **pgd, **options),
            ),
            (
                "APGD-DLR",
                0.02,
                search.apgd(losses.dlr, ball, labels, start),
                evasion.AutoProjectedGradientDescent(
                    by_art, eps=epsilon, eps_step=2 * epsilon, **apgd, **options
                ),
            ),
            (
                "Square",
                0.05,
                search.square(losses.margin, ball, labels, streams),
                evasion.SquareAttack(by_art, eps=epsilon, **square, **options),
            ),
        ):
            theirs = np.asarray(attack.generate(images, y=labels)).astype(np.float32)
            assert ball.contains(theirs).all()
            pair = [float((losses.right(one, labels) & right).mean()) for one in (mine, theirs)]
            compared.append((name, epsilon, *pair, tolerance))
    print(*compared, sep="\n")
    assert 0.1 < min(row[2] for row in compared) < 0.6 < max(row[2] for row in compared)
    for name, epsilon, mine, theirs, tolerance in compared:
        assert mine == pytest.approx(theirs, abs=tolerance), (name, epsilon)
