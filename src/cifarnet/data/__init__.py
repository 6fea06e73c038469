"""Images and labels: where they come from, how they are split and augmented."""

from cifarnet.data.cifar10 import CLASSES as CIFAR10_CLASSES
from cifarnet.data.cifar10 import cache_folder, fetch, verify
from cifarnet.data.dataset import SPLITS, Dataset, info, load
from cifarnet.data.image_folder import image_files, read_image
from cifarnet.data.images import Images, Progress, Source
from cifarnet.data.sources import class_names, load_source

__all__ = [
    "CIFAR10_CLASSES",
    "SPLITS",
    "Dataset",
    "Images",
    "Progress",
    "Source",
    "cache_folder",
    "class_names",
    "fetch",
    "image_files",
    "info",
    "load",
    "load_source",
    "read_image",
    "verify",
]
