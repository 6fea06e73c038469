"""Model files that the tests of predictors share."""

import functools
from collections.abc import Callable
from pathlib import Path

import keras
import pytest
import tensorflow as tf
from helpers.networks import small


@pytest.fixture(scope="session")
def saved(tmp_path_factory) -> Callable[[str], Path]:
    """Return a model file by its suffix, each written once."""
    folder = tmp_path_factory.mktemp("saved")

    @functools.cache
    def write(suffix: str) -> Path:
        path = folder / f"model{suffix}"
        keras.utils.set_random_seed(0)  # the same file in every run, and so the same damages
        model = small()
        if suffix in (".keras", ".h5"):
            model.save(path)
        elif suffix == ".tflite":
            path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
        else:
            import tf2onnx

            spec = [tf.TensorSpec([None, 32, 32, 3], tf.float32, name="x")]
            function = tf.function(lambda x: model(x), input_signature=spec)
            proto, _ = tf2onnx.convert.from_function(function, spec, opset=18)
            path.write_bytes(proto.SerializeToString())
        return path

    return write
