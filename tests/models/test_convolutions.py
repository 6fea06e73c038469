"""Convolutions computed in another form give the same numbers."""

import numpy as np
import pytest
import tensorflow as tf

from cifarnet.models import convolutions

SHAPES = {  # inputs [B, H, W, C], kernel [rows, columns, F], pads of rows and of columns
    "2 x 2": ((16, 2, 2, 384), (3, 3, 256), [(1, 1), (1, 1)]),
    "pooling reads less": ((32, 5, 5, 384), (3, 3, 256), [(1, 0), (1, 0)]),
    "valid": ((8, 5, 5, 384), (3, 3, 256), [(0, 0), (0, 0)]),
    "even kernel": ((24, 3, 4, 384), (4, 2, 320), [(1, 2), (0, 1)]),
    "12 images": ((12, 4, 6, 384), (3, 3, 256), [(1, 1), (1, 1)]),
}


def whole_numbers(shape, seed):
    """-1, 0 or 1: all their sums here are exact, in whatever order."""
    values = tf.random.stateless_uniform(shape, [0, seed], -1, 2, tf.int32)
    return tf.cast(values, tf.bfloat16)


def convolved(inputs, kernel, pads):
    """Outputs and gradients, and the sizes of what is convolved."""
    sizes = set()

    @tf.function
    def run(inputs, kernel):
        with tf.GradientTape() as tape:
            tape.watch([inputs, kernel])
            outputs = convolutions.convolve(inputs, kernel, pads, small=True)
        upstream = whole_numbers(outputs.shape, 2)
        return [outputs, *tape.gradient(outputs, [inputs, kernel], upstream)]

    graph = run.get_concrete_function(inputs, kernel).graph
    for operation in graph.get_operations():
        if operation.type == "Conv2D":
            sizes.add(operation.inputs[0].shape[0])
    return [np.asarray(tf.cast(x, tf.float32)) for x in run(inputs, kernel)], sizes


@pytest.mark.parametrize("name", SHAPES)
def test_images_side_by_side_give_the_same_bits(name, monkeypatch):
    shape, (rows, columns, filters), pads = SHAPES[name]
    inputs = whole_numbers(shape, 0)
    kernel = whole_numbers((rows, columns, shape[3], filters), 1)
    results = []
    for matrix_unit in (False, True):
        monkeypatch.setattr(convolutions, "_has_matrix_unit", lambda has=matrix_unit: has)
        results.append(convolved(inputs, kernel, pads))
    (plain, sizes), (wide, sizes_of_wide) = results
    assert shape[0] in sizes and shape[0] not in sizes_of_wide
    assert np.abs(plain[0]).max() > 20
    for one, other in zip(plain, wide, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("shape", "filters", "dtype"),
    [
        ((16, 7, 7, 512), 512, tf.bfloat16),
        ((16, 3, 3, 256), 256, tf.bfloat16),
        ((15, 3, 3, 512), 512, tf.bfloat16),
        ((16, 3, 3, 512), 512, tf.float32),
    ],
    ids=["larger map", "smaller kernel", "odd batch", "float32"],
)
def test_other_images_are_convolved_one_by_one(shape, filters, dtype, monkeypatch):
    monkeypatch.setattr(convolutions, "_has_matrix_unit", lambda: True)
    inputs = tf.zeros(shape, dtype)
    kernel = tf.zeros((3, 3, shape[3], filters), dtype)
    graph = tf.function(convolutions.convolve).get_concrete_function(
        inputs, kernel, [(1, 1), (1, 1)], small=False
    )
    operations = [op for op in graph.graph.get_operations() if op.type == "Conv2D"]
    assert [op.inputs[0].shape[0] for op in operations] == [shape[0]]
