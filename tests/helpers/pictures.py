"""Image files of every kind that is read, each with a name that says what it is."""

import base64
import io
import itertools
import struct
import zlib

import numpy as np
from PIL import Image

_ORIENTATION = 0x0112


def textured(width: int, height: int, mode: str = "RGB", seed: int = 0) -> Image.Image:
    """Return smooth shapes with noise, on which no two ways of resizing agree."""
    random = np.random.default_rng([seed, width, height])
    coarse = random.integers(0, 256, (2 + height // 9, 2 + width // 9, 4), np.uint8)
    smooth = np.asarray(Image.fromarray(coarse, "RGBA").resize((width, height)))
    noise = random.integers(-25, 26, smooth.shape)
    image = Image.fromarray((smooth + noise).clip(0, 255).astype(np.uint8), "RGBA")
    return image if mode == "RGBA" else image.convert("RGB").convert(mode)


def file(image: Image.Image, kind: str, **options) -> bytes:
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[_ORIENTATION] = orientation
    return exif


def all_files() -> dict[str, bytes]:
    """Return 140 or more files by name."""
    return {**_jpegs(), **_pngs(), **_rare_pngs(), **_others()}


def _jpegs() -> dict[str, bytes]:
    found = {}
    sizes = ((32, 32), (1, 1), (50, 37), (127, 200), (130, 129), (257, 300), (640, 530))
    for (size, chroma), number in zip(
        itertools.product(sizes, ("4:4:4", "4:2:2", "4:2:0")), itertools.count()
    ):
        quality = (10, 50, 75, 95)[number % 4]
        options = {"quality": quality, "subsampling": chroma, "progressive": number % 2 == 1}
        found[f"jpeg {size} {chroma} {quality}"] = file(textured(*size), "JPEG", **options)
    for orientation in range(1, 9):
        for size in ((41, 60), (300, 210)):
            content = file(textured(*size), "JPEG", exif=turned(orientation))
            found[f"jpeg {size} turned {orientation}"] = content
    for mode, size in itertools.product(("L", "CMYK"), ((45, 61), (290, 260))):
        for progressive in (False, True):
            content = file(textured(*size, mode), "JPEG", progressive=progressive)
            found[f"jpeg {mode} {size} {progressive}"] = content
    for size in ((90, 70), (400, 390)):
        content = file(textured(*size), "JPEG", restart_marker_blocks=3)
        found[f"jpeg with restarts {size}"] = content
        found[f"jpeg of RGB {size}"] = file(textured(*size), "JPEG", keep_rgb=True)
    return found


def _pngs() -> dict[str, bytes]:
    found = {}
    sizes = ((32, 32), (1, 5), (33, 31), (100, 140), (400, 233))
    for mode, size in itertools.product(("RGB", "RGBA", "L", "LA", "1", "P"), sizes):
        source = textured(*size, "RGBA" if mode in ("RGBA", "LA") else "RGB")
        found[f"png {mode} {size}"] = file(source.convert(mode), "PNG")
    for size in sizes:
        gray = np.random.default_rng(3).integers(0, 65536, size[::-1], np.uint16)
        found[f"png of 16 bits {size}"] = file(Image.fromarray(gray), "PNG")
        palette = textured(*size).quantize(40)
        found[f"png P transparent {size}"] = file(palette, "PNG", transparency=7)
        found[f"png P alpha {size}"] = file(palette, "PNG", transparency=bytes(range(0, 240, 6)))
        see_through = textured(*size).quantize(3).convert("RGB")
        key = see_through.getpixel((0, 0))
        found[f"png RGB transparent {size}"] = file(see_through, "PNG", transparency=key)
        key = textured(*size, "L").getpixel((0, 0))
        found[f"png L transparent {size}"] = file(textured(*size, "L"), "PNG", transparency=key)
    for orientation in range(1, 9):
        found[f"png turned {orientation}"] = file(textured(40, 70), "PNG", exif=turned(orientation))
    return found


# Adam7: first column and row of each pass, and their steps.
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2))
_ADAM7 = (*_PASSES, (0, 1, 1, 2))


def png(samples: np.ndarray, depth: int, color: int, interlaced: bool, key: bytes = b"") -> bytes:
    """Write a PNG of samples [H, W, channels], which Pillow does not in every depth."""
    height, width, _ = samples.shape
    raw = b""
    for x, y, dx, dy in _ADAM7 if interlaced else ((0, 0, 1, 1),):
        for row in samples[y::dy, x::dx]:
            if row.size:
                bits = "".join(f"{value:0{depth}b}" for value in row.ravel())
                bits += "0" * (-len(bits) % 8)
                raw += b"\0" + int(bits, 2).to_bytes(len(bits) // 8, "big")
    head = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlaced)
    chunks = [(b"IHDR", head), *([(b"tRNS", key)] if key else [])]
    chunks += [(b"IDAT", zlib.compress(raw)), (b"IEND", b"")]
    parts = [
        struct.pack(">I", len(content))
        + name
        + content
        + struct.pack(">I", zlib.crc32(name + content))
        for name, content in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _rare_pngs() -> dict[str, bytes]:
    found = {}
    random = np.random.default_rng(4)
    kinds = (
        (1, 0, 1),
        (2, 0, 1),
        (4, 0, 1),
        (16, 0, 1),
        (8, 2, 3),
        (16, 2, 3),
        (16, 4, 2),
        (16, 6, 4),
    )
    for (depth, color, channels), interlaced in itertools.product(kinds, (False, True)):
        for size in ((35, 50), (3, 2)):
            samples = random.integers(0, 1 << depth, (*size, channels))
            name = f"png depth {depth} color {color} interlaced {interlaced} {size}"
            found[name] = png(samples, depth, color, interlaced)
            if color in (0, 2):
                key = samples[0, 0].astype(">u2").tobytes()
                found[f"{name} key"] = png(samples, depth, color, interlaced, key)
            if color == 0:  # a key that no sample of up to 8 bits can have
                found[f"{name} wide key"] = png(samples, depth, color, interlaced, b"\1\0")
    return found


def _others() -> dict[str, bytes]:
    found = {}
    for size in ((32, 32), (7, 9), (180, 140)):
        for quality in (30, 90):
            found[f"webp {size} {quality}"] = file(textured(*size), "WEBP", quality=quality)
        found[f"webp lossless {size}"] = file(textured(*size), "WEBP", lossless=True)
        for lossless in (False, True):
            content = file(textured(*size, "RGBA"), "WEBP", lossless=lossless, exact=True)
            found[f"webp RGBA {size} {lossless}"] = content
        found[f"gif {size}"] = file(textured(*size), "GIF")
        palette = textured(*size).quantize(20)
        found[f"gif transparent {size}"] = file(palette, "GIF", transparency=3)
        frames = [textured(*size, seed=seed) for seed in (1, 2)]
        content = file(frames[0], "GIF", save_all=True, append_images=frames[1:])
        found[f"gif of two {size}"] = content
        for mode in ("RGB", "L", "P", "1"):
            found[f"bmp {mode} {size}"] = file(textured(*size).convert(mode), "BMP")
    for orientation in range(1, 9):
        found[f"webp turned {orientation}"] = file(
            textured(40, 70), "WEBP", exif=turned(orientation)
        )
    return found


def preparation(content: bytes) -> str:
    """Return an expression for the page: the pixels it prepares of a file, in base64."""
    text = base64.b64encode(content).decode()
    return f"""(async () => {{
      const bytes = Uint8Array.from(atob("{text}"), (one) => one.charCodeAt(0));
      return btoa(String.fromCharCode(...await cifarnet.prepare(new Blob([bytes]))));
    }})()"""
