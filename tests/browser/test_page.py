"""The page in a real Chromium: files, drops, pastes, keys, and what it shows."""

import base64
import http.server
import json
import threading

import numpy as np
import pytest
from helpers import images
from helpers.networks import METADATA
from PIL import Image

from cifarnet import artifacts, browser, data, evaluation
from cifarnet.browser import chromium, runtime
from cifarnet.errors import ArtifactError, DataError
from cifarnet.explanations import maps

CLASSES = METADATA["classes"]


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.jpg"
    pixels = np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8)
    Image.fromarray(pixels).resize((400, 300)).save(path)
    return path


@pytest.fixture
def page(visit, web_page):
    opened = visit(web_page, viewport={"width": 1000, "height": 900})
    # Playwright starts to catch file choosers with the first listener, without waiting for it.
    opened.on("filechooser", lambda _: None)
    opened.wait_for_selector("#status:has-text('Ready.')")
    return opened


def shown(page) -> tuple[str, list[tuple[str, str]]]:
    """Return the answer, and the bars' names and numbers."""
    page.wait_for_selector("#result:not([hidden])")
    rows = page.locator("#bars tr").all()
    return page.inner_text("#answer"), [
        (row.locator("th").inner_text(), row.locator("td").nth(1).inner_text()) for row in rows
    ]


def expected(path, web_page) -> list[tuple[str, str]]:
    (found,) = evaluation.predict(web_page, [path], 10).images
    return [(name, f"{100 * probability:.1f} %") for name, probability in found.classes]


def test_a_chosen_file_gets_the_answer_of_predict(page, photo, web_page):
    page.set_input_files("#file", photo)
    answer, bars = shown(page)
    assert bars == expected(photo, web_page)
    assert answer == ", ".join(bars[0])
    assert page.inner_text("#took").startswith("photo.jpg; ")
    seen = page.evaluate(
        "[...document.getElementById('view').getContext('2d').getImageData(0, 0, 32, 32).data]"
    )
    view = np.array(seen, np.uint8).reshape(32, 32, 4)
    assert np.array_equal(view[..., :3], data.read_image(photo, 32))
    assert page.is_visible("#heat")


def test_a_dropped_and_a_pasted_file_get_their_answers(page, photo, web_page):
    transfer = """async (address) => {
      const transfer = new DataTransfer();
      const bytes = Uint8Array.from(atob(address), (one) => one.charCodeAt(0));
      transfer.items.add(new File([bytes], "dropped.jpg", { type: "image/jpeg" }));
      return transfer;
    }"""
    handle = page.evaluate_handle(transfer, base64.b64encode(photo.read_bytes()).decode())
    page.dispatch_event("#place", "drop", {"dataTransfer": handle})
    assert shown(page)[1] == expected(photo, web_page)
    assert page.inner_text("#took").startswith("dropped.jpg; ")
    page.evaluate(
        "(transfer) => document.dispatchEvent("
        "new ClipboardEvent('paste', { clipboardData: transfer, bubbles: true }))",
        handle,
    )
    page.wait_for_selector("#took:has-text('pasted image')")
    assert shown(page)[1] == expected(photo, web_page)


def test_what_is_no_image_gets_a_sentence_and_no_answer(page, photo, tmp_path):
    page.set_input_files("#file", photo)
    shown(page)
    text = tmp_path / "notes.txt"
    text.write_text("no image")
    page.set_input_files("#file", text)
    page.wait_for_selector("#result", state="hidden")
    says = page.inner_text("#status")
    assert says == "This is no image. Give a PNG, JPEG, BMP, GIF or WebP file."
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(photo.read_bytes()[:500])
    page.set_input_files("#file", broken)
    page.wait_for_selector("#status:has-text('This image cannot be read: it is cut off.')")


def test_the_keyboard_is_enough(page):
    page.keyboard.press("Tab")
    with page.expect_file_chooser():
        page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    page.wait_for_selector("#status:has-text('The camera is on.')")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "dismiss"
    page.keyboard.press("Enter")
    page.wait_for_selector("#status:has-text('The camera is off.')")
    assert page.evaluate("document.activeElement.id") == "photograph"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "example 1"
    page.keyboard.press("Enter")
    assert shown(page)[0]


def test_the_camera_gives_the_frame_that_is_seen_and_is_off_after_it(page):
    page.click("#photograph")
    page.wait_for_selector("#status:has-text('The camera is on.')")
    assert page.is_visible("#video") and not page.is_visible("#result")
    page.evaluate("seen = document.getElementById('video').srcObject.getTracks()")
    page.click("#take")
    shown(page)
    assert page.inner_text("#took").startswith("photo; ")
    assert page.evaluate("seen.map((track) => `${track.kind} ${track.readyState}`)") == [
        "video ended"
    ]
    assert not page.is_visible("#video")
    # Chromium's test picture is green, with a brighter sector in its middle.
    view = "document.getElementById('view').getContext('2d').getImageData(16, 16, 1, 1).data"
    red, green, blue, _ = page.evaluate(f"[...{view}]")
    assert green > 2 * max(red, blue, 20)


def test_without_a_camera_in_the_page_a_file_is_asked_for_or_a_sentence_says_so(page, web_page):
    page.evaluate("Object.defineProperty(navigator, 'mediaDevices', { value: undefined })")
    with page.expect_file_chooser() as asked:
        page.click("#photograph")
    assert asked.value.element.get_attribute("capture") == "environment"
    try:
        with chromium.opened(web_page) as other:
            says = other.evaluate(
                """new Promise((resolve) => {
                  const status = document.getElementById("status");
                  new MutationObserver(() => {
                    if (status.textContent.includes("camera")) resolve(status.textContent);
                  }).observe(status, { childList: true });
                  document.getElementById("photograph").click();
                })"""
            )
    except chromium.NotStarted as error:
        pytest.skip(f"no page was opened in a browser: {error}")
    assert says.startswith("The camera cannot be used: ")
    assert says.endswith(". Choose a file instead.")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_and_it_fits_a_phone(visit, web_page, photo, scheme):
    from axe_playwright_python.sync_playwright import Axe

    size = {"width": 360, "height": 800}
    opened = visit(web_page, color_scheme=scheme, bypass_csp=True, viewport=size)
    opened.set_input_files("#file", photo)
    shown(opened)
    violations = Axe().run(opened).response["violations"]
    serious = [one for one in violations if one["impact"] in ("serious", "critical")]
    assert not serious, json.dumps(serious, indent=1)[:3000]
    assert opened.evaluate("document.documentElement.scrollWidth") == 360
    opened.locator("#examples button").last.click()
    opened.wait_for_selector("#took:has-text('example 3; ')")
    assert 0 <= opened.locator("#answer").bounding_box()["y"] < 800


def test_the_heat_map_is_that_of_explain(web_page):
    predict = artifacts.load_predictor(web_page)
    pixels = np.random.default_rng(5).integers(0, 256, (1, 32, 32, 3), np.uint8)
    top = predict(pixels).argmax(axis=1)
    text = web_page.read_text()
    start = text.index('"color":[')
    color = json.loads(text[start + 8 : text.index("]", start) + 1])
    (expected,) = maps.occlusion(predict, color)(pixels, top)
    try:
        with chromium.opened(web_page) as page:
            code = f"cifarnet.answer(Uint8Array.from({pixels.ravel().tolist()}))"
            heat = page.evaluate(f"{code}.then((answer) => [...answer.heat])")
    except chromium.NotStarted as error:
        pytest.skip(f"no page was opened in a browser: {error}")
    np.testing.assert_allclose(np.reshape(heat, (32, 32)), expected, atol=2e-6)


# --- the page of a server -----------------------------------------------------------------


class _Server(http.server.BaseHTTPRequestHandler):
    """Sends the page, and answers the first request with 401, the others with `answer`."""

    html = ""
    answer: object = None
    token = ""
    requests: list = []  # noqa: RUF012

    def do_GET(self):
        self._send(200, self.html.encode(), "text/html")

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.requests.append((self.path, self.headers.get("Authorization"), body))
        if self.token and self.headers.get("Authorization") != f"Bearer {self.token}":
            self._send(401, b'{"error": "expected a token"}', "application/json")
        else:
            self._send(200, json.dumps(self.answer).encode(), "application/json")

    def _send(self, code, body, kind):
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def test_the_page_of_a_server_asks_it_with_its_token(browser, photo, request):
    names = ("a", "<b>", "c")
    made = page_of_server(names)
    heat = np.zeros((32, 32))
    heat[31, 31] = 1
    found = [{"class": "<b>", "probability": 0.75}, {"class": "c", "probability": 0.25}]
    handler = type(
        "Handler",
        (_Server,),
        {
            "html": made.html,
            "token": "secret",
            "requests": [],
            "answer": {
                "classes": [*found, {"class": "a", "probability": 0.0}],
                "heat": heat.tolist(),
            },
        },
    )
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        context = browser.new_context()
        request.addfinalizer(context.close)
        opened = context.new_page()
        opened.goto(f"http://127.0.0.1:{server.server_port}/")
        opened.set_input_files("#file", photo)
        opened.wait_for_selector("#status:has-text('The server refuses it: expected a token')")
        opened.fill("#token", "secret")
        opened.set_input_files("#file", photo)
        answer, bars = shown(opened)
        server.shutdown()
    assert (answer, bars) == ("<b>, 75.0 %", [("<b>", "75.0 %"), ("c", "25.0 %"), ("a", "0.0 %")])
    assert "most at the bottom right" in opened.inner_text("#heat-figure")
    path, authorization, body = handler.requests[-1]
    assert (path, authorization, body) == (
        "/predict?top=3&heat=1",
        "Bearer secret",
        photo.read_bytes(),
    )


def page_of_server(names) -> browser.Page:
    return browser.for_server(browser.About("</script><script>alert(1)", names, 32, True))


def test_names_are_text_and_the_policy_is_that_of_the_header():
    made = page_of_server(("</script>", "b"))
    assert made.html.count("<script") == 2 and "alert(1)</h1>" in made.html
    assert made.policy in made.html
    assert "connect-src 'self'" in made.policy and "unsafe" not in made.policy
    assert "was calibrated" in made.html and "was not calibrated" not in made.html


# --- what is inside -------------------------------------------------------------------------


def test_the_network_inside_is_found_and_a_page_without_one_refused(web_page, tmp_path):
    import onnx

    model = onnx.load_from_string(browser.network_in(web_page))
    assert [one.name for one in model.graph.input] == ["pixels"]
    other = tmp_path / "report.html"
    other.write_text("<html></html>")
    with pytest.raises(ArtifactError, match=r"has no network inside: expected index\.html"):
        artifacts.load_predictor(other)
    cut = web_page.read_text().replace('id="network">H4sI', 'id="network">AAAA')
    other.write_text(cut)
    with pytest.raises(ArtifactError, match=r"the network inside .* is damaged"):
        artifacts.load_predictor(other)


def test_the_page_addresses_nothing_and_bears_the_license(web_page):
    text = web_page.read_text()
    head = text[: text.index('<script type="application/json"')]
    assert " src=" not in head and " href=" not in head
    assert "Copyright (c) Microsoft Corporation" in head
    assert "default-src &#39;none&#39;" in head or "default-src 'none'" in head
    assert len(text) < 6_000_000


def test_a_runtime_with_another_checksum_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("CIFARNET_HOME", str(tmp_path / "home"))
    wrong = tmp_path / "wrong.tgz"
    wrong.write_bytes(b"wrong")
    log = images.fake_npm(monkeypatch, tmp_path / "bin", wrong)
    with pytest.raises(DataError, match=f"expected SHA-256 {runtime.PACKAGE.sha256}, received"):
        runtime.fetch()
    assert "onnxruntime-web@1.30.0" in log.read_text()
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    with pytest.raises(DataError, match=r"there is no `npm` command\. Install npm and run"):
        runtime.fetch()
