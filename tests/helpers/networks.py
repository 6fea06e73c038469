"""Small networks with every kind of layer, weights as after a training, and images for them."""

import keras
import numpy as np

from cifarnet import config, models

CONV = {"filters": 8, "kernel_size": 3, "padding": "same"}
BODIES = {
    "plain": [{"Conv2D": {**CONV, "activation": "relu"}}, {"MaxPooling2D": {"pool_size": 2}}],
    "strided": [{"Conv2D": {**CONV, "strides": 2}}, "BatchNormalization", "ReLU"],
    "depthwise": [{"DepthwiseConv2D": {"kernel_size": 3}}, {"SeparableConv2D": CONV}],
    "grouped": [{"Conv2D": CONV}, {"Conv2D": {**CONV, "groups": 4, "activation": "relu"}}],
    "residual": [{"Conv2D": CONV}, {"Residual": {"layers": [{"Conv2D": CONV}, "ReLU"]}}],
    "gelu": [{"Conv2D": {**CONV, "activation": "gelu"}}],
    "silu": [{"Conv2D": {**CONV, "activation": "silu"}}],
    "tanh": [{"Conv2D": {**CONV, "activation": "tanh"}}, {"AveragePooling2D": {"pool_size": 2}}],
    "leaky": [{"Conv2D": CONV}, "LeakyReLU", "LayerNormalization"],
    "dropout": [{"Conv2D": CONV}, {"Dropout": {"rate": 0.5}}, {"SpatialDropout2D": {"rate": 0.1}}],
    "flatten": [{"Conv2D": {**CONV, "strides": 4}}, "Flatten", {"Dense": {"units": 16}}],
    "dilated": [{"Conv2D": {**CONV, "dilation_rate": 2, "activation": "relu"}}],
    "scaled": [{"Conv2D": CONV}, {"Rescaling": {"scale": 0.25}}, {"ZeroPadding2D": {"padding": 1}}],
}
NETWORKS = {
    **BODIES,
    "folded": [{"Conv2D": {**CONV, "use_bias": False}}, "BatchNormalization", "ReLU"],
}
METADATA = {
    "cifarnet": "0",
    "run": "test",
    "model": "small",
    "mean_color": [120, 110, 100],
    "classes": ["a", 'b"\\', "ç", *"defghij"],
}


def stock(settings: config.ModelConfig, mean=(120.0,) * 3, std=(60.0,) * 3) -> keras.Model:
    """Build a network of Keras' own layers for images of 32 x 32 and ten classes."""
    return models.build(settings, 32, 10, mean, std)


def small(**options) -> keras.Model:
    """Build a small convolutional network for images of 32 x 32 and ten classes."""
    convolution = {"Conv2D": {"filters": 4, "kernel_size": 3, "activation": "relu"}}
    head = ["GlobalAveragePooling2D", {"Dense": {"units": 10}}]
    layers = config.ModelConfig(layers=[convolution, "BatchNormalization", *head])
    return models.build(layers, 32, 10, (120.0,) * 3, (60.0,) * 3, **options)


def trained(body: list) -> keras.Model:
    """Return a network whose statistics and biases are not at their initial values."""
    pooled = [] if "Flatten" in body else ["GlobalAveragePooling2D"]
    keras.utils.set_random_seed(1)
    settings = config.ModelConfig(layers=[*body, *pooled, {"Dense": {"units": 10}}])
    model = stock(settings, (120.0, 121.0, 122.0), (60.0, 61.0, 62.0))
    random = np.random.default_rng(0)
    for weight in model.weights:
        noise = random.normal(0, 0.03, weight.shape)
        weight.assign(np.abs(weight + noise) if "variance" in weight.path else weight + noise)
    return model


def pixels(count: int) -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, (count, 32, 32, 3), np.uint8)


def probabilities(model: keras.Model, images: np.ndarray) -> np.ndarray:
    return np.asarray(keras.ops.softmax(model(images.astype(np.float32))))
