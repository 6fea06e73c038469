"""The user's own images, in a folder per class."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from cifarnet.config import DataConfig
from cifarnet.data.images import ImageFile, Images, Source
from cifarnet.data.sampling import stratified
from cifarnet.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")
# The formats that Pillow may detect, whatever the file is called: it passes others, such as EPS,
# to external programs.
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP")
_MAX_CLASSES = 256  # labels are uint8
_SEED = 20_260_101  # fixed: the test set does not depend on a config's seed
_MAX_PIXELS = 50_000_000  # checked in the header, before decoding


def class_names(path: Path) -> tuple[str, ...]:
    """Return the names of the class folders, sorted.

    Raises:
        DataError: no such folder, or not 2 to 256 classes.
    """
    root = path / "train" if _is_split(path) else path
    if not root.is_dir():
        raise DataError(f"data.path: expected a folder with a folder per class, found no {root}")
    names = tuple(sorted(p.name for p in _class_folders(root)))
    if not 2 <= len(names) <= _MAX_CLASSES:
        raise DataError(
            f"{root}: expected 2 to {_MAX_CLASSES} class folders, found {len(names)}"
            f"{': ' + ', '.join(names[:5]) if names else ''}"
        )
    return names


def load(config: DataConfig) -> Source:
    """Load `path/<class>/*`, or `path/train/<class>/*` and `path/test/<class>/*`.

    Without train and test folders, `test_fraction` of each class is held out, always the same
    images. Images of any size and mode are converted to RGB and resized to a square of
    `image_size`, regardless of aspect ratio.

    Raises:
        DataError: see `class_names`; an empty class; too many unreadable images.
    """
    path = Path(config.path or "")
    classes = class_names(path)
    skipped: list[str] = []
    if _is_split(path):
        unknown = sorted({p.name for p in _class_folders(path / "test")} - set(classes))
        if unknown:
            raise DataError(
                f"{path / 'test'}: expected the classes of {path / 'train'}, found also "
                f"{', '.join(unknown)}; add them to train or remove them"
            )
        train = _read_classes(path / "train", classes, config.image_size, skipped)
        test = _read_classes(path / "test", classes, config.image_size, skipped)
    else:
        everything = _read_classes(path, classes, config.image_size, skipped)
        train, test = _hold_out(everything, classes, config.test_fraction)
    total = len(train.labels) + len(test.labels) + len(skipped)
    listed = "; ".join(skipped[:10]) + ("; ..." if len(skipped) > 10 else "")
    if len(skipped) > config.max_unreadable * total:
        raise DataError(
            f"{path}: {len(skipped)} of {total} images cannot be read, more than "
            f"data.max_unreadable {config.max_unreadable:g} allows: {listed}"
        )
    notes = (f"{len(skipped)} unreadable images were skipped: {listed}",) if skipped else ()
    description = f"{len(classes)} classes of images in {path}"
    return Source("directory", description, classes, train, test, notes)


def read_image(path: Path, size: int) -> np.ndarray:
    """Read an image file as uint8 [size, size, 3], RGB, rotated by its EXIF orientation.

    Raises:
        DataError: no such file, not an image, or larger than 50 million pixels.
    """
    try:
        with Image.open(path, formats=_FORMATS) as image:
            if image.width * image.height > _MAX_PIXELS:
                raise DataError(f"{path}: {image.width} x {image.height} pixels are too many")
            upright = _eight_bits(ImageOps.exif_transpose(image)).convert("RGB")
            resized = upright.resize((size, size), Image.Resampling.BILINEAR)
            return np.asarray(resized if upright.size != (size, size) else upright, np.uint8)
    except FileNotFoundError as error:
        raise DataError(f"there is no image file {path}") from error
    except DataError:
        raise
    # Pillow's decoders raise many types on damaged files, such as SyntaxError and struct.error.
    except Exception as error:
        raise DataError(f"{path} is not a readable image: {error}") from error


def image_files(paths: Iterable[Path]) -> list[Path]:
    """Return the given files, and the image files directly in the given folders, sorted.

    Raises:
        DataError: a path does not exist, or a folder has no images.
    """
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = _images_in(path)
            if not inside:
                raise DataError(f"{path} has no images ({', '.join(SUFFIXES)})")
            files += inside
        elif path.exists():
            files.append(path)
        else:
            raise DataError(f"there is no image file or folder {path}")
    return files


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scale 16-bit gray to 0-255; `convert` would clip values above 255."""
    if not image.mode.startswith("I"):
        return image
    gray = np.asarray(image).astype(np.float32) * (255 / 65535)
    return Image.fromarray(gray.round().clip(0, 255).astype(np.uint8))


def _class_folders(root: Path) -> list[Path]:
    return [p for p in root.iterdir() if p.is_dir() and p.name[0] != "."]


def _is_split(path: Path) -> bool:
    return (path / "train").is_dir() and (path / "test").is_dir()


def _images_in(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())


def _read_classes(root: Path, classes: tuple[str, ...], size: int, skipped: list[str]) -> Images:
    pixels: list[np.ndarray] = []
    labels: list[int] = []
    files: list[ImageFile] = []
    for label, name in enumerate(classes):
        folder = root / name
        before = len(pixels)
        for file in _images_in(folder) if folder.is_dir() else []:
            try:
                pixels.append(read_image(file, size))
                labels.append(label)
                digest = hashlib.sha256(file.read_bytes()).hexdigest()
                files.append(ImageFile(f"{name}/{file.name}", digest))
            except DataError as error:
                skipped.append(str(error))
        if len(pixels) == before:
            raise DataError(
                f"the class folder {folder} has no readable image; add some or remove it"
            )
    return Images(np.stack(pixels), np.asarray(labels, np.uint8), tuple(files))


def _hold_out(images: Images, classes: tuple[str, ...], fraction: float) -> tuple[Images, Images]:
    train, test = stratified(images.labels, fraction, _SEED, classes, "data.test_fraction")
    return images.take(train), images.take(test)
