"""Chromium as a process: what is left of it."""

import tempfile
from pathlib import Path

import pytest

from cifarnet.browser import chromium


@pytest.fixture
def temporary(monkeypatch):
    """An empty folder for temporary files; Chromium needs its path to be short."""
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.setenv("TMPDIR", folder)
        monkeypatch.setattr(tempfile, "tempdir", None)
        yield Path(folder)


def test_nothing_is_left_in_the_folder_for_temporary_files(tmp_path, temporary):
    page = tmp_path / "page.html"
    page.write_text("<script>const found = 3;</script>")
    try:
        with chromium.opened(page) as opened:
            assert opened.evaluate("found + 1") == 4
            assert list(temporary.iterdir()) != []
    except chromium.NotStarted as error:
        pytest.skip(f"no page was opened in a browser: {error}")
    assert list(temporary.iterdir()) == []
