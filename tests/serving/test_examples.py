"""The examples on a server's page: stored images of an evaluation, and the answers on them."""

import base64
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.serving import CLASSES, serving, write_network
from PIL import Image

import cifarnet
from cifarnet import evaluation
from cifarnet.evaluation import sprite
from cifarnet.runs import Run, documents
from cifarnet.runs.results import EvaluationSource
from cifarnet.serving import examples

OLD_RUN = Path(__file__).parents[1] / "fixtures" / "format-0" / "20261125-095349-small"
TOKEN = "correct-horse-battery"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with an export and a stored evaluation on images that differ much, one per color."""
    folder = tmp_path_factory.mktemp("runs") / "small"
    shutil.copytree(OLD_RUN, folder)
    (folder / "exports" / "onnx").mkdir(parents=True)
    write_network(folder / "exports" / "onnx" / "model.onnx")
    evaluate(Run(folder), "test")
    return folder


def evaluate(run: Run, split: str) -> None:
    """Store an evaluation: image i is of class i % 10; class 3 is always taken for class 4."""
    labels = np.arange(60) % 10
    given = np.where(labels == 3, 4, labels)
    shares = np.linspace(0.6, 0.9, 60)  # later images get higher confidences
    probabilities = np.full((60, 10), 0.01)
    probabilities[np.arange(60), given] = shares
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    pixels = (
        np.zeros((60, 32, 32, 3), np.uint8) + 4 * np.arange(60, dtype=np.uint8)[:, None, None, None]
    )
    found, arrays = evaluation.measure(
        lambda _: probabilities.astype(np.float32), pixels, labels, CLASSES, EvaluationSource()
    )
    run.evaluation_folder.mkdir(exist_ok=True)
    stored = documents.write(run.evaluation_folder / f"{split}.json", found)
    sprite.write(stored.sprite, arrays["images"], stored.sprite_file)


def test_they_are_the_surest_right_image_of_each_class_that_has_one(run):
    found = examples.of(Run(run))
    assert found.source.startswith("Test images, which the network was not trained on")
    assert found.pixels.shape == (9, 32, 32, 3)
    # Of each class its last image, 50 to 59, without the class 3; WebP is within a level or two.
    expected = 4.0 * np.array([50, 51, 52, 54, 55, 56, 57, 58, 59])
    np.testing.assert_allclose(found.pixels.mean(axis=(1, 2, 3)), expected, atol=2)


def test_there_are_none_without_stored_images_or_where_these_are_damaged(run, tmp_path):
    copied = Run(shutil.copytree(run, tmp_path / "copied"))
    shutil.rmtree(copied.evaluation_folder)
    assert examples.of(copied) is None
    evaluate(copied, "validation")
    assert examples.of(copied).source.startswith("Validation images")
    (copied.evaluation_folder / "validation-images.webp").write_bytes(b"RIFF    WEBP")
    assert examples.of(copied) is None
    (copied.evaluation_folder / "validation.json").write_text("{")
    assert examples.of(copied) is None


def test_a_press_on_one_gives_the_answer_of_predict(browser, run, tmp_path):
    context = browser.new_context()
    network = run / "exports" / "onnx" / "model.onnx"
    with serving(network) as server:
        page = context.new_page()
        page.goto(server.url)
        page.locator("#examples button").nth(7).press("Enter")
        page.wait_for_selector("#took:has-text('example 8; ')")
        answer = page.inner_text("#answer")
        assert page.locator("#examples button").count() == 9
        context.close()
        _, body = server.ask("GET", "/")
    text = re.search(r'"pixels":"([^"]+)"', body.decode())[1]
    pixels = np.frombuffer(base64.b64decode(text), np.uint8).reshape(-1, 32, 32, 3)
    Image.fromarray(pixels[7]).save(tmp_path / "example.png")
    (predicted,) = cifarnet.predict(network, [tmp_path / "example.png"], top=1).images
    name, probability = predicted.classes[0]
    assert answer == f"{name}, {100 * probability:.1f} %"


def test_a_page_that_needs_no_token_has_none_if_the_answers_need_one(run, tmp_path):
    (tmp_path / "token").write_text(TOKEN)
    model = run / "exports" / "onnx" / "model.onnx"
    for arguments, has in (((model,), True), ((model, "--token-file", tmp_path / "token"), False)):
        with serving(*arguments) as server:
            response, body = server.ask("GET", "/")
        assert response.status == 200 and (b'id="examples"' in body) is has
        policy = response.getheader("Permissions-Policy")
        assert policy == "camera=(self), microphone=(), geolocation=()"
