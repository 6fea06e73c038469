"""Our layers give Keras' numbers."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from cifarnet.models import layers


def forward_and_backward(layer: keras.Layer, inputs: tf.Tensor) -> list[np.ndarray]:
    weights = tf.random.stateless_normal(inputs.shape, [1, 2])
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = layer(inputs, training=True)
        loss = tf.reduce_sum(tf.cast(outputs, tf.float32) * weights)
    sources = [inputs, *(v.value for v in layer.trainable_variables)]
    gradients = tape.gradient(loss, sources)
    moving = [layer.moving_mean, layer.moving_variance]
    inference = layer(inputs, training=False)
    assert outputs.dtype == inputs.dtype
    values = [outputs, inference, *gradients, *moving]
    return [np.asarray(tf.cast(tf.convert_to_tensor(v), tf.float32)) for v in values]


@pytest.mark.parametrize(
    ("policy", "tolerance"), [("float32", 2e-5), ("mixed_bfloat16", 2e-2), ("mixed_float16", 3e-3)]
)
@pytest.mark.parametrize(
    "options", [{}, {"momentum": 0.6, "epsilon": 1e-5}, {"scale": False}, {"center": False}]
)
def test_batch_normalization_equals_keras(policy, tolerance, options):
    dtype = keras.DTypePolicy(policy).compute_dtype
    inputs = tf.cast(3 * tf.random.stateless_normal([8, 6, 6, 4], [0, 0]) + 1, dtype)
    results = []
    for kind in (layers.BatchNormalization, keras.layers.BatchNormalization):
        layer = kind(dtype=policy, **options)
        layer.build(inputs.shape)
        results.append(forward_and_backward(layer, inputs))
    for ours, theirs in zip(*results, strict=True):
        # Gradients of gamma sum 288 values; the tolerance is relative to the largest.
        np.testing.assert_allclose(ours, theirs, atol=tolerance * max(1, np.abs(theirs).max()))


def test_batch_normalization_uses_the_fused_kernel_in_half_precision():
    layer = layers.BatchNormalization(dtype="mixed_bfloat16")
    layer.build((None, 4, 4, 2))
    graph = tf.function(lambda x: layer(x, training=True)).get_concrete_function(
        tf.TensorSpec([8, 4, 4, 2], tf.bfloat16)
    )
    kernels = [op for op in graph.graph.get_operations() if op.type == "FusedBatchNormV3"]
    assert len(kernels) == 1
    assert kernels[0].get_attr("T") == tf.bfloat16
    assert layer.gamma.dtype == "float32"


@pytest.mark.parametrize("shape", [(16, 5), (4, 6, 5)])
def test_batch_normalization_of_other_ranks_equals_keras(shape):
    inputs = tf.random.stateless_normal(shape, [0, 0]) * 2 + 1
    ours, theirs = layers.BatchNormalization(), keras.layers.BatchNormalization()
    np.testing.assert_allclose(
        ours(inputs, training=True), theirs(inputs, training=True), atol=1e-5
    )
    np.testing.assert_allclose(ours.moving_variance, theirs.moving_variance, atol=1e-6)


def test_batch_renormalization_is_that_of_keras():
    inputs = tf.random.stateless_normal([8, 4, 4, 3], [0, 0]) * 2 + 1
    ours, theirs = (
        kind(renorm=True) for kind in (layers.BatchNormalization, keras.layers.BatchNormalization)
    )
    np.testing.assert_array_equal(ours(inputs, training=True), theirs(inputs, training=True))
    assert len(ours.weights) == 7 and np.any(ours.renorm_mean)
    for one, other in zip(ours.weights, theirs.weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_frozen_batch_normalization_keeps_its_statistics():
    layer = layers.BatchNormalization()
    inputs = tf.random.stateless_normal([4, 3, 3, 2], [0, 0]) + 5
    layer(inputs)
    layer.trainable = False
    outputs = layer(inputs, training=True)
    np.testing.assert_array_equal(layer.moving_mean, np.zeros(2))
    np.testing.assert_allclose(outputs, inputs / np.sqrt(1 + layer.epsilon), rtol=1e-5)


def test_batch_normalization_survives_saving(tmp_path):
    model = keras.Sequential([keras.Input((4, 4, 3)), layers.BatchNormalization(momentum=0.5)])
    model(tf.random.stateless_normal([4, 4, 4, 3], [0, 0]), training=True)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert isinstance(loaded.layers[-1], layers.BatchNormalization)
    assert loaded.layers[-1].momentum == 0.5
    for ours, theirs in zip(model.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", sorted(layers.ACTIVATIONS))
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [("float32", 2e-6), ("bfloat16", 4e-2), ("float16", 4e-3)]
)
def test_activations_equal_keras_both_ways(name, dtype, tolerance):
    # Half precision: Keras rounds after every operation, we once.
    values = tf.cast(tf.reshape(tf.linspace(-8.0, 8.0, 960), [4, 5, 6, 8]), dtype)
    upstream = tf.cast(tf.random.stateless_normal(values.shape, [0, 0]), dtype)
    results = []
    for function in (layers.ACTIVATIONS[name], getattr(keras.activations, name)):
        with tf.GradientTape() as tape:
            tape.watch(values)
            outputs = function(values)
        results.append((outputs, tape.gradient(outputs, values, upstream)))
    for ours, theirs in zip(*results, strict=True):
        assert ours.dtype == theirs.dtype
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(
            tf.cast(ours, tf.float32), tf.cast(theirs, tf.float32), atol=tolerance, rtol=tolerance
        )


def test_gelu_is_exact_and_not_the_tanh_approximation():
    # Phi(1) = 0.8413447461, Phi(-2) = 0.0227501319.
    np.testing.assert_allclose(layers.gelu(tf.constant([1.0, -2.0])), [0.8413447, -0.0455003], 1e-6)


@pytest.mark.parametrize("name", sorted(layers.ACTIVATIONS))
def test_activations_keep_the_shape_they_know(name):
    known = keras.Input((4, 4, 3))
    assert keras.layers.Activation(layers.ACTIVATIONS[name])(known).shape == (None, 4, 4, 3)


CONVOLUTIONS = {  # inputs [H, W, C], filters, kernel, further arguments
    "small, same": ((7, 7, 64), 16, 3, {"padding": "same"}),
    "small, valid": ((7, 6, 64), 16, (3, 2), {}),
    "small, even kernel": ((4, 5, 64), 8, (4, 2), {"padding": "same"}),
    "one position": ((1, 1, 64), 8, 3, {"padding": "same"}),
    "large": ((11, 12, 64), 16, 3, {"padding": "same"}),
    "strided": ((8, 8, 64), 8, 3, {"strides": 2, "padding": "same"}),
    "grouped": ((6, 6, 64), 8, 3, {"groups": 2}),
}


def convolved(layer, inputs, upstream, window=None):
    """Outputs, what a pooling makes of them, and the gradients of inputs and weights."""
    layer.build(inputs.shape)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = layer(inputs)
        if window is not None:
            outputs = keras.ops.max_pool(outputs, *window)
        loss = tf.reduce_sum(tf.cast(outputs, tf.float32) * upstream[:, : outputs.shape[1]])
    gradients = tape.gradient(loss, [inputs, *(v.value for v in layer.trainable_variables)])
    return [np.asarray(tf.cast(value, tf.float32)) for value in (outputs, *gradients)]


def both_convolutions(shape, filters, size, policy, window=None, **options):
    """Our layer's and Keras' numbers with the same weights, for five images."""
    dtype = keras.DTypePolicy(policy).compute_dtype
    inputs = tf.cast(tf.random.stateless_normal([5, *shape], [0, 0]), dtype)
    options = {"dtype": policy, "kernel_initializer": keras.initializers.GlorotNormal(1), **options}
    upstream = tf.random.stateless_normal([1, 32, 1, filters], [0, 1])
    ours = layers.Conv2D(filters, size, pooling=window, **options)
    theirs = keras.layers.Conv2D(filters, size, **options)
    return [convolved(layer, inputs, upstream, window) for layer in (ours, theirs)]


def exact_convolution(shape, filters, size, policy, **options):
    """Keras' numbers in float32, of inputs and kernels rounded as `policy` rounds them."""

    def rounded(values):
        return tf.cast(tf.cast(values, keras.DTypePolicy(policy).compute_dtype), tf.float32)

    def kernel(shape, dtype=None):
        return rounded(keras.initializers.GlorotNormal(1)(shape))

    inputs = rounded(tf.random.stateless_normal([5, *shape], [0, 0]))
    upstream = tf.random.stateless_normal([1, 32, 1, filters], [0, 1])
    layer = keras.layers.Conv2D(filters, size, kernel_initializer=kernel, **options)
    return convolved(layer, inputs, upstream)


@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize(("policy", "tolerance"), [("float32", 1e-5), ("mixed_bfloat16", 1e-2)])
def test_convolution_equals_keras(name, policy, tolerance):
    """Within the tolerance, or where Keras itself is further off: no further than Keras.

    On processors without bfloat16 arithmetic TensorFlow sums gradients in bfloat16.
    """
    shape, filters, size, options = CONVOLUTIONS[name]
    both = both_convolutions(shape, filters, size, policy, **options)
    exact = exact_convolution(shape, filters, size, policy, **options)
    for ours, theirs, expected in zip(*both, exact, strict=True):
        assert ours.shape == theirs.shape
        limit = max(tolerance * np.abs(expected).max(), np.abs(theirs - expected).max())
        np.testing.assert_allclose(ours, expected, atol=limit)


@pytest.mark.parametrize("window", [((2, 2), (2, 2)), ((3, 2), (2, 3)), ((3, 3), (4, 4))])
@pytest.mark.parametrize("shape", [(7, 9, 64), (15, 12, 3), (3, 8, 64)])
@pytest.mark.parametrize(("policy", "tolerance"), [("float32", 1e-5), ("mixed_bfloat16", 1e-2)])
def test_convolution_before_a_pooling_gives_the_same_pooled_map(window, shape, policy, tolerance):
    results = both_convolutions(shape, 8, 3, policy, window, padding="same", activation="tanh")
    for ours, theirs in zip(*results, strict=True):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, atol=tolerance * np.abs(theirs).max())


def test_convolution_leaves_out_what_no_window_reads():
    # Of 7 rows, windows of 2 read 6; of 9 columns, windows of 3 that step by 4 read 7, and the
    # padding after the image spares one of the two others.
    layer = layers.Conv2D(4, 3, padding="same", pooling=((2, 3), (2, 4)))
    assert layer(tf.zeros([1, 7, 9, 2])).shape == (1, 6, 8, 4)
    assert layer.compute_output_shape((None, 7, 9, 2)) == (None, 6, 8, 4)
    strided = layers.Conv2D(4, 3, strides=2, padding="same", pooling=((2, 2), (2, 2)))
    assert strided(tf.zeros([1, 9, 9, 2])).shape == (1, 5, 5, 4)


def test_small_kernel_gradients_are_forward_convolutions():
    # The batch is unknown, so that no images can be put side by side.
    def operations(side, dtype):
        layer = layers.Conv2D(8, 3, padding="same", dtype=dtype)
        layer.build((None, side, side, 64))

        def gradient(inputs):
            with tf.GradientTape() as tape:
                outputs = layer(inputs)
            return tape.gradient(outputs, layer.kernel.value)

        spec = tf.TensorSpec([None, side, side, 64], tf.bfloat16)
        graph = tf.function(gradient).get_concrete_function(spec).graph
        return {op.type for op in graph.get_operations()}

    assert "Conv2DBackpropFilter" not in operations(8, "mixed_bfloat16")
    assert "Conv2DBackpropFilter" in operations(9, "mixed_bfloat16")
    assert "Conv2DBackpropFilter" in operations(8, "float32")


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_max_pooling_applies_its_activation_after_the_maximum(policy):
    inputs = tf.random.stateless_normal([2, 6, 6, 3], [0, 0])
    pooled = keras.layers.MaxPooling2D(2, dtype=policy)(inputs)
    ours = layers.MaxPooling2D(2, activation="relu", dtype=policy)(inputs)
    np.testing.assert_array_equal(ours, keras.ops.relu(pooled))
    assert ours.dtype == pooled.dtype
    np.testing.assert_array_equal(layers.MaxPooling2D(2, dtype=policy)(inputs), pooled)


def test_max_pooling_survives_saving(tmp_path):
    model = keras.Sequential([keras.Input((4, 4, 3)), layers.MaxPooling2D(2, activation="relu")])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.layers[-1].activation is keras.activations.relu


def test_convolution_survives_saving(tmp_path):
    window = ((2, 2), (2, 2))
    model = keras.Sequential(
        [keras.Input((5, 5, 3)), layers.Conv2D(4, 3, padding="same", pooling=window)]
    )
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    inputs = tf.random.stateless_normal([2, 5, 5, 3], [0, 0])
    assert loaded(inputs).shape == (2, 4, 4, 4)
    np.testing.assert_array_equal(model(inputs), loaded(inputs))
