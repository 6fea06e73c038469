"""CIFAR-10 from the user's own files: what is accepted, what is refused."""

import shutil
import tarfile

import numpy as np
import pytest
from helpers import images

from cifarnet import data
from cifarnet.config import DataConfig
from cifarnet.data import archives
from cifarnet.errors import DataError


@pytest.mark.parametrize("form", ["binary", "python", "npm"])
def test_every_archive_format_gives_the_same_images(home, tiny, form):
    tiny.assert_is(data.load_source(DataConfig(path=getattr(tiny, form))))


@pytest.mark.parametrize("inner", [True, False])
@pytest.mark.parametrize("form", ["binary", "python", "npm"])
def test_extracted_batches_are_read_from_the_folder_or_the_one_above(
    home, tiny, tmp_path, form, inner
):
    shutil.unpack_archive(getattr(tiny, form), tmp_path / "out")
    (folder,) = (tmp_path / "out").iterdir()
    tiny.assert_is(data.load_source(DataConfig(path=folder if inner else tmp_path / "out")))


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
    before = images.names(tmp_path)
    with pytest.raises(DataError, match=r"no data_batch_1\.bin"):
        data.load_source(DataConfig(path=path))
    assert images.names(tmp_path) == before


def test_an_oversized_member_is_refused_before_it_is_read(home, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "_MAX_FILE_BYTES", 1000)
    with pytest.raises(DataError, match=r"data_batch_1\.bin' has .* bytes, too many"):
        data.load_source(DataConfig(path=tiny.binary))


def test_what_unpacks_to_too_much_is_refused_whatever_its_name(home, tiny, tmp_path, monkeypatch):
    bomb = images.archive(tmp_path / "bomb.tar.gz", {"zeros": bytes(33_000_000)})
    with pytest.raises(DataError, match=r"'zeros' has 33,000,000 bytes, too many"):
        data.load_source(DataConfig(path=bomb))
    monkeypatch.setattr(archives, "_MAX_ARCHIVE_BYTES", 100_000)
    with pytest.raises(DataError, match=r"unpacks to more than 100,000 bytes"):
        data.load_source(DataConfig(path=tiny.binary))
    monkeypatch.setattr(archives, "_MAX_ARCHIVE_MEMBERS", 3)
    monkeypatch.setattr(archives, "_MAX_ARCHIVE_BYTES", 10**9)
    with pytest.raises(DataError, match="too many members"):
        data.load_source(DataConfig(path=tiny.binary))


def test_a_pickle_that_claims_a_terabyte_is_refused(home, tiny, tmp_path):
    """Its array has a shape, but no content."""
    batch = images.python2_pickle(np.zeros((images.BATCH, 3072), np.uint8), [0] * images.BATCH)
    shape = b"K\x00\x85U\x01b\x87R"
    assert shape in batch
    huge = batch.replace(shape, b"\x8a\x06\0\0\0\0\0\x01\x85U\x01b\x87R", 1)
    names = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
    path = images.archive(tmp_path / "huge.tar.gz", dict.fromkeys(names, huge))
    with pytest.raises(DataError, match="wrong SHA-256"):  # the claimed shape is not used
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
def test_a_batch_of_another_format_is_refused(home, tiny, tmp_path, old, new, says):
    batch = images.python2_pickle(np.zeros((images.BATCH, 3072), np.uint8), [3] * images.BATCH)
    names = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
    at = batch.rindex(old) if says == "labels" else batch.index(old)
    changed = batch[:at] + new + batch[at + len(old) :]
    path = images.archive(tmp_path / "other.tar.gz", dict.fromkeys(names, changed))
    with pytest.raises(DataError, match=f"data_batch_1.*{says}"):
        data.load_source(DataConfig(path=path))
