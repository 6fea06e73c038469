"""Pixels in Chromium against Pillow's, byte by byte."""

import base64

import numpy as np
import pytest
from helpers import pictures
from PIL import Image

from cifarnet.browser import chromium
from cifarnet.data import image_file


@pytest.fixture(scope="module")
def opened(web_page):
    try:
        with chromium.opened(web_page) as page:
            yield page
    except chromium.NotStarted as error:
        pytest.skip(f"no page was opened in a browser: {error}")


def prepared(page: chromium.OpenPage, content: bytes) -> np.ndarray:
    answer = page.evaluate(pictures.preparation(content))
    return np.frombuffer(base64.b64decode(answer), np.uint8).reshape(32, 32, 3)


def test_every_kind_of_picture_is_prepared_to_the_byte_as_predict_does(opened):
    files = pictures.all_files()
    assert len(files) >= 140
    wrong = [
        name
        for name, content in files.items()
        if not np.array_equal(prepared(opened, content), image_file.decode(content, 32))
    ]
    assert wrong == []


def test_a_photo_of_2_megapixels_is_prepared_to_the_byte(opened):
    content = pictures.file(pictures.textured(1600, 1200), "JPEG", quality=85)
    assert np.array_equal(prepared(opened, content), image_file.decode(content, 32))


def test_a_picture_of_another_way_of_resizing_would_be_seen():
    image = pictures.textured(400, 233)
    other = np.asarray(image.resize((32, 32), Image.Resampling.BICUBIC))
    assert not np.array_equal(other, image_file.decode(pictures.file(image, "PNG"), 32))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "no image"),
        (b"hello", "no image"),
        (b"\xff\xd8\xff", "cut off"),
        (pictures.file(pictures.textured(90, 80), "JPEG")[:900], "cut off"),
        (pictures.file(pictures.textured(90, 80), "JPEG", progressive=True)[:900], "cut off"),
        (pictures.file(pictures.textured(90, 80), "PNG")[:900], "cut off"),
        (pictures.file(pictures.textured(90, 80), "WEBP")[:200], "damaged"),
        (pictures.file(pictures.textured(90, 80), "GIF")[:20], "damaged"),
    ],
)
def test_what_predict_refuses_the_page_refuses_with_a_sentence(opened, content, says):
    with pytest.raises(Exception, match=r".+"):
        image_file.decode(content, 32)
    with pytest.raises(chromium.PageError, match=says):
        prepared(opened, content)


def test_a_picture_of_too_many_pixels_is_refused(opened):
    header = pictures.png(np.zeros((1, 1, 1), int), 8, 0, False)
    huge = header[:16] + (60_000).to_bytes(4, "big") * 2 + header[24:]
    with pytest.raises(chromium.PageError, match="60000 x 60000 pixels are too many"):
        prepared(opened, huge)
