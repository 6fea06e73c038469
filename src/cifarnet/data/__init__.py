"""Datasets: where images come from, how they are split and augmented."""

from cifarnet.data.cache import cache_folder
from cifarnet.data.cached_folders import CachedFolder, clear_image_caches, image_caches
from cifarnet.data.cifar10 import CLASSES as CIFAR10_CLASSES
from cifarnet.data.cifar10 import ArrayCheck, fetch, verify
from cifarnet.data.dataset import SPLITS, Dataset, load, load_given
from cifarnet.data.image_file import TooManyPixels, decode, read_image
from cifarnet.data.image_scan import image_files, read_images
from cifarnet.data.images import Images, OnFetch, Source, images_per_batch
from cifarnet.data.inspection import DatasetInfo, SplitInfo, draw_preview, inspect
from cifarnet.data.recorded import image_rows, load_recorded, verify_images
from cifarnet.data.sampling import balanced_order
from cifarnet.data.sources import class_names, load_source
from cifarnet.data.stored_pixels import Pixels, StoredPixels

__all__ = [
    "CIFAR10_CLASSES",
    "SPLITS",
    "ArrayCheck",
    "CachedFolder",
    "Dataset",
    "DatasetInfo",
    "Images",
    "OnFetch",
    "Pixels",
    "Source",
    "SplitInfo",
    "StoredPixels",
    "TooManyPixels",
    "balanced_order",
    "cache_folder",
    "class_names",
    "clear_image_caches",
    "decode",
    "draw_preview",
    "fetch",
    "image_caches",
    "image_files",
    "image_rows",
    "images_per_batch",
    "inspect",
    "load",
    "load_given",
    "load_recorded",
    "load_source",
    "read_image",
    "read_images",
    "verify",
    "verify_images",
]
