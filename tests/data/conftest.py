"""A small stand-in for CIFAR-10 and an empty cache."""

import pytest
from helpers import images


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty cache, and no npm."""
    monkeypatch.setenv("CIFARNET_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    return tmp_path / "home"


@pytest.fixture
def tiny(tmp_path, monkeypatch, home):
    # `home`: a stand-in would replace the user's CIFAR-10, which does not have its digests.
    made = images.Tiny(tmp_path / "files")
    made.use(monkeypatch)
    return made


@pytest.fixture
def photos(tmp_path, home):
    """An empty folder for images, and an empty cache."""
    folder = tmp_path / "photos"
    folder.mkdir()
    return folder
