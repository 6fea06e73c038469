"""The page in a real Firefox, from disk and without a network."""

import base64

import numpy as np
import pytest
from helpers import firefox, pictures

from cifarnet import artifacts, evaluation
from cifarnet.data import image_file

pytestmark = pytest.mark.slow

# Resolves to what `find` returns once that is neither null nor empty.
SOON = """((find) => new Promise((resolve) => {
  const look = () => { const found = find(); found ? resolve(found) : setTimeout(look, 20); };
  look();
}))"""


@pytest.fixture(scope="module")
def page(web_page, tmp_path_factory):
    if firefox.program() is None:
        pytest.skip("no Firefox on the path, so the page was not opened in it")
    with firefox.opened(tmp_path_factory.mktemp("firefox") / "profile") as opened:
        opened.open(web_page.resolve().as_uri())
        status = "document.getElementById('status').textContent"
        assert opened.evaluate(f"{SOON}(() => {status} === 'Starting ...' ? '' : {status})") == (
            "Ready."
        )
        yield opened
        assert opened.complaints == []
        assert [url for url in opened.requests if not url.startswith(("file:", "data:"))] == []


def answer_on(page: firefox.Page, name: str) -> str:
    """Return the answer on a file as it is shown, and whether its heat map is."""
    return page.evaluate(
        f"""{SOON}(() => document.getElementById("took").textContent.startsWith("{name}; ")
        && [document.getElementById("answer").textContent,
            getComputedStyle(document.getElementById("heat-figure")).display,
            document.querySelectorAll("#bars tr").length].join("|"))"""
    )


def test_a_chosen_file_gets_the_answer_of_predict_and_a_heat_map(page, web_page, tmp_path):
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(pictures.file(pictures.textured(400, 300), "JPEG"))
    page.choose("#file", photo)
    (found,) = evaluation.predict(web_page, [photo], 1).images
    name, probability = found.classes[0]
    assert answer_on(page, "photo.jpg") == f"{name}, {100 * probability:.1f} %|block|10"


def test_the_keyboard_reaches_the_examples(page):
    page.evaluate("document.getElementById('photograph').focus()")
    page.press("\ue004", "\ue007")  # Tab, Enter
    assert "%" in answer_on(page, "example 1")


def test_the_camera_gives_a_picture_and_is_off_after_it(page):
    page.evaluate("document.getElementById('photograph').focus()")
    page.press("\ue007")  # Enter
    video = "document.getElementById('video')"
    assert page.evaluate(f"{SOON}(() => {video}.videoWidth)") > 0
    track = (
        f"{SOON}(() => document.activeElement.id === 'take' && {video}.srcObject.getTracks()[0])"
    )
    page.evaluate(f"{track}.then((track) => {{ globalThis.track = track; }})")
    page.press("\ue007")
    assert "%" in answer_on(page, "photo")
    assert page.evaluate("track.readyState") == "ended"


def test_its_probabilities_are_those_of_onnx_runtime(page, web_page):
    pixels = np.random.default_rng(6).integers(0, 256, (60, 32, 32, 3), np.uint8)
    answer = page.evaluate(
        f"""(async () => {{
          const pixels = Uint8Array.from(atob("{base64.b64encode(pixels).decode()}"),
                                         (one) => one.charCodeAt(0));
          const found = new Uint8Array((await cifarnet.classify(pixels)).buffer);
          return btoa(String.fromCharCode(...found));
        }})()"""
    )
    found = np.frombuffer(base64.b64decode(answer), np.float32).reshape(60, -1)
    expected = artifacts.load_predictor(web_page)(pixels)
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=0)


def test_every_kind_of_picture_is_prepared_to_the_byte(page):
    wrong = []
    for name, content in pictures.all_files().items():
        answer = page.evaluate(pictures.preparation(content))
        if base64.b64decode(answer) != image_file.decode(content, 32).tobytes():
            wrong.append(name)
    assert wrong == []
