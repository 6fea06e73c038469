"""Folders of small images."""

from pathlib import Path

from PIL import Image

from cifarnet.config import DataConfig


def save(path: Path, color=(200, 0, 0), size=(8, 8), **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path, **options)
    return path


def fill(root: Path, counts: dict[str, int], start: int = 0) -> Path:
    """Make folders of distinct images: image i of a class has green i."""
    for label, (name, count) in enumerate(counts.items()):
        for i in range(start, start + count):
            save(root / name / f"{i:03}.png", (50 * label, i % 256, i // 256))
    return root


def config(path: Path, **more) -> DataConfig:
    return DataConfig(source="directory", path=path, image_size=8, **more)
