"""The published CIFAR-10-C: a small stand-in for its files, and files that are not it."""

import numpy as np
import pytest

from cifarnet.errors import DataError
from cifarnet.robustness import published
from cifarnet.robustness.corruptions import CORRUPTIONS

LABELS = np.array([3, 1, 0, 2], np.uint8)
SHAPE = (4, 8, 8, 3)


@pytest.fixture
def folder(tmp_path):
    np.save(tmp_path / "labels.npy", np.tile(LABELS, 5))
    for number, name in enumerate(CORRUPTIONS):
        # The value says which corruption, severity and image it is.
        values = np.arange(20, dtype=np.uint8) + 100 * (number % 2)
        np.save(
            tmp_path / f"{name}.npy", np.broadcast_to(values[:, None, None, None], (20, 8, 8, 3))
        )
    return tmp_path


def test_images_are_those_of_the_severity_in_the_order_asked_for(folder):
    read = published.load(folder, SHAPE, LABELS)
    found = read(np.array([2, 0, 3]), "gaussian_noise", 1)
    assert found.shape == (3, 8, 8, 3) and found.dtype == np.uint8
    assert found[:, 0, 0, 0].tolist() == [2, 0, 3]
    assert read(np.array([1, 0]), "gaussian_noise", 5)[:, 7, 7, 2].tolist() == [17, 16]
    assert read(np.array([1]), "shot_noise", 3)[0, 0, 0, 0] == 109


def test_other_files_are_refused_with_what_was_expected(folder):
    with pytest.raises(DataError, match="expected the labels of the 4 test images five times"):
        published.load(folder, SHAPE, LABELS[::-1])
    np.save(folder / "fog.npy", np.zeros((20, 8, 8, 3), np.float32))
    with pytest.raises(DataError, match=r"expected uint8 \[20, 8, 8, 3\], received float32 \["):
        published.load(folder, SHAPE, LABELS)
    np.save(folder / "fog.npy", np.zeros((4, 8, 8, 3), np.uint8))
    with pytest.raises(DataError, match=r"expected uint8 \[20, 8, 8, 3\], received uint8 \[4, 8"):
        published.load(folder, SHAPE, LABELS)
    np.save(folder / "fog.npy", np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(DataError, match=r"fog[.]npy cannot be read as a NumPy array"):
        published.load(folder, SHAPE, LABELS)
    (folder / "fog.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(DataError, match=r"fog[.]npy cannot be read as a NumPy array"):
        published.load(folder, SHAPE, LABELS)
    (folder / "fog.npy").unlink()
    with pytest.raises(
        DataError, match=r"there is no .*fog[.]npy; expected the folder of CIFAR-10-C"
    ):
        published.load(folder, SHAPE, LABELS)
