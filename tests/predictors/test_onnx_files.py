"""ONNX files: weights in another file, several outputs, outputs of other shapes, inner batches."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from cifarnet import predictors
from cifarnet.errors import ArtifactError
from cifarnet.predictors import Preprocessing

KERNEL = np.random.default_rng(0).normal(0, 1e-3, (3 * 8 * 8, 10)).astype(np.float32)


def pixels(count: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), np.uint8)


def expected(images: np.ndarray) -> np.ndarray:
    logits = images.transpose(0, 3, 1, 2).reshape(len(images), -1).astype(np.float32) @ KERNEL
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def model(rows: int = -1, last: tuple[int, ...] = (-1, 10), more: bool = False, cast: int = 0):
    """A dense layer on images [N, 3, 8, 8].

    Args:
        rows: of the inner matrix; 1 fails on larger batches.
        last: shape of the output.
        more: whether there is an output `features` before it.
        cast: the type of the output, if not float.
    """
    nodes = [
        helper.make_node("Reshape", ["x", "rows"], ["features"]),
        helper.make_node("MatMul", ["features", "kernel"], ["dense"]),
        helper.make_node("Reshape", ["dense", "last"], ["y0"]),
        helper.make_node("Cast", ["y0"], ["y"], to=cast or TensorProto.FLOAT),
    ]
    images = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 8, 8])
    outputs = [helper.make_tensor_value_info("y", cast or TensorProto.FLOAT, None)]
    if more:
        outputs.insert(0, helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", 192]))
    constants = {
        "rows": np.array([rows, 192]),
        "kernel": KERNEL,
        "last": np.array(last),
    }
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "g", [images], outputs, tensors)
    opset = helper.make_opsetid("", 13)
    return helper.make_model(graph, opset_imports=[opset], ir_version=8)


def write(folder: Path, proto: onnx.ModelProto) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


@pytest.mark.parametrize(
    "last",
    [(-1, 10, 1, 1), (-1, 1, 1, 10), (-1, 1, 10)],
    ids=lambda shape: "x".join(map(str, shape)),
)
def test_dimensions_of_one_are_left_out(last, tmp_path):
    predictor = predictors.load(write(tmp_path, model(last=last)))
    np.testing.assert_allclose(predictor(pixels()), expected(pixels()), atol=1e-6)


def test_other_shapes_are_refused(tmp_path):
    path = write(tmp_path, model(last=(-1, 5, 2)))
    with pytest.raises(ArtifactError, match=r"expected an output \[N, classes\] for 9 images, "):
        predictors.load(path)


def test_class_numbers_are_refused(tmp_path):
    path = write(tmp_path, model(cast=TensorProto.INT64))
    with pytest.raises(ArtifactError, match=r"received int64 .* class numbers"):
        predictors.load(path)


def test_a_network_that_fails_on_batches_gets_single_images(tmp_path):
    predictor = predictors.load(write(tmp_path, model(rows=1)))
    np.testing.assert_allclose(predictor(pixels()), expected(pixels()), atol=1e-6)
    assert "one image at a time, since it fails on several" in predictor.assumed


def test_the_first_of_several_outputs_is_not_taken_by_chance(tmp_path):
    path = write(tmp_path, model(more=True))
    with pytest.raises(ArtifactError, match=r"2 outputs: features \['N', 192\], y .*--output-name"):
        predictors.load(path)
    predictor = predictors.load(path, preprocessing=Preprocessing(output_name="y"))
    np.testing.assert_allclose(predictor(pixels()), expected(pixels()), atol=1e-6)


# --- weights in another file ------------------------------------------------------------


def external(folder: Path, location: str = "model.onnx.data", **entries: object) -> Path:
    """Write a model whose kernel is at byte 64 of `location`, as PyTorch does by default."""
    proto = model()
    tensor = proto.graph.initializer[1]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    given = {"location": location, "offset": 64, "length": KERNEL.nbytes, **entries}
    for key, value in given.items():
        entry = tensor.external_data.add()
        entry.key, entry.value = key, str(value)
    return write(folder, proto)


def data(folder: Path, name: str = "model.onnx.data") -> Path:
    path = folder / name
    path.write_bytes(bytes(64) + KERNEL.tobytes())
    return path


@pytest.mark.parametrize("relative", [True, False])
def test_weights_beside_the_file_load_from_any_working_directory(relative, tmp_path, monkeypatch):
    place, other = tmp_path / "place", tmp_path / "other"
    for folder in (place, other):
        folder.mkdir()
    data(place)
    (other / "model.onnx.data").write_bytes(bytes(64 + KERNEL.nbytes))  # of another model
    path = external(place)
    monkeypatch.chdir(other)
    predictor = predictors.load(Path("../place/model.onnx") if relative else path)
    np.testing.assert_allclose(predictor(pixels()), expected(pixels()), atol=1e-6)


def test_weights_in_a_folder_below_load(tmp_path):
    (tmp_path / "weights").mkdir()
    data(tmp_path, "weights/w.bin")
    predictor = predictors.load(external(tmp_path, "weights/w.bin"))
    np.testing.assert_allclose(predictor(pixels()), expected(pixels()), atol=1e-6)


@pytest.mark.parametrize("way", ["absolute", "parent", "link", "linked folder"])
def test_weights_outside_the_folder_are_not_read(way, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    secret = data(tmp_path, "secret")
    places = {"absolute": str(secret), "parent": "../secret", "link": "link"}
    location = places.get(way, "up/secret")
    (folder / "link").symlink_to(secret)
    (folder / "up").symlink_to(tmp_path)
    with pytest.raises(ArtifactError, match="which is not in its folder"):
        predictors.load(external(folder, location))


def test_missing_or_short_weights_are_named(tmp_path):
    path = external(tmp_path)
    with pytest.raises(ArtifactError, match=r"model\.onnx\.data, which is missing; copy it to"):
        predictors.load(path)
    (tmp_path / "model.onnx.data").write_bytes(bytes(100))
    with pytest.raises(ArtifactError, match="shorter than the weights it should have"):
        predictors.load(path)


def test_weights_beside_the_file_are_inside_the_size_limit(tmp_path):
    with data(tmp_path).open("r+b") as file:
        file.truncate(1_100_000_000)  # no byte of it is on the disk
    with pytest.raises(ArtifactError, match="more than 1,000,000,000 bytes with its weights"):
        predictors.load(external(tmp_path, length=1_050_000_000))


def test_the_limit_is_of_all_weights_together(tmp_path, monkeypatch):
    from cifarnet.predictors import onnx as module

    data(tmp_path)
    path = external(tmp_path)
    proto = onnx.ModelProto.FromString(path.read_bytes())
    proto.graph.initializer.add().CopyFrom(proto.graph.initializer[1])
    proto.graph.initializer[-1].name = "unused"
    write(tmp_path, proto)
    room = path.stat().st_size + 2 * KERNEL.nbytes
    monkeypatch.setattr(module, "MAX_BYTES", room)
    np.testing.assert_allclose(predictors.load(path)(pixels()), expected(pixels()), atol=1e-6)
    monkeypatch.setattr(module, "MAX_BYTES", room - 1)
    with pytest.raises(ArtifactError, match="bytes with its weights"):
        predictors.load(path)


def test_two_inputs_and_inputs_of_other_types_are_refused(tmp_path):
    two = model()
    two.graph.input.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, [1]))
    with pytest.raises(ArtifactError, match=r"expected one input of .*received x: .*, z: "):
        predictors.load(write(tmp_path, two))
    other = model()
    other.graph.input[0].type.tensor_type.elem_type = TensorProto.INT64
    other.graph.node[0].input[0] = "float"
    other.graph.node.insert(0, helper.make_node("Cast", ["x"], ["float"], to=TensorProto.FLOAT))
    with pytest.raises(ArtifactError, match=r"expected one input of .*received x: tensor\(int64\)"):
        predictors.load(write(tmp_path, other))
