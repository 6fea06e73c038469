"""Image files: their kinds by content, and their pixels."""

import hashlib
import io
import itertools
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cifarnet import data
from cifarnet.data import image_file
from cifarnet.errors import DataError

RED, GREEN, BLUE = (200, 0, 0), (0, 200, 0), (0, 0, 200)
WHITE = (255, 255, 255)
# Of the test below; the same with Pillow 10.3, 12.3 and 13.0.
DIGEST = "db70a88ae858221088d2b41e496ad580635c69bd9a68496a5af1d3744b43750e"
# Baseline TIFF tags, pointers to other blocks, and a camera maker's own.
TAGS = (0x0100, 0x0101, 0x0102, 0x0103, 0x0111, 0x011A, 0x0128, 0x0132, 0x8769, 0x8825, 0xA005)


def encode(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def photo(width: int, height: int) -> Image.Image:
    """Return a smooth image that no turn or mirror leaves as it is."""
    y, x = np.mgrid[:height, :width]
    red, green = 255 * x / width, 255 * y / height
    blue = 128 + 100 * np.sin(12 * x / width) * np.cos(9 * y / height)
    return Image.fromarray(np.stack([red, green, blue], -1).astype(np.uint8))


def exif_block(*entries: tuple[int, int, int, bytes], order: str = "<") -> bytes:
    """Return a TIFF header and a directory of `(tag, type, count, four bytes)`."""
    start = b"Exif\0\0" + (b"II*\0" if order == "<" else b"MM\0*")
    packed = [struct.pack(f"{order}HHI", *entry[:3]) + entry[3] for entry in entries]
    head = start + struct.pack(f"{order}IH", 8, len(entries))
    return head + b"".join(packed) + bytes(4)


def test_any_mode_and_size_becomes_rgb_of_the_size_asked_for():
    for i, mode in enumerate(("RGB", "RGBA", "L", "P", "1", "LA")):
        image = Image.new("RGB", (20 + i, 5 + 3 * i), WHITE).convert(mode)
        pixels = image_file.decode(encode(image, "PNG"), 8)
        assert pixels.dtype == np.uint8 and pixels.shape == (8, 8, 3)
        assert (pixels == 255).all()
    for mode, size in (("RGB", (40, 10)), ("CMYK", (3, 3))):
        image = Image.new("RGB", size, RED).convert(mode)
        pixels = image_file.decode(encode(image, "JPEG", quality=95), 8)
        assert np.abs(pixels.astype(int) - RED).max() < 12


def test_the_whole_image_is_resized(tmp_path):
    image = np.zeros((16, 32, 3), np.uint8)
    image[:, 16:] = GREEN
    path = tmp_path / "halves.png"
    Image.fromarray(image).save(path)
    pixels = data.read_image(path, 8)
    np.testing.assert_array_equal(pixels[:, :3], np.zeros((8, 3, 3)))
    np.testing.assert_array_equal(pixels[:, 5:], np.broadcast_to(GREEN, (8, 3, 3)))


def test_resizing_gives_the_same_bytes_with_every_pillow():
    # Pillow 13 swapped the passes of `resize`, which changes images such as these by one level.
    random = np.random.default_rng(0)
    digest = hashlib.sha256()
    for _ in range(100):
        width, height = random.integers(9, 200, 2)
        image = Image.fromarray(random.integers(0, 256, (height, width, 3), np.uint8))
        digest.update(image_file.decode(encode(image, "PNG"), 32).tobytes())
    assert digest.hexdigest() == DIGEST


# --- EXIF -----------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_the_exif_orientation_is_applied(kind, order, orientation):
    turns = {
        2: (Image.Transpose.FLIP_LEFT_RIGHT,),
        3: (Image.Transpose.ROTATE_180,),
        4: (Image.Transpose.FLIP_TOP_BOTTOM,),
        5: (Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_90),
        6: (Image.Transpose.ROTATE_270,),
        7: (Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_270),
        8: (Image.Transpose.ROTATE_90,),
    }
    options = {"PNG": {}, "JPEG": {"quality": 98}, "WEBP": {"lossless": True}}[kind]
    value = struct.pack(f"{order}Hxx", orientation)
    exif = exif_block((0x0112, 3, 1, value), order=order)
    expected = photo(48, 32)
    for turn in turns.get(orientation, ()):
        expected = expected.transpose(turn)
    expected = expected.resize((16, 16), Image.Resampling.BILINEAR)
    stored = encode(photo(48, 32), kind, exif=exif, **options)
    difference = image_file.decode(stored, 16) - np.asarray(expected, int)
    assert np.abs(difference).max() < 12


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_no_other_tag_of_exif_decides_about_the_pixels(kind, order):
    image = photo(24, 16)
    upright, turned = (
        image_file.decode(encode(image, kind, exif=exif_block((0x0112, 3, 1, value))), 8)
        for value in (b"\1\0\0\0", b"\6\0\0\0")
    )
    assert (upright != turned).any()
    orientation = (0x0112, 3, 1, struct.pack(f"{order}Hxx", 6))
    values = (bytes(4), b"\xff" * 4, b"text", struct.pack(f"{order}I", 8))
    for tag, type_, count in itertools.product(TAGS, range(15), (0, 1, 3, 2**32 - 1)):
        odd = [(tag, type_, count, value) for value in values]
        for entries, expected in (([*odd], upright), ([*odd, orientation], turned)):
            block = exif_block(*entries, order=order)
            found = image_file.decode(encode(image, kind, exif=block), 8)
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0",
        b"Exif\0\0II",
        b"Exif\0\0MM\0*\0\0\0\x08",
        b"Exif\0\0neither",
        exif_block((0x0112, 3, 1, b"\6\0\0\0"))[:-14],
        exif_block((0x0112, 3, 1, b"\x09\0\0\0")),
        exif_block((0x0112, 3, 1, bytes(4))),
        exif_block((0x0112, 2, 4, b"six\0")),
        exif_block((0x0112, 5, 1, b"\6\0\0\0")),
        exif_block((0x0112, 3, 3, b"\6\0\0\0")),
    ],
)
def test_an_exif_block_that_gives_no_orientation_leaves_the_image_upright(exif):
    image = photo(24, 16)
    expected = image_file.decode(encode(image, "JPEG"), 8)
    found = image_file.decode(encode(image, "JPEG", exif=exif), 8)
    np.testing.assert_array_equal(found, expected)


def test_metadata_that_pillow_cannot_open_does_not_make_a_jpeg_unreadable():
    plain = encode(photo(24, 16), "JPEG")
    expected = image_file.decode(plain, 8)
    for marker, content in (
        (0xE1, exif_block((0x0128, 3, 1, b"\2\0\0\0"), (0x011A, 2, 4, b"72.0"))),
        (0xE2, b"MPF\0garbage"),
        (0xED, b"Photoshop 3.0\0" + b"8BIM\x03\xed\0\0\xff\xff\xff\xff"),
        (0xFE, b"\xff\xfe comment"),
    ):
        segment = bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content
        found = image_file.decode(plain[:2] + segment + plain[2:], 8)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("kind", range(15))
@pytest.mark.parametrize("count", [0, 1, 2, 4])
def test_a_resolution_of_any_type_does_not_make_a_jpeg_of_a_camera_unreadable(kind, count):
    stored = encode(photo(24, 16), "JPEG")
    plain = stored[:2] + stored[20:]  # without JFIF, Pillow looks for the resolution in EXIF
    entries = ((0x011A, kind, count, b"72.0"), (0x0128, 3, 1, b"\2\0\0\0"))
    block = exif_block(*entries)
    segment = b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block
    found = image_file.decode(plain[:2] + segment + plain[2:], 8)
    np.testing.assert_array_equal(found, image_file.decode(plain, 8))


def test_the_color_space_of_a_jpeg_is_still_known():
    image = Image.new("RGB", (16, 16), RED)
    for mode, options in (("CMYK", {}), ("RGB", {"keep_rgb": True}), ("RGB", {})):
        pixels = image_file.decode(encode(image.convert(mode), "JPEG", quality=95, **options), 8)
        assert np.abs(pixels.astype(int) - RED).max() < 12


# --- transparency, depth --------------------------------------------------------------


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_pixels_are_composed_on_white(mode):
    black = Image.new("RGBA", (8, 8), (0, 0, 0, 0)).convert(mode)
    half = Image.new("RGBA", (8, 8), (0, 0, 0, 128)).convert(mode)
    assert (image_file.decode(encode(black, "PNG"), 8) == 255).all()
    assert (image_file.decode(encode(half, "PNG"), 8) == 127).all()


@pytest.mark.parametrize(
    ("image", "options"),
    [
        (Image.new("RGB", (8, 8), RED), {"transparency": RED}),
        (Image.new("L", (8, 8), 7), {"transparency": 7}),
        (Image.new("1", (8, 8), 0), {"transparency": 0}),
        (Image.new("L", (8, 8), 3).convert("P"), {"transparency": 3}),
        (Image.new("L", (8, 8), 3).convert("P"), {"transparency": b"\xff\xff\xff\0"}),
        (Image.fromarray(np.full((8, 8), 1000, np.uint16)), {"transparency": 1000}),
    ],
)
def test_a_transparent_color_is_composed_on_white_too(image, options):
    assert (image_file.decode(encode(image, "PNG", **options), 8) == 255).all()
    assert (image_file.decode(encode(image, "PNG"), 8) < 255).any()


def test_transparent_gif_and_webp_are_composed_on_white():
    clear = Image.new("RGBA", (8, 8), (9, 9, 9, 0))
    assert (image_file.decode(encode(clear, "WEBP", lossless=True, exact=True), 8) == 255).all()
    assert (image_file.decode(encode(clear, "GIF"), 8) == 255).all()


def test_sixteen_bit_gray_keeps_its_range(tmp_path):
    gray = np.repeat(np.array([0, 257 * 60, 257 * 128, 65535], np.uint16), 16).reshape(8, 8)
    Image.fromarray(gray).save(tmp_path / "deep.png")
    pixels = data.read_image(tmp_path / "deep.png", 8)
    assert sorted(set(pixels.ravel().tolist())) == [0, 60, 128, 255]


# --- size -----------------------------------------------------------------------------


def test_a_large_jpeg_is_decoded_at_reduced_size_and_looks_the_same():
    stored = encode(photo(1600, 1200), "JPEG", quality=95)
    reduced, whole = image_file.decode(stored, 32), image_file.decode(stored, 32, whole=True)
    difference = np.abs(reduced.astype(int) - whole)
    assert 0 < difference.max() <= 3 and difference.mean() < 0.5
    # Below four times the size, the JPEG is decoded whole.
    small = encode(photo(120, 120), "JPEG", quality=95)
    with Image.open(io.BytesIO(small)) as image:
        expected = image.convert("RGB").resize((32, 120), Image.Resampling.BILINEAR)
        expected = expected.resize((32, 32), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(image_file.decode(small, 32), np.asarray(expected))


def test_a_jpeg_of_108_megapixels_is_read(recwarn):
    stored = encode(Image.new("RGB", (12_000, 9_000), RED), "JPEG", quality=50)
    assert np.abs(image_file.decode(stored, 32).astype(int) - RED).max() < 12
    assert not recwarn.list  # Pillow's own limit warns at 89 megapixels


def png_header(width: int, height: int) -> bytes:
    """Return a PNG that ends after its header."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b""))
    return b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"IEND", b"")


def jpeg_header(width: int, height: int) -> bytes:
    """Return a JPEG that claims another size than it has."""
    stored = encode(Image.new("RGB", (16, 16)), "JPEG")
    at = stored.index(b"\xff\xc0") + 5
    return stored[:at] + struct.pack(">HH", height, width) + stored[at + 4 :]


@pytest.mark.parametrize(
    ("name", "content", "limit"),
    [
        ("bomb.png", png_header(10_000, 5_001), "50,000,000"),
        ("bomb.png", png_header(60_000, 60_000), "50,000,000"),
        ("bomb.jpg", jpeg_header(60_000, 60_000), "250,000,000"),
        ("thin.jpg", jpeg_header(65_000, 1_000), "50,000,000"),  # too low to be reduced
    ],
)
def test_an_image_over_the_limit_is_refused_before_decoding(tmp_path, name, content, limit):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"{name} is not a readable image: .*limit of {limit}"):
        data.read_image(tmp_path / name, 512)


# --- content --------------------------------------------------------------------------


def test_what_is_not_an_image_inside_is_not_passed_to_other_programs(tmp_path, monkeypatch):
    postscript = encode(Image.new("RGB", (8, 8)), "EPS")
    (tmp_path / "image.png").write_bytes(postscript)
    # Pillow runs Ghostscript on EPS; this script leaves a file if it is run.
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin" / "gs"
    script.write_text(f"#!/bin/sh\n: > {tmp_path / 'ran'}\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(DataError, match="expected the content of a PNG, JPEG"):
        data.read_image(tmp_path / "image.png", 8)
    assert not (tmp_path / "ran").exists()


def test_kinds_are_told_by_content():
    image = Image.new("RGB", (8, 8))
    for kind in ("PNG", "JPEG", "BMP", "GIF", "WEBP"):
        assert image_file.kind_of(encode(image, kind)[: image_file.HEAD]) == "image"
    assert image_file.kind_of(encode(image, "TIFF")[: image_file.HEAD]) == "TIFF images"
    assert image_file.kind_of(b"\0\0\0\x18ftypheic\0\0\0\0mi") == "HEIC or AVIF images"
    for other in (b"", b"BMW,Audi,Opel,Fiat", b"\0\5\x16\7" + bytes(14), b"plain text"):
        assert image_file.kind_of(other) is None


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "GIF", "WEBP"])
def test_a_file_cut_off_anywhere_is_an_error_or_an_image(tmp_path: Path, kind):
    stored = encode(photo(24, 16), kind)
    for length in range(0, len(stored), 7):
        (tmp_path / "cut").write_bytes(stored[:length])
        try:
            assert data.read_image(tmp_path / "cut", 8).shape == (8, 8, 3)
        except DataError as error:
            assert "cut is not a readable image" in str(error)


def test_the_error_of_a_file_name_that_is_not_utf8_is(tmp_path):
    path = tmp_path / "b\udce9te\n.png"
    path.write_bytes(b"x")
    with pytest.raises(DataError, match=r"b\\udce9te\\x0a\.png is not a readable image"):
        data.read_image(path, 8)
