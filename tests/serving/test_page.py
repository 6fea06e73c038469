"""The page of a real server in a real Chromium."""

import pytest
from helpers.serving import CLASSES, noise, serving
from PIL import Image

import cifarnet

TOKEN = "correct-horse-battery"


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "picture.png"
    Image.fromarray(noise(1, 5)[0]).resize((200, 150)).save(path)
    return path


def test_the_page_asks_for_the_token_and_shows_the_answer_of_predict(
    browser, network, picture, tmp_path
):
    (tmp_path / "token").write_text(TOKEN)
    complaints = []
    context = browser.new_context()
    with serving(network, "--token-file", tmp_path / "token") as server:
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text))
        page.goto(server.url)
        page.set_input_files("#file", picture)
        page.wait_for_selector("#status:has-text('Authorization: Bearer TOKEN')")
        page.fill("#token", TOKEN)
        page.press("#token", "Enter")
        page.wait_for_selector("#result:not([hidden])")
        answer, rows = page.inner_text("#answer"), page.locator("#bars tr").count()
        heat = page.inner_text("#heat-figure")
        page.click("#photograph")
        page.wait_for_selector("#status:has-text('The camera is on.')")
        page.click("#take")
        page.wait_for_selector("#took:has-text('photo; ')")
        context.close()
    (predicted,) = cifarnet.predict(network, [picture], top=10).images
    name, probability = predicted.classes[0]
    assert answer == f"{name}, {100 * probability:.1f} %"
    assert rows == len(CLASSES)
    assert "most at" in heat or "most in" in heat
    assert len(complaints) == 1 and "401" in complaints[0]
