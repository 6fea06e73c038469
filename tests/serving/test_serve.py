"""What is served: a run by its export, a file; without TensorFlow; and what is refused."""

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers.commands import cifarnet
from helpers.serving import noise, serving
from PIL import Image

from cifarnet import data, load_config, load_predictor
from cifarnet.explanations import maps
from cifarnet.runs import Run
from cifarnet.serving import examples


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A trained run without an export."""
    home = tmp_path_factory.mktemp("home")
    cifarnet("train", "--config", "smoke", "-o", "train.epochs=1", cwd=home)
    return next((home / "runs").glob("*-smoke"))


def rows(server, name: str, pixels: np.ndarray) -> np.ndarray:
    body = json.dumps({"inputs": pixels.tolist()})
    response, answer = server.ask("POST", f"/v1/models/{name}:predict", body)
    assert response.status == 200, answer
    return np.float32(json.loads(answer)["outputs"])


def test_a_run_is_served_by_its_export_without_tensorflow(run):
    """Exported first, once; then as it is; by LiteRT where that is all there is."""
    exported, pixels = run / "exports" / "onnx", noise(3)
    shutil.rmtree(run / "exports", ignore_errors=True)
    with serving(run) as server:
        written = (exported / "model.onnx").stat().st_mtime_ns
        found = rows(server, "smoke", pixels)
        assert np.array_equal(found, load_predictor(exported)(pixels))
        maps = Path(f"/proc/{server.process.pid}/maps").read_text()
        assert "onnxruntime" in maps and "tensorflow" not in maps
        assert server.stop() == 0
    with serving(run) as server:
        assert (exported / "model.onnx").stat().st_mtime_ns == written
        assert np.array_equal(rows(server, "smoke", pixels), found)

    cifarnet("export", run, "--format", "litert", cwd=run)
    shutil.rmtree(exported)
    with serving(run) as server:
        _, body = server.ask("GET", "/v2/models/smoke")
        assert json.loads(body)["platform"] == "litert"
        np.testing.assert_allclose(rows(server, "smoke", pixels), found, atol=1e-5)
        one_by_one = [load_predictor(run / "exports" / "litert")(x[None])[0] for x in pixels]
        assert np.array_equal(rows(server, "smoke", pixels), np.stack(one_by_one))
        maps = Path(f"/proc/{server.process.pid}/maps").read_text()
        assert "litert" in maps and "tensorflow/" not in maps


def test_a_run_that_was_trained_further_is_exported_anew(tmp_path):
    cifarnet("train", "--config", "smoke", "-o", "train.epochs=1", cwd=tmp_path)
    (run,) = (tmp_path / "runs").glob("*-smoke")
    cifarnet("export", run, "--format", "onnx", cwd=tmp_path)
    cifarnet("evaluate", run, "--split", "validation", cwd=tmp_path)
    assert examples.of(Run(run)) is not None
    old, pixels = load_predictor(run / "exports" / "onnx")(noise(3)), noise(3)
    cifarnet("train", "--resume", run, "-o", "train.epochs=2", cwd=tmp_path)
    assert examples.of(Run(run)) is None
    with serving(run) as server:
        found = rows(server, "smoke", pixels)
    np.testing.assert_allclose(found, load_predictor(run)(pixels), atol=1e-5)
    assert np.abs(found - old).max() > 1e-3


def test_its_heat_map_has_the_training_images_mean_color(run):
    """As `explain` has it: the file states the color that covers the squares."""
    pixels = noise(1) // 8  # dark: its own mean color is far from that of the training images
    file = io.BytesIO()
    Image.fromarray(pixels[0]).save(file, "PNG")
    shutil.rmtree(run / "exports", ignore_errors=True)
    with serving(run) as server:
        _, answer = server.ask("POST", "/predict?heat=1", file.getvalue())
    predict = load_predictor(run / "exports" / "onnx")
    labels = predict(pixels).argmax(axis=1)
    settings = load_config(run / "config.yaml")
    mean = data.load(settings.data, settings.seed).mean
    expected = maps.occlusion(predict, mean)(pixels, labels)[0]
    assert np.allclose(json.loads(answer)["heat"], expected, atol=1e-4)
    other = maps.occlusion(predict, pixels[0].mean(axis=(0, 1)))(pixels, labels)[0]
    assert not np.allclose(other, expected, atol=1e-3)


def test_what_cannot_be_served_is_told(run, tmp_path):
    done = cifarnet("serve", run / "nothing", "--port", "0", cwd=tmp_path, code=1)
    assert "expected a run" in done.stderr
    copied = shutil.copy(run / "model.keras", tmp_path / "model.keras")
    done = cifarnet("serve", copied, "--json", "--port", "0", cwd=tmp_path, code=1)
    assert "expected a run, or an .onnx or .tflite file" in json.loads(done.stdout)["error"]
    done = cifarnet("serve", run, "--host", "0.0.0.0", "--port", "0", cwd=tmp_path, code=1)
    assert "give --token-file FILE" in done.stderr
    done = cifarnet("serve", run, "--max-body", "ten", "--port", "0", cwd=tmp_path, code=2)
    assert "expected a size such as 10MB" in done.stderr


def test_a_run_that_cannot_be_exported_says_why(run, tmp_path):
    broken = shutil.copytree(run, tmp_path / "broken")
    shutil.rmtree(broken / "exports", ignore_errors=True)
    (broken / "model.keras").write_bytes(b"nothing")
    done = cifarnet("serve", broken, "--port", "0", cwd=tmp_path, code=1)
    assert "cannot be exported: " in done.stderr and "model.keras" in done.stderr


def test_an_export_that_has_changed_is_refused(run, tmp_path):
    changed = shutil.copytree(run, tmp_path / "changed")
    cifarnet("export", changed, "--format", "litert", cwd=tmp_path)
    shutil.rmtree(changed / "exports" / "onnx", ignore_errors=True)
    model = changed / "exports" / "litert" / "model.tflite"
    model.write_bytes(model.read_bytes() + b"x")
    done = cifarnet("serve", changed, "--port", "0", cwd=tmp_path, code=1)
    assert "model.tflite" in done.stderr


def test_a_missing_package_is_told_with_its_extra():
    code = "import sys; sys.modules['uvicorn'] = None; import cifarnet; cifarnet.serve"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert (
        "needs the package uvicorn; install it with: pip install 'cifarnet[serve]'" in done.stderr
    )


@pytest.mark.parametrize(
    "call",
    [
        "async def call(): serve()\nasyncio.run(call())",  # as in a notebook
        "concurrent.futures.ThreadPoolExecutor(1).submit(serve).result()",
    ],
)
def test_a_thread_and_an_event_loop_are_refused(call, network):
    code = f"""
import asyncio, concurrent.futures, functools
import cifarnet
serve = functools.partial(cifarnet.serve, {str(network)!r}, port=0)
{call}
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "ConfigError: serve runs in the main thread without an event loop" in done.stderr
    assert "never awaited" not in done.stderr


def test_a_limit_below_one_is_refused(network):
    code = f"import cifarnet; cifarnet.serve({str(network)!r}, max_body=0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "ConfigError: max_body: expected at least 1, received 0" in done.stderr


def test_the_end_is_told_as_json(network):
    with serving(network, "--json") as server:
        url = server.url
        assert server.stop() == 0
        document = json.loads(server.process.stdout.read())
    assert document["url"] == url
    assert document["model"] == "dense"
    assert document["runtime"].startswith("ONNX Runtime")
    assert any("pixels 0-255" in text for text in document["assumed"])


def test_stated_preprocessing_is_used(network):
    pixels = noise(2)
    with serving(network, "--mean", "10,20,30") as server:
        found = rows(server, "dense", pixels + np.uint8(0))
    from cifarnet import Preprocessing

    stated = load_predictor(network, Preprocessing(mean=(10.0, 20.0, 30.0)))(pixels)
    assert np.array_equal(found, stated)
    assert not np.array_equal(found, load_predictor(network)(pixels))


def test_names_of_classes_that_cannot_be_shown_are_escaped(network, tmp_path):
    """A file's own names may have what UTF-8 cannot encode."""
    model = onnx.load(network)
    about = model.metadata_props.add()
    about.key, about.value = "cifarnet", json.dumps({"classes": ["b\udce9te", "a\tb", *"cdefghij"]})
    onnx.save(model, tmp_path / "named.onnx")
    with serving(tmp_path / "named.onnx") as server:
        _, body = server.ask("GET", "/openapi.json")
        operation = json.loads(body)["paths"]["/predict"]["post"]
        schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
        names = schema["properties"]["classes"]["items"]["properties"]["class"]["enum"]
    assert names == ["b\\udce9te", "a\\x09b", *"cdefghij"]
