"""The exported repository in a real Triton, beside `cifarnet predict` and `cifarnet serve`."""

import asyncio
import json
import shutil
import subprocess

import numpy as np
import pytest
import tritonclient.http as client
import tritonclient.http.aio as asynchronous
from helpers import triton
from helpers.commands import cifarnet
from helpers.serving import noise, run, serving
from PIL import Image

import cifarnet as library

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def installed():
    return triton.installation()


@pytest.fixture(scope="module")
def trained(installed, tmp_path_factory):
    """A run with its exported repository, in which an evaluation has left its files."""
    home = tmp_path_factory.mktemp("home")
    cifarnet("train", "--config", "smoke", cwd=home)
    cifarnet("export", "latest", "--format", "triton", cwd=home)
    made = next((home / "runs").glob("*-smoke"))
    cifarnet("evaluate", made / "exports" / "triton", cwd=home)
    assert list(made.glob("exports/triton/smoke/1/model.onnx.evaluation/*.json"))
    return made


@pytest.fixture(scope="module")
def repository(trained):
    return trained / "exports" / "triton"


@pytest.fixture(scope="module")
def port(installed, repository, tmp_path_factory):
    folder = tmp_path_factory.mktemp("triton")
    served = shutil.copytree(repository, folder / "repository")
    if not (installed.backends / "onnxruntime").is_dir():
        triton.serve_by_python(served, installed)
    with triton.triton(installed, served, folder) as port:
        yield port


@pytest.fixture(scope="module")
def server(port):
    with client.InferenceServerClient(f"127.0.0.1:{port}", concurrency=4) as made:
        yield made


def tensor(pixels, binary=True):
    made = client.InferInput("pixels", list(pixels.shape), "UINT8")
    made.set_data_from_numpy(pixels, binary_data=binary)
    return [made]


def test_triton_reads_the_configuration_as_it_is(installed, repository, tmp_path):
    """All that a Triton without the ONNX Runtime backend lacks is that backend."""
    if (installed.backends / "onnxruntime").is_dir():
        pytest.skip("this Triton has the ONNX Runtime backend: it serves the repository as it is")
    words = triton.command(installed, repository, tmp_path, 0)
    environment = triton.environment(installed)
    done = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=60)
    failed = [line for line in done.stderr.splitlines() if "failed to load" in line]
    assert len(failed) == 3, done.stderr  # the version, the model, all models
    assert "'smoke' version 1" in failed[0]
    assert "unable to find backend library for backend 'onnxruntime'" in failed[0]


def test_triton_has_the_repository_and_nothing_else(server):
    assert server.is_server_ready() and server.is_model_ready("smoke", "1")
    listed = [(one["name"], one["version"]) for one in server.get_model_repository_index()]
    assert listed == [("smoke", "1")]
    config = server.get_model_config("smoke")
    assert (config["name"], config["max_batch_size"]) == ("smoke", 1024)
    (pixels,), (probabilities,) = config["input"], config["output"]
    assert (pixels["name"], pixels["data_type"], pixels["dims"]) == (
        "pixels",
        "TYPE_UINT8",
        [32, 32, 3],
    )
    assert (probabilities["name"], probabilities["data_type"], probabilities["dims"]) == (
        "probabilities",
        "TYPE_FP32",
        [10],
    )
    assert probabilities["label_filename"] == "labels.txt"
    assert config["dynamic_batching"]["max_queue_delay_microseconds"] == 0


def test_the_metadata_is_that_of_cifarnet_serve(server, repository):
    about = server.get_model_metadata("smoke")
    with serving(repository.parents[1]) as ours:
        _, body = ours.ask("GET", "/v2/models/smoke")
    said = json.loads(body)
    for key in ("name", "versions", "inputs", "outputs"):
        assert about[key] == said[key]


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("compression", [None, "gzip"])
def test_probabilities_are_those_of_cifarnet_predict(
    server, repository, binary, compression, tmp_path
):
    pixels = noise(20)
    for i, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / f"{i:02}.png")
    done = cifarnet("predict", repository, tmp_path, "--top", 10, "--json", cwd=tmp_path)
    said = [
        {one["class"]: one["probability"] for one in image["classes"]}
        for image in json.loads(done.stdout)["images"]
    ]
    names = library.load_predictor(repository).class_names
    expected = np.float32([[image[name] for name in names] for image in said])
    wanted = client.InferRequestedOutput("probabilities", binary_data=binary)
    found = server.infer(
        "smoke",
        tensor(pixels, binary),
        outputs=[wanted],
        request_compression_algorithm=compression,
        response_compression_algorithm=compression,
    ).as_numpy("probabilities")
    assert found.dtype == np.float32
    difference = np.abs(found - expected).max()
    print(f"Triton's probabilities differ from `cifarnet predict` by at most {difference:.2g}")
    assert difference < 1e-6


def test_classes_have_their_names(server, repository):
    pixels = noise(3)
    predict = library.load_predictor(repository)
    wanted = client.InferRequestedOutput("probabilities", class_count=2)
    found = server.infer("smoke", tensor(pixels), outputs=[wanted]).as_numpy("probabilities")
    assert found.shape == (3, 2)
    for row, texts in zip(predict(pixels), found, strict=True):
        top = np.argsort(-row)[:2]
        for index, text in zip(top, texts, strict=True):
            value, number, name = text.decode().split(":")
            assert (int(number), name) == (index, predict.class_names[index])
            assert float(value) == pytest.approx(row[index], abs=1e-6)


def test_requests_that_wait_form_batches_and_each_gets_its_own_answer(server, port, repository):
    pixels = noise(400)
    expected = library.load_predictor(repository)(pixels)
    before = server.get_inference_statistics("smoke")["model_stats"][0]

    async def ask_all():
        async with asynchronous.InferenceServerClient(f"127.0.0.1:{port}", conn_limit=32) as made:
            asked = [made.infer("smoke", tensor(one[None])) for one in pixels]
            return [found.as_numpy("probabilities")[0] for found in await asyncio.gather(*asked)]

    found = np.stack(run(ask_all()))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    after = server.get_inference_statistics("smoke")["model_stats"][0]
    requests, batches = (
        after[name] - before.get(name, 0) for name in ("inference_count", "execution_count")
    )
    assert requests == 400
    assert batches < 400


def test_the_largest_request_is_that_of_cifarnet_serve(server):
    assert server.infer("smoke", tensor(noise(1024))).as_numpy("probabilities").shape == (1024, 10)
    with pytest.raises(client.InferenceServerException, match="1024"):
        server.infer("smoke", tensor(noise(1025)))
