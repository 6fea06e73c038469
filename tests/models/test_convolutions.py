"""Convolutions computed in another form give the same numbers."""

import math

import numpy as np
import pytest
import tensorflow as tf

from cifarnet.models import convolutions

LARGE = {  # inputs [B, H, W, C], kernel [rows, columns, F], pads of rows and of columns
    "2 x 2": ((16, 2, 2, 384), (3, 3, 256), [(1, 1), (1, 1)]),
    "pooling reads less": ((32, 5, 5, 384), (3, 3, 256), [(1, 0), (1, 0)]),
    "valid": ((8, 5, 5, 384), (3, 3, 256), [(0, 0), (0, 0)]),
    "even kernel": ((24, 3, 4, 384), (4, 2, 320), [(1, 2), (0, 1)]),
    "12 images": ((12, 4, 6, 384), (3, 3, 256), [(1, 1), (1, 1)]),
}
SMALL = {
    "5 x 5": ((16, 5, 5, 64), (3, 3, 24), [(1, 1), (1, 1)]),
    "pooling reads less": ((32, 7, 7, 96), (3, 3, 64), [(1, 0), (1, 0)]),
    "valid": ((8, 9, 10, 64), (3, 3, 40), [(0, 0), (0, 0)]),
    "even kernel": ((24, 5, 7, 64), (4, 2, 32), [(1, 2), (0, 1)]),
    "wide pads": ((12, 6, 5, 64), (3, 5, 32), [(1, 1), (3, 1)]),
}


def whole_numbers(shape, seed):
    """-1, 0 or 1: all their sums here are exact, in whatever order."""
    values = tf.random.stateless_uniform(shape, [0, seed], -1, 2, tf.int32)
    return tf.cast(values, tf.bfloat16)


def convolved(inputs, kernel, pads):
    """Outputs and gradients, and for each kind of operation the numbers of images it reads."""
    counts = {"Conv2D": set(), "Conv2DBackpropFilter": set()}

    @tf.function
    def run(inputs, kernel):
        with tf.GradientTape() as tape:
            tape.watch([inputs, kernel])
            outputs = convolutions.convolve(inputs, kernel, pads, small=True)
        upstream = whole_numbers(outputs.shape, 2)
        return [outputs, *tape.gradient(outputs, [inputs, kernel], upstream)]

    graph = run.get_concrete_function(inputs, kernel).graph
    for operation in graph.get_operations():
        if operation.type in counts:
            counts[operation.type].add(operation.inputs[0].shape[0])
    return [np.asarray(tf.cast(x, tf.float32)) for x in run(inputs, kernel)], counts


def with_and_without(shape, sizes, pads, monkeypatch):
    """What `convolved` returns without and with a matrix unit."""
    inputs = whole_numbers(shape, 0)
    kernel = whole_numbers((*sizes[:2], shape[3], sizes[2]), 1)
    for has in (False, True):
        monkeypatch.setattr(convolutions, "_has_matrix_unit", lambda has=has: has)
        yield convolved(inputs, kernel, pads)


def test_small_maps_are_of_bfloat16_and_many_channels():
    def is_small(shape, positions, dtype=tf.bfloat16):
        return convolutions.is_small(tf.zeros(shape, dtype), positions)

    assert is_small((4, 8, 8, 64), 64)
    assert not is_small((4, 8, 8, 64), 64, tf.float32)
    assert not is_small((4, 8, 8, 63), 64)
    assert not is_small((4, 8, 9, 64), 65)


@pytest.mark.parametrize("name", LARGE)
def test_images_side_by_side_give_the_same_bits(name, monkeypatch):
    shape = LARGE[name][0]
    (plain, counts), (wide, counts_of_wide) = with_and_without(*LARGE[name], monkeypatch)
    assert shape[0] in counts["Conv2D"] and shape[0] not in counts_of_wide["Conv2D"]
    assert np.abs(plain[0]).max() > 20
    for one, other in zip(plain, wide, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", SMALL)
def test_kernel_gradients_of_images_side_by_side_are_the_same(name, monkeypatch):
    count = SMALL[name][0][0]
    (plain, counts), (wide, counts_of_wide) = with_and_without(*SMALL[name], monkeypatch)
    assert not counts["Conv2DBackpropFilter"]
    assert counts_of_wide["Conv2DBackpropFilter"] == {count // math.gcd(count, 16)}
    assert np.abs(plain[2]).max() > 20
    for one, other in zip(plain, wide, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("shape", "filters"),
    [((16, 4, 6, 64), 32), ((16, 6, 6, 512), 256), ((15, 6, 6, 64), 32)],
    ids=["tiny map", "large kernel", "odd batch"],
)
def test_other_kernel_gradients_are_forward_convolutions(shape, filters, monkeypatch):
    _, (_, counts) = with_and_without(shape, (3, 3, filters), [(1, 1), (1, 1)], monkeypatch)
    assert not counts["Conv2DBackpropFilter"]


@pytest.mark.parametrize(
    ("shape", "filters", "dtype"),
    [
        ((16, 6, 6, 512), 512, tf.bfloat16),
        ((None, 3, 3, 512), 512, tf.bfloat16),
        ((16, 3, 3, 256), 256, tf.bfloat16),
        ((15, 3, 3, 512), 512, tf.bfloat16),
        ((16, 3, 3, 512), 512, tf.float32),
    ],
    ids=["larger map", "unknown batch", "smaller kernel", "odd batch", "float32"],
)
def test_other_images_are_convolved_one_by_one(shape, filters, dtype, monkeypatch):
    monkeypatch.setattr(convolutions, "_has_matrix_unit", lambda: True)
    inputs = tf.TensorSpec(shape, dtype)
    kernel = tf.TensorSpec((3, 3, shape[3], filters), dtype)
    graph = tf.function(convolutions.convolve).get_concrete_function(
        inputs, kernel, [(1, 1), (1, 1)], small=False
    )
    operations = [op for op in graph.graph.get_operations() if op.type == "Conv2D"]
    assert [op.inputs[0].shape[0] for op in operations] == [shape[0]]
