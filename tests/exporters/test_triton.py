"""The layouts for model servers: Triton's repository and the versioned SavedModel."""

import json

import numpy as np
import onnx
import pytest
from google.protobuf import text_format
from helpers.commands import cifarnet as command
from helpers.networks import METADATA, NETWORKS, pixels, trained
from tritonclient.grpc import model_config_pb2 as proto

import cifarnet
from cifarnet import artifacts, choices, exporters, predictors
from cifarnet.callbacks import job
from cifarnet.exporters import formats
from cifarnet.serving import network as served
from cifarnet.serving import open_inference

pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def records(run):
    found = exporters.export(run, ["triton", "savedmodel", "onnx"], callbacks=[])
    return {record.format: record for record in found}


def files(folder):
    """Return the paths of its files, without results of `evaluate`."""
    found = (str(one.relative_to(folder)) for one in folder.rglob("*") if one.is_file())
    return sorted(name for name in found if ".evaluation/" not in name)


def settings(repository, name):
    """Return a config.pbtxt as Triton reads it: an unknown field or value is an error."""
    return text_format.Parse((repository / name / "config.pbtxt").read_text(), proto.ModelConfig())


def test_the_export_is_a_model_repository(records, run):
    folder = run.exports_folder / "triton"
    # Triton takes the folders for models; `export.json` is none.
    assert files(folder) == [
        "export.json",
        "run/1/model.onnx",
        "run/config.pbtxt",
        "run/labels.txt",
    ]
    assert records["triton"].path == folder / "run" / "1" / "model.onnx"
    expected = proto.ModelConfig(
        name="run",
        backend="onnxruntime",
        max_batch_size=1024,
        input=[proto.ModelInput(name="pixels", data_type="TYPE_UINT8", dims=[32, 32, 3])],
        output=[
            proto.ModelOutput(
                name="probabilities", data_type="TYPE_FP32", dims=[10], label_filename="labels.txt"
            )
        ],
        dynamic_batching=proto.ModelDynamicBatching(),
    )
    assert settings(folder, "run") == expected
    assert (folder / "run" / "labels.txt").read_text().splitlines() == records["triton"].classes


def test_clients_of_cifarnet_serve_find_the_same_names_and_shapes(records, run):
    """The repository has what `cifarnet serve` says of the same run."""
    with job([]) as callback:
        network = served.load(run.path, None, callback)
    said = open_inference.model_metadata(network)
    config = settings(run.exports_folder / "triton", said["name"])
    for tensors, stated in ((said["inputs"], config.input), (said["outputs"], config.output)):
        assert [
            {
                "name": one.name,
                "datatype": proto.DataType.Name(one.data_type).removeprefix("TYPE_"),
                "shape": [-1, *one.dims],
            }
            for one in stated
        ] == tensors
    assert config.max_batch_size == choices.MAX_REQUEST
    assert (run.exports_folder / "triton" / config.name / said["versions"][0]).is_dir()


def test_its_file_takes_bytes_and_gives_what_the_onnx_file_gives(records):
    inputs = onnx.load(str(records["triton"].path)).graph.input
    assert [one.type.tensor_type.elem_type for one in inputs] == [onnx.TensorProto.UINT8]
    ours, other = (predictors.load(records[name].path) for name in ("triton", "onnx"))
    assert np.array_equal(ours(pixels(40)), other(pixels(40)))
    assert ours.assumed == []
    assert records["triton"].parity.max_difference == records["onnx"].parity.max_difference < 1e-5


@pytest.mark.parametrize("quantization", ["none", "int8"])
def test_the_input_is_cast_once_in_both_quantizations(quantization, exported):
    graph = onnx.load(str(exported("residual", "triton", quantization))).graph
    assert graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    takers = [node.op_type for node in graph.node if "pixels" in node.input]
    assert takers == ["Cast"]
    one, other = (
        predictors.load(exported("residual", kind, quantization)) for kind in ("triton", "onnx")
    )
    assert np.array_equal(one(pixels(20)), other(pixels(20)))


def test_a_label_is_one_line_whatever_the_folder_of_its_class_is_called(tmp_path):
    names = ["two\nlines", "\r\nx", 'a "quoted" \\ one', "ç", *"efghij"]
    metadata = {**METADATA, "classes": names}
    formats.write("triton", "none", trained(NETWORKS["flatten"]), pixels(10), metadata, tmp_path)
    labels = (tmp_path / "small" / "labels.txt").read_text(encoding="utf-8").split("\n")
    assert labels == ["two lines", " x", *names[2:], ""]


def test_the_savedmodel_is_a_version_of_the_run(records, run):
    folder = run.exports_folder / "savedmodel"
    assert records["savedmodel"].path == folder / "run" / "1"
    assert {
        "run/1/saved_model.pb",
        "run/1/variables/variables.index",
        "run/1/assets.extra/cifarnet.json",
    } <= set(files(folder))


@pytest.mark.parametrize("name", ["triton", "savedmodel"])
def test_evaluate_takes_the_folder(name, records, run):
    found = cifarnet.evaluate(run.exports_folder / name, split="validation", callbacks=[])
    assert found.accuracy == records[name].parity.accuracy


@pytest.mark.parametrize("name", ["triton", "savedmodel"])
def test_tables_call_it_by_its_format(name, records, run):
    assert artifacts.resolve(run.exports_folder / name).name == name
    assert artifacts.resolve(records[name].path).name == name


@pytest.mark.slow
def test_openvino_gives_the_probabilities_of_both(records):
    """As the servers of OpenVINO read them: the folder of a version, or an ONNX file."""
    openvino = pytest.importorskip("openvino", reason="openvino is not installed")
    for name in ("savedmodel", "triton"):
        model = openvino.Core().read_model(str(records[name].path))
        (input_,), (output,) = model.inputs, model.outputs
        assert (input_.any_name, output.any_name) == ("pixels", "probabilities")
        # Else processors that have it compute in bfloat16.
        options = {"INFERENCE_PRECISION_HINT": "f32"}
        run = openvino.Core().compile_model(model, "CPU", options)
        images = pixels(40).astype(input_.element_type.to_dtype())
        difference = np.abs(run([images])[0] - predictors.load(records[name].path)(pixels(40)))
        assert difference.max() < 1e-5


@pytest.mark.slow
def test_all_is_every_format_in_every_quantization(tmp_path):
    command("train", "--config", "smoke", cwd=tmp_path)
    done = command("export", "latest", "--all", "--json", cwd=tmp_path)
    assert done.returncode == 0
    found = {(one["format"], one["quantization"]) for one in json.loads(done.stdout)}
    assert found == {(name, q) for name, all_ in choices.QUANTIZATIONS.items() for q in all_}
