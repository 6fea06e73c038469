"""Every layer in every format, in its real runtime; what cannot be converted is refused."""

import shutil
import subprocess
from pathlib import Path
from typing import get_args

import keras
import numpy as np
import pytest
from helpers.networks import BODIES, METADATA, pixels, probabilities, stock

from cifarnet import choices, config, models, predictors
from cifarnet.errors import ArtifactError, ModelError
from cifarnet.exporters import FORMATS, formats
from cifarnet.exporters import network as networks

pytest.importorskip("onnxruntime")
pytest.importorskip("ai_edge_litert")

CONFIGS = Path(__file__).parents[2] / "configs"
NETWORKS = ["accurate", "airbench94", "article", "baseline", "fast94", "smoke", "tiny"]
EVERY = [(name, q) for name, possible in choices.QUANTIZATIONS.items() for q in possible]


def test_the_registry_has_the_formats_and_quantizations_of_the_config():
    assert tuple(FORMATS) == tuple(choices.QUANTIZATIONS) == get_args(choices.ExportFormat)
    assert {q for _, q in EVERY} == set(get_args(choices.Quantization))


@pytest.mark.parametrize("body", list(BODIES))
@pytest.mark.parametrize("kind", ["savedmodel", "onnx", "litert"])
def test_every_layer_in_every_float_format(body, kind, network, exported):
    artifact = predictors.load(exported(body, kind, "none"), batch_size=3)
    predicted = artifact(pixels(7))  # two whole batches and a part
    np.testing.assert_allclose(predicted, probabilities(network(body), pixels(7)), atol=2e-5)
    assert artifact.metadata == METADATA
    assert artifact.assumed == []


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("kind", ["savedmodel", "onnx", "litert"])
def test_every_shipped_network_in_every_float_format(name, kind, tmp_path):
    settings = config.load(CONFIGS / f"{name}.yaml").model
    keras.utils.set_random_seed(1)
    model = stock(settings, (125.3, 123.0, 113.9), (63.0, 62.1, 66.7))
    random = np.random.default_rng(0)
    for weight in model.weights:
        # A whitening kernel is zeros until a training gives it.
        if not weight.numpy().any() and len(weight.shape) > 1:
            weight.assign(random.normal(0, 0.1, weight.shape))
    path = formats.write(kind, "none", model, pixels(20), METADATA, tmp_path)
    artifact = predictors.load(path)
    np.testing.assert_allclose(artifact(pixels(5)), probabilities(model, pixels(5)), atol=2e-5)


def test_no_shipped_network_is_left_out():
    names = {path.stem for path in CONFIGS.glob("*.yaml")}
    assert names == {*NETWORKS, "smoke-cifar10"}
    assert (
        config.load(CONFIGS / "smoke-cifar10.yaml").model
        == config.load(CONFIGS / "article.yaml").model
    )


@pytest.mark.parametrize("body", list(BODIES))
@pytest.mark.parametrize("kind", ["onnx", "litert"])
def test_every_layer_in_int8(body, kind, network, exported):
    artifact = predictors.load(exported(body, kind, "int8"))
    expected = probabilities(network(body), pixels(50))
    # On the images it was calibrated on; of 10 classes, a wrong conversion differs by far more.
    assert np.abs(artifact(pixels(50)) - expected).mean() < 0.02


@pytest.mark.parametrize("kind", ["onnx", "triton"])
def test_products_of_int8_weights_do_not_overflow_16_bits(kind, exported):
    import onnx

    proto = onnx.load(exported("plain", kind, "int8"))
    weights = {
        one.name: onnx.numpy_helper.to_array(one).astype(int)
        for one in proto.graph.initializer
        if one.data_type == onnx.TensorProto.INT8 and len(one.dims) > 1
    }
    assert len(weights) == 2  # of a convolution and a dense layer
    for values in weights.values():
        assert np.abs(values).max() == 64  # all of the range is used
        assert 2 * 255 * 64 < 2**15


def test_int8_kernels_compute_what_the_file_says(exported):
    """On a processor without VNNI this fails with weights of 8 bits."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    path = exported("flatten", "onnx", "int8")
    in_floats = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    expected = in_floats.run(None, {networks.INPUT: pixels(50).astype(np.float32)})[0]
    np.testing.assert_allclose(predictors.load(path)(pixels(50)), expected, atol=0.03)


@pytest.mark.parametrize(("kind", "quantization"), EVERY)
def test_a_file_takes_one_image_and_many(kind, quantization, exported):
    artifact = predictors.load(exported("flatten", kind, quantization), batch_size=8)
    together = artifact(pixels(20))
    assert together.shape == (20, 10)
    assert together.dtype == np.float32
    np.testing.assert_allclose(together.sum(axis=1), 1, atol=0.03)
    alone = np.concatenate([artifact(image[None]) for image in pixels(20)])
    np.testing.assert_allclose(alone, together, atol=1e-5)


def test_an_exported_keras_file_needs_no_cifarnet(exported):
    for layer in keras.models.load_model(exported("grouped", "keras", "none")).layers:
        assert type(layer).__module__.startswith("keras.")


def test_int8_takes_and_gives_bytes(exported):
    from ai_edge_litert.interpreter import Interpreter

    content = exported("plain", "litert", "int8").read_bytes()
    interpreter = Interpreter(model_content=content)
    (inputs,), (outputs,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert (inputs["dtype"], inputs["quantization"]) == (np.uint8, (1.0, 0))
    assert (outputs["dtype"], outputs["quantization"]) == (np.uint8, (1 / 256, 0))
    assert list(inputs["shape"]) == [1, 32, 32, 3]


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
def test_the_c_source_compiles_and_holds_the_files_bytes(exported, tmp_path):
    path = exported("plain", "c", "int8")
    for name in ("model.h", "model.c"):
        shutil.copy(path.with_name(name), tmp_path)
    (tmp_path / "main.c").write_text(
        '#include <stdio.h>\n#include "model.h"\n'
        "int main(void) {\n"
        "  fwrite(cifarnet_model, 1, CIFARNET_MODEL_SIZE, stdout);\n"
        "  for (int i = 0; i < CIFARNET_CLASSES; i++) fprintf(stderr, "
        '"%s\\n", cifarnet_classes[i]);\n'
        '  fprintf(stderr, "%d %g %d %g %d", CIFARNET_IMAGE_SIZE, CIFARNET_INPUT_SCALE,\n'
        "    CIFARNET_INPUT_ZERO, CIFARNET_OUTPUT_SCALE, CIFARNET_OUTPUT_ZERO);\n"
        "  return 0;\n}\n"
    )
    command = ["gcc", "-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "main.c", "model.c"]
    subprocess.run([*command, "-o", "main"], cwd=tmp_path, check=True)
    done = subprocess.run([tmp_path / "main"], capture_output=True, check=True)
    assert done.stdout == path.read_bytes()
    *names, constants = done.stderr.decode().split("\n")
    assert names == METADATA["classes"]
    assert constants == "32 1 0 0.00390625 0"


@pytest.mark.parametrize("kind", ["savedmodel", "onnx", "litert"])
def test_a_refused_conversion_names_its_cause(kind, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise RuntimeError("converter: no such layer")

    monkeypatch.setattr(networks, "serving_function", refuse)
    monkeypatch.setattr("tf2onnx.convert.from_keras", refuse)
    model = stock(config.ModelConfig(layers=["Flatten", {"Dense": {"units": 10}}]))
    with pytest.raises(ArtifactError, match=f"{kind} .none.: converter: no such layer") as caught:
        formats.write(kind, "none", model, pixels(10), METADATA, tmp_path)
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert str(caught.value.__cause__) == "converter: no such layer"


def test_a_layer_that_litert_refuses_is_named_by_the_converters_own_error(tmp_path):
    inputs = keras.Input((32, 32, 3))
    # LiteRT has no such operation among its own.
    outputs = keras.layers.Flatten()(keras.ops.erfinv(inputs / 256))
    model = keras.Model(inputs, keras.layers.Dense(10)(outputs))
    with pytest.raises(ArtifactError, match=r"litert \(none\): ") as caught:
        formats.write("litert", "none", model, pixels(10), METADATA, tmp_path)
    assert "Erfinv" in str(caught.value.__cause__)


def test_batch_normalization_is_folded_into_the_convolution(exported):
    import onnx
    from ai_edge_litert.interpreter import Interpreter

    path = exported("folded", "onnx", "none")
    kinds = [node.op_type for node in onnx.load(str(path)).graph.node]
    after = kinds[kinds.index("Conv") + 1 :]
    assert not {"Mul", "Add", "BatchNormalization"} & set(after[: after.index("Relu") + 1])
    path = exported("folded", "litert", "none")
    kinds = [op["op_name"] for op in Interpreter(str(path))._get_ops_details()]
    assert kinds.count("MUL") + kinds.count("ADD") <= 1  # of the normalization of pixels


def test_a_model_in_half_precision_is_refused():
    settings = config.ModelConfig(layers=["Flatten", {"Dense": {"units": 10}}])
    model = models.build(settings, 32, 10, (0.0,) * 3, (1.0,) * 3, precision="bfloat16")
    with pytest.raises(ModelError, match="expected a float32 network"):
        networks.build(model, portable=True)
