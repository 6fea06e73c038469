"""One image file: its kind by content, and its pixels."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    WebPImagePlugin,
)

from cifarnet.errors import DataError
from cifarnet.formatting import printable

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")
HEAD = 18  # bytes of a file that tell its kind

_JPEG = JpegImagePlugin.JpegImageFile
_BMP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)  # sizes of the second header, bytes
_TIFF = (b"II*\0", b"MM\0*")
_HEIF = (b"heic", b"heix", b"mif1", b"msf1", b"avif", b"avis")
_MAX_PIXELS = 50_000_000  # decoded; checked in the header
_MAX_JPEG_PIXELS = 250_000_000  # of a JPEG, which is decoded at down to 1/8 of its size
_DETAIL = 2  # a JPEG is decoded at no less than this many times the size asked for
_BACKGROUND = "white"  # under transparent pixels
_ORIENTATION = 0x0112  # EXIF 2.32, section 4.6.4
_INTEGERS = {1: "B", 3: "H", 4: "I"}  # TIFF 6.0: BYTE, SHORT, LONG
_TRANSPOSED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class TooManyPixels(ValueError):
    """An image that states more pixels than are decoded."""


def read_image(path: Path, size: int) -> np.ndarray:
    """Read an image file as uint8 [size, size, 3], RGB, regardless of its aspect ratio.

    See `decode` for how.

    Raises:
        DataError: no such file, not an image, or too many pixels.
    """
    try:
        return decode(path.read_bytes(), size)
    except FileNotFoundError as error:
        raise DataError(f"there is no image file {printable(str(path))}") from error
    # Pillow's decoders raise many types on damaged files, such as SyntaxError and struct.error.
    except Exception as error:
        raise DataError(unreadable(path, error)) from error


def unreadable(path: Path, error: Exception) -> str:
    """Return the message that an image file cannot be read, and why."""
    return f"{printable(str(path))} is not a readable image: {printable(str(error))}"


def decode(
    content: bytes, size: int, whole: bool = False, max_pixels: int | None = None
) -> np.ndarray:
    """Decode an image file's bytes as uint8 [size, size, 3], RGB.

    The first frame, rotated by its EXIF orientation; all other metadata is ignored. Transparent
    pixels are composed on white. 16-bit gray is scaled to 0-255. A JPEG of at least four times
    `size` is decoded at 1/2, 1/4 or 1/8 of its size. Resized with an antialiased bilinear filter,
    first in width, then in height: Pillow's order for both at once depends on its version.

    Args:
        content: the bytes.
        size: side of the result, pixels.
        whole: as in runs of format 1: every JPEG at its whole size, transparency ignored, resized
            in Pillow's order.
        max_pixels: a further limit on the width times the height that the file states.

    Raises:
        TooManyPixels: by what its header states.
        ValueError: of an unknown kind.
        Exception: whatever Pillow raises on damaged content.
    """
    kind, exif = _pillow_class(content), b""
    if kind is None:
        raise ValueError("expected the content of a PNG, JPEG, BMP, GIF or WebP image")
    if kind is _JPEG:
        content, exif = _split_exif(content)
    # `Image.open` would apply its process-wide limit, and offer the content to all its plugins.
    with kind(io.BytesIO(content)) as image:
        if max_pixels is not None:
            _check(image, max_pixels)
        if isinstance(image, _JPEG):
            _check(image, _MAX_JPEG_PIXELS)
            if not whole:
                image.draft(None, (_DETAIL * size, _DETAIL * size))
        _check(image, _MAX_PIXELS)
        image.load()  # a PNG may have its EXIF block behind the pixels
        rgb = _eight_bits(image).convert("RGB") if whole else _opaque(_eight_bits(image))
        method = _TRANSPOSED.get(_orientation(exif or image.info.get("exif", b"")))
    upright = rgb if method is None else rgb.transpose(method)
    widths = (size,) if whole else (upright.height, size)
    for height in widths:
        upright = upright.resize((size, height), Image.Resampling.BILINEAR)
    return np.asarray(upright, np.uint8)


def kind_of(head: bytes) -> str | None:
    """Return what a file is by its first 18 bytes: `image`, a kind that is not read, or None."""
    if _pillow_class(head) is not None:
        return "image"
    if head.startswith(_TIFF):
        return "TIFF images"
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF:
        return "HEIC or AVIF images"
    return None


def _pillow_class(head: bytes) -> type[ImageFile.ImageFile] | None:
    if head.startswith(b"\xff\xd8\xff"):
        return _JPEG
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return PngImagePlugin.PngImageFile
    if head.startswith((b"GIF87a", b"GIF89a")):
        return GifImagePlugin.GifImageFile
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return WebPImagePlugin.WebPImageFile
    if head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return BmpImagePlugin.BmpImageFile
    return None


def _check(image: Image.Image, limit: int) -> None:
    if image.width * image.height > limit:
        others = f" ({_MAX_JPEG_PIXELS:,} for a JPEG that can be decoded at reduced size)"
        raise TooManyPixels(
            f"{image.width} x {image.height} pixels are more than the limit of {limit:,}"
            f"{others if limit == _MAX_PIXELS else ''}; make it smaller"
        )


def _split_exif(jpeg: bytes) -> tuple[bytes, bytes]:
    """Return a JPEG without its metadata, and its EXIF block.

    Pillow fails to open a JPEG whose metadata it cannot make sense of. The application segments
    0 (JFIF) and 14 (Adobe) stay: they tell the color space.
    """
    parts, exif, at = [jpeg[:2]], b"", 2
    while at + 4 <= len(jpeg) and jpeg[at] == 0xFF and jpeg[at + 1] not in (0xDA, 0xFF):
        end = at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
        marker = jpeg[at + 1]
        if marker == 0xE1 and jpeg[at + 4 : at + 10] == b"Exif\0\0" and not exif:
            exif = jpeg[at + 10 : end]
        if marker not in (*range(0xE1, 0xEE), 0xEF, 0xFE):
            parts.append(jpeg[at:end])
        at = end
    return b"".join([*parts, jpeg[at:]]), exif


def _orientation(exif: bytes) -> int:
    """Return the orientation of an EXIF block, 1 to 8; 1 (upright) if it has none."""
    tiff = exif.removeprefix(b"Exif\0\0")
    order = ">" if tiff.startswith(b"MM") else "<"
    try:
        (start,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, start)
        for at in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, values = struct.unpack_from(f"{order}HHI", tiff, at)
            if tag == _ORIENTATION and kind in _INTEGERS and values == 1:
                return int(struct.unpack_from(order + _INTEGERS[kind], tiff, at + 8)[0])
    except struct.error:  # cut off
        pass
    return 1


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scale 16-bit gray to 0-255, which `convert` would clip; a transparent gray becomes alpha."""
    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image).astype(np.float32)
    gray = Image.fromarray((values * (255 / 65535)).round().clip(0, 255).astype(np.uint8))
    transparent = image.info.get("transparency")
    if transparent is not None:
        gray.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return gray


def _opaque(image: Image.Image) -> Image.Image:
    """Convert to RGB, transparent pixels composed on white."""
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    colors = image.convert("RGBA")
    background = Image.new("RGBA", colors.size, _BACKGROUND)
    background.alpha_composite(colors)
    return background.convert("RGB")
