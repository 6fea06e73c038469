"""Every layer in every format, in its real runtime; refusals; proofs that fail."""

import json
import shutil
import subprocess
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.commands import cifarnet

from cifarnet import config, evaluation, exporters, models, predictors, runs, training
from cifarnet.errors import ArtifactError, ConfigError, GateError
from cifarnet.exporters import formats, network, parity

pytest.importorskip("onnxruntime")
pytest.importorskip("ai_edge_litert")

CONFIGS = Path(__file__).parents[2] / "configs"
ARTICLE = CONFIGS / "article.yaml"
EVERY = [(name, q) for name, possible in formats.QUANTIZATIONS.items() for q in possible]
ABOUT = {"cifarnet": "0", "run": "test", "classes": ["a", 'b"\\', "ç", *"defghij"]}
SMALL = {
    "data": {"source": "synthetic", "limit": 600, "validation_fraction": 0.2},
    "model": {
        "layers": [
            {"Conv2D": {"filters": 8, "kernel_size": 3, "strides": 2, "activation": "relu"}},
            "BatchNormalization",
            "Flatten",
            {"Dense": {"units": 10}},
        ]
    },
    "train": {"epochs": 3, "batch_size": 50, "learning_rate": 0.05, "momentum": 0.9},
}
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


def trained(body: list) -> keras.Model:
    """A network with weights as after some training: statistics and biases not at their start."""
    layers = body if body[-1] != "head" else body[:-1]
    head = [{"Dense": {"units": 10}}]
    pooled = [] if "Flatten" in body else ["GlobalAveragePooling2D"]
    keras.utils.set_random_seed(1)
    grey = ((120.0, 121.0, 122.0), (60.0, 61.0, 62.0))
    settings = config.ModelConfig(layers=[*layers, *pooled, *head])
    model = models.build(settings, 32, 10, *grey, plain=True)
    random = np.random.default_rng(0)
    for weight in model.weights:
        noise = random.normal(0, 0.03, weight.shape)
        weight.assign(np.abs(weight + noise) if "variance" in weight.path else weight + noise)
    return model


def pixels(count: int) -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, (count, 32, 32, 3), np.uint8)


def probabilities(model: keras.Model, images: np.ndarray) -> np.ndarray:
    return np.asarray(keras.ops.softmax(model(images.astype(np.float32))))


@pytest.mark.parametrize("body", list(BODIES))
@pytest.mark.parametrize("kind", ["savedmodel", "onnx", "litert"])
def test_every_layer_in_every_float_format(body, kind, tmp_path):
    model = trained(BODIES[body])
    path = formats.write(kind, "none", model, pixels(20), ABOUT, tmp_path)
    artifact = predictors.load(path, batch_size=3)
    given = artifact(pixels(7))  # two whole batches and a part
    np.testing.assert_allclose(given, probabilities(model, pixels(7)), atol=2e-5)
    assert artifact.metadata == ABOUT
    assert artifact.assumed == []


@pytest.mark.parametrize("name", ["article", "smoke", "baseline", "airbench94", "tiny"])
@pytest.mark.parametrize("kind", ["savedmodel", "onnx", "litert"])
def test_every_shipped_network_in_every_float_format(name, kind, tmp_path):
    settings = config.load(CONFIGS / f"{name}.yaml").model
    grey = ((125.3, 123.0, 113.9), (63.0, 62.1, 66.7))
    keras.utils.set_random_seed(1)
    model = models.build(settings, 32, 10, *grey, plain=True)
    random = np.random.default_rng(0)
    for weight in model.weights:
        # A whitening kernel is zeros until a training gives it.
        if not weight.numpy().any() and len(weight.shape) > 1:
            weight.assign(random.normal(0, 0.1, weight.shape))
    artifact = predictors.load(formats.write(kind, "none", model, pixels(20), ABOUT, tmp_path))
    np.testing.assert_allclose(artifact(pixels(5)), probabilities(model, pixels(5)), atol=2e-5)


def test_no_shipped_network_is_left_out():
    names = {path.stem for path in CONFIGS.glob("*.yaml")}
    assert names == {"article", "smoke", "baseline", "airbench94", "smoke-cifar10", "tiny"}
    assert config.load(CONFIGS / "smoke-cifar10.yaml").model == config.load(ARTICLE).model


@pytest.mark.parametrize("body", list(BODIES))
@pytest.mark.parametrize("kind", ["onnx", "litert"])
def test_every_layer_in_int8(body, kind, tmp_path):
    model = trained(BODIES[body])
    artifact = predictors.load(formats.write(kind, "int8", model, pixels(50), ABOUT, tmp_path))
    expected = probabilities(model, pixels(50))
    # On the images it was calibrated on; of 10 classes, a wrong conversion differs by far more.
    assert np.abs(artifact(pixels(50)) - expected).mean() < 0.02


@pytest.mark.parametrize(("kind", "quantization"), EVERY)
def test_a_file_takes_one_image_and_many(kind, quantization, tmp_path):
    model = trained(BODIES["flatten"])
    path = formats.write(kind, quantization, model, pixels(50), ABOUT, tmp_path)
    artifact = predictors.load(path, batch_size=8)
    together = artifact(pixels(20))
    assert together.shape == (20, 10)
    assert together.dtype == np.float32
    np.testing.assert_allclose(together.sum(axis=1), 1, atol=0.03)
    alone = np.concatenate([artifact(image[None]) for image in pixels(20)])
    np.testing.assert_allclose(alone, together, atol=1e-5)


def test_an_exported_keras_file_needs_no_cifarnet(tmp_path):
    path = formats.write("keras", "none", trained(BODIES["grouped"]), pixels(10), ABOUT, tmp_path)
    for layer in keras.models.load_model(path).layers:
        assert type(layer).__module__.startswith("keras.")


def test_int8_takes_and_gives_bytes(tmp_path):
    from ai_edge_litert.interpreter import Interpreter

    path = formats.write("litert", "int8", trained(BODIES["plain"]), pixels(50), ABOUT, tmp_path)
    interpreter = Interpreter(model_content=path.read_bytes())
    (given,), (wanted,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert (given["dtype"], given["quantization"]) == (np.uint8, (1.0, 0))
    assert (wanted["dtype"], wanted["quantization"]) == (np.uint8, (1 / 256, 0))
    assert list(given["shape"]) == [1, 32, 32, 3]


@pytest.mark.parametrize("body", ["plain", "strided", "depthwise", "residual", "flatten", "silu"])
def test_the_microcontroller_interpreter_gives_what_litert_gives(body, tmp_path):
    runtime = pytest.importorskip("tflite_micro").runtime
    model = trained(BODIES[body])
    path = formats.write("c", "int8", model, pixels(50), ABOUT, tmp_path)
    expected = predictors.load(path)(pixels(5))
    micro = runtime.Interpreter.from_bytes(path.read_bytes())
    for image, row in zip(pixels(5), expected, strict=True):
        micro.set_input(image[None], 0)
        micro.invoke()
        np.testing.assert_allclose(micro.get_output(0)[0] / 256, row, atol=2.1 / 256)


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
def test_the_c_source_compiles_and_holds_the_files_bytes(tmp_path):
    model = trained(BODIES["plain"])
    path = formats.write("c", "int8", model, pixels(50), ABOUT, tmp_path)
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
    assert names == ABOUT["classes"]
    assert constants == "32 1 0 0.00390625 0"


def test_what_microcontrollers_cannot_run_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match=r"Micro has no GELU; .* such as relu or silu"):
        formats.write("c", "int8", trained(BODIES["gelu"]), pixels(50), ABOUT, tmp_path)


def test_batch_normalisation_is_folded_into_the_convolution(tmp_path):
    import onnx
    from ai_edge_litert.interpreter import Interpreter

    model = trained([{"Conv2D": {**CONV, "use_bias": False}}, "BatchNormalization", "ReLU"])
    path = formats.write("onnx", "none", model, pixels(9), ABOUT, tmp_path)
    kinds = [node.op_type for node in onnx.load(str(path)).graph.node]
    after = kinds[kinds.index("Conv") + 1 :]
    assert not {"Mul", "Add", "BatchNormalization"} & set(after[: after.index("Relu") + 1])
    path = formats.write("litert", "none", model, pixels(9), ABOUT, tmp_path)
    kinds = [op["op_name"] for op in Interpreter(str(path))._get_ops_details()]
    assert kinds.count("MUL") + kinds.count("ADD") <= 1  # of the normalisation of pixels


def test_a_model_in_half_precision_is_refused():
    settings = config.ModelConfig(layers=["Flatten", {"Dense": {"units": 10}}])
    model = models.build(settings, 32, 10, (0.0,) * 3, (1.0,) * 3, precision="bfloat16")
    with pytest.raises(Exception, match="expected a float32 network"):
        network.build(model, portable=True)


# --- targets and runs -------------------------------------------------------------------


def test_targets_are_formats_with_what_fits_them():
    found = exporters.targets(["keras", "litert", "c"], ["none", "int8"])
    assert [t.name for t in found] == ["keras", "litert", "litert-int8", "c"]
    with pytest.raises(ConfigError, match="onnx: expected quantization none or int8, received fl"):
        exporters.targets(["litert", "onnx"], ["float16"])


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> runs.Run:
    return training.run(config.parse(SMALL), tmp_path_factory.mktemp("runs"))


def options(**values) -> config.ExportConfig:
    return config.ExportConfig(calibration_images=100, **values)


def test_a_run_is_exported_with_its_proof(run):
    wanted = exporters.targets(["onnx", "litert"], ["none", "int8"])
    found = exporters.run(run, wanted, options())
    for target, document in zip(wanted, found, strict=True):
        folder = run.path / "exports" / target.name
        assert json.loads((folder / "export.json").read_text()) == document
        artifact = folder / document["artifact"]
        assert document["bytes"] == artifact.stat().st_size
        about = predictors.load(artifact).metadata
        assert about["run"] == document["run"] == run.path.name
        assert about["classes"] == run.read_record()["data"]["classes"]
        assert (document["calibration"] is None) == (target.quantization == "none")
        one = document["proof"]
        assert (one["split"], one["images"]) == ("validation", 120)
        if target.quantization == "none":
            assert one["largest_difference"] < 1e-5
            assert one["agreement"] == 1.0
        assert one["accuracy"] == pytest.approx(one["reference_accuracy"], abs=0.05)
    assert [path.name for path in (run.path / "exports").iterdir() if path.name[0] == "."] == []


def test_the_proof_measures_what_evaluate_measures(run):
    from cifarnet import data

    settings = config.load(run.config_file)
    images = data.load(settings.data, settings.seed).validation
    predict = predictors.load(run.model_file)
    found = parity.prove(predict, predict, images.pixels, images.labels)
    classes = tuple("abcdefghij")
    measured = evaluation.compute_metrics(predict(images.pixels), images.labels, classes)
    assert found["accuracy"] == found["reference_accuracy"] == measured["accuracy"]
    assert found["largest_difference"] == 0.0


def test_what_fails_its_proof_does_not_get_its_name(run):
    wanted = exporters.targets(["litert"], ["float16"])
    folder = run.path / "exports"
    broken = [np.roll(w, 1, axis=-1) for w in keras.models.load_model(run.model_file).get_weights()]
    original = formats.write

    def write_other(format_, quantization, model, *rest):
        copy = keras.models.clone_model(model)
        copy.set_weights(broken)
        return original(format_, quantization, copy, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(formats, "write", write_other)
        with pytest.raises(GateError, match=r"litert-float16: it loses .* points of accuracy"):
            exporters.run(run, wanted, options())
    assert not (folder / "litert-float16").exists()
    assert (folder / "litert-float16.failed" / "export.json").is_file()
    exporters.run(run, wanted, options())  # and a good one takes the failed one's place
    assert (folder / "litert-float16" / "model.tflite").is_file()
    assert not (folder / "litert-float16.failed").exists()


def test_a_float_artifact_must_agree_closely(run):
    wanted = exporters.targets(["onnx"], ["none"])
    with pytest.raises(GateError, match=r"differs from Keras' by .*, allowed 0 \(export\.max_d"):
        exporters.run(run, wanted, options(max_difference=0.0))


def test_calibration_is_of_training_images_and_class_balanced(run):
    from cifarnet import data
    from cifarnet.exporters.run import _calibration

    settings = config.load(run.config_file)
    dataset = data.load(settings.data, settings.seed)
    chosen = _calibration(dataset, 100, settings.seed)
    train = dataset.train
    training = {
        image.tobytes(): label for image, label in zip(train.pixels, train.labels, strict=True)
    }
    labels = [training[image.tobytes()] for image in chosen]
    assert np.bincount(labels).tolist() == [10] * 10


def test_a_pruned_network_has_its_zeros_and_its_accuracy(run):
    prune = config.PruneConfig(sparsity=0.5, epochs=2)
    wanted = exporters.targets(["keras"], ["none"], pruned=True)
    assert [target.name for target in wanted] == ["keras-pruned"]
    (document,) = exporters.run(run, wanted, options(prune=prune, max_accuracy_loss=0.2))
    model = keras.models.load_model(run.exports_folder / "keras-pruned" / "model.keras")
    kernels = [w.numpy() for w in model.weights if len(w.shape) > 1]
    for kernel in kernels:
        assert np.count_nonzero(kernel) == kernel.size - kernel.size // 2
    noted = document["prune"]
    zeros = sum(kernel.size // 2 for kernel in kernels) / sum(kernel.size for kernel in kernels)
    assert noted["sparsity_reached"] == pytest.approx(zeros)
    # The proof measures the pruned network on the same images.
    assert noted["accuracy"] == document["proof"]["reference_accuracy"]
    (whole,) = exporters.run(run, exporters.targets(["keras"], ["none"]), options())
    assert noted["accuracy_before"] == whole["proof"]["accuracy"]
    assert document["compressed_bytes"] < 0.75 * whole["compressed_bytes"]
    assert whole["prune"] is None


def test_the_smallest_weights_go_and_the_others_are_trained_on(run):
    from cifarnet import data
    from cifarnet.exporters import pruning

    settings = config.load(run.config_file)
    trained = keras.models.load_model(run.model_file)
    dataset = data.load(settings.data, settings.seed)
    prune = config.PruneConfig(sparsity=0.25, epochs=0.1)
    pruned = pruning.prune(trained, settings, prune, dataset)
    for before, after in zip(trained.weights, pruned.weights, strict=True):
        before, after = before.numpy(), after.numpy()
        if before.ndim > 1:
            kept = after != 0
            assert np.abs(before[~kept]).max() <= np.abs(before[kept]).min()
            assert not np.array_equal(before[kept], after[kept])
            np.testing.assert_allclose(before[kept], after[kept], atol=0.05)


def test_a_network_pruned_to_nothing_fails_and_nothing_is_written(run):
    prune = config.PruneConfig(sparsity=0.999, epochs=0.1)
    wanted = exporters.targets(["onnx"], ["none"], pruned=True)
    with pytest.raises(GateError, match=r"the pruned network loses .* \(export\.prune\.epochs\)"):
        exporters.run(run, wanted, options(prune=prune))
    assert not list(run.exports_folder.glob("*pruned*onnx*")) + list(
        run.exports_folder.glob("onnx-pruned*")
    )


def test_kernels_are_rounded_to_127_steps_of_each_output():
    from cifarnet.exporters import qat

    kernel = tf.constant([[[[1.0, -0.5], [0.013, 0.25]]]])  # [1, 1, 2, 2]: two outputs
    with tf.GradientTape() as tape:
        tape.watch(kernel)
        given = qat.round_kernel(kernel, 2)
    expected = [[1.0, -0.5], [2 / 127, round(0.25 * 254) / 254]]
    np.testing.assert_allclose(given[0, 0], expected, atol=1e-6)
    np.testing.assert_array_equal(tape.gradient(given, kernel), np.ones(kernel.shape))
    # Of a depthwise kernel every input is an output: all four are the largest of theirs.
    np.testing.assert_allclose(qat.round_kernel(kernel, 4), kernel, atol=1e-6)


def test_depthwise_kernels_are_rounded_by_input():
    from cifarnet.exporters import qat

    model = trained(BODIES["depthwise"])
    found = qat._depthwise(model)
    depthwise = [w.path for w in model.weights if id(w) in found]
    assert [path.split("/")[-1] for path in depthwise] == ["kernel", "depthwise_kernel"]
    assert [path.startswith("depthwise") for path in depthwise] == [True, False]


def test_the_rounded_pass_trains_the_models_own_weights():
    """Against the same network with its weights rounded by hand and its outputs compared."""
    from cifarnet.exporters import qat

    model = trained([{"Conv2D": CONV}, "BatchNormalization", "ReLU"])
    images = tf.constant(pixels(16), tf.float32)
    before = [w.numpy() for w in model.weights]
    with tf.GradientTape() as tape:
        logits = qat.rounded(model)(images)
        loss = tf.reduce_mean(logits**2)
    gradients = tape.gradient(loss, [w.value for w in model.trainable_weights])
    assert all(np.isfinite(g).all() and np.abs(g).max() > 0 for g in gradients)
    changed = [not np.array_equal(w, b) for w, b in zip(model.weights, before, strict=True)]
    assert [w.path.split("/")[-1] for w, c in zip(model.weights, changed, strict=True) if c] == [
        "moving_mean",
        "moving_variance",
    ]
    model.set_weights(before)
    exact = model(images, training=True).numpy()
    assert 0 < np.abs(exact - logits).max() < 0.05 * np.abs(exact).max()


def test_what_int8_loses_is_trained_back(run):
    """One channel a thousand times the others: in one tensor of bytes, the others vanish."""
    settings = config.load(run.config_file)
    wide = keras.models.load_model(run.model_file)
    norm = next(x for x in wide.layers if isinstance(x, keras.layers.BatchNormalization))
    dense = wide.layers[-1]
    gamma, beta = norm.gamma.numpy(), norm.beta.numpy()
    kernel = dense.kernel.numpy().reshape(-1, len(gamma), 10)
    # The same function: what the normalisation multiplies, the dense layer divides.
    factor = np.where(np.arange(len(gamma)) == 0, 60.0, 1.0)
    norm.gamma.assign(gamma * factor)
    norm.beta.assign(beta * factor)
    dense.kernel.assign((kernel / factor[None, :, None]).reshape(dense.kernel.shape))
    other = runs.Run(run.path.with_name("wide"))
    shutil.copytree(run.path, other.path, ignore=shutil.ignore_patterns("exports"))
    with runs.changing(other, other.model):
        models.save(wide, other.model)
    (document,) = exporters.run(
        other, exporters.targets(["litert"], ["int8"]), options(max_accuracy_loss=0.5)
    )
    one = document["proof"]
    before = document["trained_for_int8"]["accuracy_before"]
    assert one["reference_accuracy"] - before > 0.005
    assert one["accuracy"] > before
    assert settings.seed == document["calibration"]["seed"]


def test_the_command_exports_and_says_what_to_do_next(run, tmp_path):
    done = cifarnet("export", str(run.path), "--format", "litert,c", "--json", cwd=tmp_path)
    document = json.loads(done.stdout)
    assert [(one["format"], one["quantization"]) for one in document] == [
        ("litert", "none"),
        ("c", "int8"),
    ]
    none = cifarnet("export", str(run.path), cwd=tmp_path, code=2)
    assert "nothing to export: give --format" in none.stderr
    bad = cifarnet("export", str(run.path), "--format", "tflite", cwd=tmp_path, code=2)
    assert "expected some of keras, savedmodel" in bad.stderr


def test_evaluate_takes_any_artifact(run, tmp_path):
    exporters.run(run, exporters.targets(["litert"], ["int8"]), options())
    path = run.path / "exports" / "litert-int8" / "model.tflite"
    done = cifarnet("evaluate", str(path), "--split", "validation", "--json", cwd=tmp_path)
    found = json.loads(done.stdout)
    proven = json.loads((path.parent / "export.json").read_text())["proof"]
    assert found["accuracy"] == proven["accuracy"]
    assert Path(found["folder"]).name == "model.tflite.evaluation"
