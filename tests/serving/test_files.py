"""Image files: the same bits as `cifarnet predict`, in a body or a form, with the heat map."""

import io
import json

import numpy as np
import pytest
from helpers.serving import CLASSES, expected
from PIL import Image

import cifarnet

RANDOM = np.random.default_rng(3)


def picture(mode: str, size: tuple[int, int] = (57, 43)) -> Image.Image:
    width, height = size
    if mode == "I;16":
        return Image.fromarray(RANDOM.integers(0, 65536, (height, width), np.uint16))
    values = RANDOM.integers(0, 256, (height // 4 + 1, width // 4 + 1, 4), np.uint8)
    image = Image.fromarray(values).resize(size)
    return image if mode == "RGBA" else image.convert("LA" if mode == "LA" else "RGB").convert(mode)


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def rotated(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(picture("RGB"), "JPEG", exif=exif)


def files() -> dict[str, bytes]:
    found = {f"png-{m}": encoded(picture(m), "PNG") for m in ("L", "LA", "RGB", "RGBA", "P", "1")}
    found["png-16"] = encoded(picture("I;16"), "PNG")
    found["jpeg-cmyk"] = encoded(picture("CMYK"), "JPEG")
    found["jpeg-gray"] = encoded(picture("L"), "JPEG", quality=30)
    found["jpeg-large"] = encoded(picture("RGB", (1500, 900)), "JPEG")
    found["jpeg-progressive"] = encoded(picture("RGB", (300, 200)), "JPEG", progressive=True)
    found |= {f"jpeg-exif-{n}": rotated(n) for n in range(1, 9)}
    found["gif"] = encoded(picture("P"), "GIF")
    found["bmp"] = encoded(picture("RGB"), "BMP")
    found["webp"] = encoded(picture("RGBA"), "WEBP")
    found["webp-lossless"] = encoded(picture("RGB"), "WEBP", lossless=True)
    found["png-one-pixel"] = encoded(picture("RGB", (1, 1)), "PNG")
    found["png-line"] = encoded(picture("RGB", (700, 2)), "PNG")
    found["png-small"] = encoded(picture("RGB", (32, 32)), "PNG")
    return found


def form(content: bytes, name: str = "x.png", more: bytes = b"") -> tuple[bytes, dict[str, str]]:
    head = f'--b\r\ncontent-disposition: form-data; name="image"; filename="{name}"\r\n\r\n'
    body = more + head.encode() + content + b"\r\n--b--\r\n"
    return body, {"content-type": "multipart/form-data; boundary=b"}


def classes(body: bytes) -> list[tuple[str, float]]:
    return [(x["class"], x["probability"]) for x in json.loads(body)["classes"]]


@pytest.fixture(scope="module")
def predicted(network, tmp_path_factory):
    """Each file alone through `cifarnet.predict`."""
    folder = tmp_path_factory.mktemp("images")
    found = {}
    for name, content in files().items():
        path = folder / name
        path.write_bytes(content)
        prediction = cifarnet.predict(network, [path], top=10).images[0]
        found[name] = content, list(prediction.classes)
    return found


def test_every_format_gives_the_bits_of_predict(server, predicted):
    assert len(predicted) == 26
    different = set()
    for name, (content, classes_of_predict) in predicted.items():
        for body, headers in ((content, {}), (content, {"content-type": "image/x"}), form(content)):
            response, answer = server.ask("POST", "/predict?top=10", body, headers)
            assert response.status == 200, (name, answer)
            assert classes(answer) == classes_of_predict, name
        different.add(tuple(classes_of_predict))
    assert len(different) > 20  # the network tells the images apart


def test_three_classes_are_named_without_top(server, predicted):
    content, all_classes = predicted["png-RGB"]
    _, answer = server.ask("POST", "/predict", content)
    assert classes(answer) == all_classes[:3]
    assert json.loads(answer)["model"] == "dense"
    assert "heat" not in json.loads(answer)


def test_the_heat_map_is_that_of_occlusion(server, predicted):
    content, all_classes = predicted["png-small"]
    _, answer = server.ask("POST", "/predict?heat=1", content)
    found = json.loads(answer)
    seen = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))

    # The definition, written out: squares of 8 x 8 in steps of 4 with the image's mean color.
    label, falls, covers = CLASSES.index(all_classes[0][0]), np.zeros((32, 32)), np.zeros((32, 32))
    color = np.rint(seen.mean(axis=(0, 1)))
    before = np.log(expected(seen[None])[0, label] + 1 / 512)
    for top in range(0, 28, 4):
        for left in range(0, 28, 4):
            covered = seen.copy()
            covered[top : top + 8, left : left + 8] = color
            fall = before - np.log(expected(covered[None])[0, label] + 1 / 512)
            falls[top : top + 8, left : left + 8] += fall
            covers[top : top + 8, left : left + 8] += 1
    np.testing.assert_allclose(found["heat"], falls / covers, atol=1e-3)
    assert np.ptp(found["heat"]) > 0.01


@pytest.mark.parametrize(
    ("content", "headers", "status", "says"),
    [
        (b"hello", {}, 400, "not a readable image"),
        (b"", {}, 400, "received nothing"),
        (b"GIF89a" + bytes(20), {}, 400, "not a readable image"),
        (encoded(picture("RGB"), "PNG")[:-200], {}, 400, "not a readable image"),
        (encoded(picture("RGB"), "TIFF"), {}, 400, "expected the content of a PNG"),
        (
            b"a=b",
            {"content-type": "application/x-www-form-urlencoded"},
            415,
            "curl: -F image=@FILE",
        ),
        (b"{}", {"content-type": "application/json"}, 415, "expected image/*"),
        (b"--b", {"content-type": "multipart/form-data"}, 400, "without a boundary"),
        (b"nothing", {"content-type": "multipart/form-data; boundary=b"}, 400, "form"),
        (form(b"x", more=form(b"y")[0][:-6] + b"\r\n")[0], form(b"x")[1], 400, "received 2"),
    ],
)
def test_what_is_no_image_is_told(server, content, headers, status, says):
    response, answer = server.ask("POST", "/predict", content, headers)
    assert response.status == status, answer
    assert says in json.loads(answer)["error"]


def test_other_fields_of_a_form_are_ignored(server, predicted):
    content, all_classes = predicted["jpeg-cmyk"]
    fields = "".join(
        f'--b\r\ncontent-disposition: form-data; name="{name}"\r\n\r\nhello\r\n'
        for name in ("note", "filename")
    )
    body, headers = form(content, "../../../etc/passwd", fields.encode())
    _, answer = server.ask("POST", "/predict?top=10", body, headers)
    assert classes(answer) == all_classes
