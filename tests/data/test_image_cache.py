"""The cache of decoded images."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
from helpers.folders import config, fill, save

from cifarnet import data
from cifarnet.data import image_filler, image_reader
from cifarnet.data.cache import locked
from cifarnet.data.image_cache import Entry, Identity, ImageCache
from cifarnet.data.image_filler import Filler
from cifarnet.data.image_layout import read_layout
from cifarnet.errors import DataError

NEW = 10**18  # a time of reading long after every file was written, ns


def pixels_by_file(source: data.Source) -> dict[str, bytes]:
    return {
        file.name: pixels.tobytes()
        for images in (source.train, source.test)
        for file, pixels in zip(images.files, images.pixels, strict=True)
    }


def assert_is_correct(source: data.Source, photos) -> None:
    """Check every image and digest against the files."""
    found = pixels_by_file(source)
    assert set(found) == {str(p.relative_to(photos)) for p in photos.rglob("*.*")}
    for name, pixels in found.items():
        assert pixels == data.read_image(photos / name, 8).tobytes()
    for images in (source.train, source.test):
        for file in images.files:
            assert file.sha256 == hashlib.sha256((photos / file.name).read_bytes()).hexdigest()


def poison(photos, age: int = NEW) -> ImageCache:
    """Load a folder, then make its cache hold white images; read at `age`."""
    data.load_source(config(photos))
    cache = ImageCache(photos, 8, whole=False)
    stored = cache.read()
    white = np.full((8, 8, 3), 255, np.uint8)
    with Filler(cache, stored, list(stored.entries), 1) as filler:
        new = {"row": filler.append(white), "checksum": zlib.crc32(white), "read_at": 2 * age}
        for name, entry in stored.entries.items():
            filler.put(name, entry._replace(**new))
    return cache


def is_white(source: data.Source) -> list[bool]:
    return [pixels == b"\xff" * 192 for pixels in pixels_by_file(source).values()]


@pytest.fixture
def reports():
    return []


@pytest.fixture
def on_fetch(reports):
    return lambda *report: reports.append(report)


def test_the_second_time_nothing_is_decoded(photos, on_fetch, reports):
    fill(photos, {"cat": 10, "dog": 10})
    poison(photos)
    source = data.load_source(config(photos), on_fetch)
    assert all(is_white(source)) and reports == []
    digests = {f.name: f.sha256 for s in (source.train, source.test) for f in s.files}
    expected = hashlib.sha256((photos / "cat/003.png").read_bytes()).hexdigest()
    assert digests["cat/003.png"] == expected


def test_the_cache_gives_what_the_files_give(photos):
    fill(photos, {"cat": 10, "dog": 10})
    first, second = (data.load_source(config(photos)) for _ in range(2))
    assert_is_correct(first, photos)
    assert_is_correct(second, photos)
    assert first.train.files == second.train.files and first.test.files == second.test.files


def test_a_file_that_was_just_written_is_compared_by_its_bytes(photos, on_fetch, reports):
    fill(photos, {"cat": 10, "dog": 10})
    poison(photos, age=0)
    assert all(is_white(data.load_source(config(photos), on_fetch)))  # the bytes are the same
    assert reports[0][0] == "reading 20 images from the folder photos"


def rewrite(photos):
    save(photos / "cat/003.png", (1, 2, 3))


def rewrite_with_the_old_times(photos):
    path = photos / "cat/003.png"
    old = path.stat()
    content = path.read_bytes()
    save(path, (1, 2, 3))
    path.write_bytes(path.read_bytes().ljust(len(content), b"\0"))
    os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns))


def replace(photos):
    save(photos / "new.png", (1, 2, 3)).replace(photos / "cat/003.png")


def swap(photos):
    (photos / "cat/003.png").rename(photos / "cat/swap")
    (photos / "cat/004.png").rename(photos / "cat/003.png")
    (photos / "cat/swap").rename(photos / "cat/004.png")


def add_and_remove(photos):
    (photos / "cat/003.png").unlink()
    save(photos / "cat/new.png", (1, 2, 3))


@pytest.mark.parametrize(
    "change", [rewrite, rewrite_with_the_old_times, replace, swap, add_and_remove]
)
def test_only_changed_files_are_read_again(photos, change, on_fetch, reports):
    fill(photos, {"cat": 10, "dog": 10})
    poison(photos)
    change(photos)
    source = data.load_source(config(photos), on_fetch)
    names = {"swap": ("cat/003.png", "cat/004.png"), "add_and_remove": ("cat/new.png",)}
    changed = names.get(change.__name__, ("cat/003.png",))
    found = pixels_by_file(source)
    assert {n for n, p in found.items() if p != b"\xff" * 192} <= set(changed)
    assert (
        reports[0][0]
        == f"reading {len(changed)} image{'s' * (len(changed) > 1)} from the folder photos"
    )
    if change is not swap:  # the bytes of both files are known, so white is right
        assert found[changed[0]] == bytes((1, 2, 3)) * 64
    entries = ImageCache(photos, 8, whole=False).read().entries
    assert set(entries) == set(found)


def damage(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def the_pixels(cache: ImageCache):
    (file,) = cache.path.glob("*.pixels")
    return file


@pytest.mark.parametrize(
    "harm",
    [
        damage,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-20]),
        lambda path: path.write_bytes(b"\x93NUMPY garbage"),
        lambda path: np.savez(path, pixels=np.zeros(3)),
        lambda path: (path.unlink(), path.mkdir()),
    ],
)
def test_a_damaged_index_is_ignored_and_replaced(photos, harm):
    fill(photos, {"cat": 10, "dog": 10})
    cache = poison(photos)
    harm(cache.path / "index.npz")
    assert cache.read().entries == {}
    assert_is_correct(data.load_source(config(photos)), photos)
    if (cache.path / "index.npz").is_file():
        assert len(cache.read().entries) == 20
        assert the_pixels(cache).stat().st_size == 20 * 192


@pytest.mark.parametrize(
    "harm",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.unlink(),
    ],
)
def test_a_file_of_pixels_that_is_not_whole_is_ignored_and_replaced(photos, harm):
    fill(photos, {"cat": 10, "dog": 10})
    cache = poison(photos)
    harm(the_pixels(cache))
    assert_is_correct(data.load_source(config(photos)), photos)
    assert len(cache.read().entries) == 20


def test_a_flipped_bit_is_found_and_only_its_image_read_again(photos, on_fetch, reports):
    fill(photos, {"cat": 10, "dog": 10})
    data.load_source(config(photos))
    for path in photos.rglob("*.png"):
        os.utime(path, ns=(0, 0))  # changes the time of change: all are compared by their bytes
    data.load_source(config(photos))
    cache = ImageCache(photos, 8, whole=False)
    row = cache.read().entries["dog/007.png"].row
    content = bytearray(the_pixels(cache).read_bytes())
    content[192 * row + 100] ^= 1
    the_pixels(cache).write_bytes(content)
    assert_is_correct(data.load_source(config(photos), on_fetch), photos)
    assert cache.read().entries["dog/007.png"].row == 20  # appended
    assert len(cache.read().pixels) == 21


def test_appended_rows_of_a_process_that_died_are_cut_off(photos):
    fill(photos, {"cat": 10, "dog": 10})
    data.load_source(config(photos))
    cache = ImageCache(photos, 8, whole=False)
    with the_pixels(cache).open("ab") as file:
        file.write(b"x" * 300)
    save(photos / "cat/new.png", (1, 2, 3))
    assert_is_correct(data.load_source(config(photos)), photos)
    assert the_pixels(cache).stat().st_size == 21 * 192


def test_a_file_that_is_mostly_of_images_that_are_gone_is_copied(photos):
    fill(photos, {"cat": 10, "dog": 10})
    before = data.load_source(config(photos))
    pixels = before.train.pixels[:]
    old = ImageCache(photos, 8, whole=False).read().file
    shutil.rmtree(photos / "dog")
    fill(photos, {"cat": 5, "bird": 3}, start=50)
    for path in list(photos.rglob("00*.png"))[:7]:
        path.unlink()
    assert_is_correct(data.load_source(config(photos)), photos)
    cache = ImageCache(photos, 8, whole=False)
    assert cache.read().file != old
    assert the_pixels(cache).stat().st_size == 11 * 192  # 3 old cats, 5 new ones, 3 birds
    assert np.array_equal(before.train.pixels[:], pixels)  # whoever reads the old file, still does


@pytest.mark.parametrize(
    "about",
    [{"format": 1}, {"pillow": "1.0"}, {"folder": "00"}, {"size": 9}, {"whole": True}],
)
def test_a_cache_of_another_folder_size_or_version_is_ignored(photos, about):
    fill(photos, {"cat": 10, "dog": 10})
    other = poison(photos)
    stored = other.read()
    other._about |= about
    other.write_index(stored.entries, stored.file, len(stored.pixels))
    assert_is_correct(data.load_source(config(photos)), photos)


def test_each_size_and_each_folder_has_its_own(photos, tmp_path):
    fill(photos, {"cat": 10, "dog": 10})
    fill(tmp_path / "others", {"cat": 10, "dog": 10}, start=30)
    (tmp_path / "link").symlink_to(photos)
    poison(photos)
    assert all(is_white(data.load_source(config(tmp_path / "link"))))
    assert not any(is_white(data.load_source(config(tmp_path / "others"))))
    larger = config(photos).model_copy(update={"image_size": 9})
    assert data.load_source(larger).train.pixels.shape[1:] == (9, 9, 3)
    assert not any(is_white(data.load_source(config(photos), old_split=True)))


def test_a_cache_folder_that_cannot_be_written_costs_only_time(photos, home, monkeypatch):
    fill(photos, {"cat": 10, "dog": 10})
    home.write_text("no folder")
    source = data.load_source(config(photos))
    assert_is_correct(source, photos)
    assert "cache of decoded images cannot be written" in source.notes[-1]
    assert home.read_text() == "no folder"
    with pytest.raises(DataError, match=r"3,840 bytes, of which data\.memory_share allows 0 in"):
        data.load_source(config(photos, memory_share=0))


def test_images_left_out_by_a_limit_stay_in_the_cache(photos, on_fetch, reports):
    fill(photos, {"cat": 20, "dog": 20})
    poison(photos)
    save(photos / "cat/new.png", (1, 2, 3))
    data.load_source(config(photos, limit=4), on_fetch, seed=0)
    before = len(reports)
    data.load_source(config(photos), on_fetch)
    assert all(what == "reading 1 image from the folder photos" for what, _, _ in reports[before:])


def test_unreadable_images_are_tried_again_and_not_stored(photos):
    fill(photos, {"cat": 30, "dog": 30})
    (photos / "cat/worse.png").write_bytes(b"x")
    tolerant = config(photos, max_unreadable=0.5)
    assert len(data.load_source(tolerant).notes) == 1
    assert "cat/worse.png" not in ImageCache(photos, 8, whole=False).read().entries
    save(photos / "cat/worse.png", (1, 2, 3))
    assert pixels_by_file(data.load_source(tolerant))["cat/worse.png"] == bytes((1, 2, 3)) * 64


def store(cache: ImageCache, *names: str) -> None:
    """Store white images of 64 x 64 pixels: 12,288 bytes each, and an index of some kB."""
    stored = cache.read()
    entry = Entry(0, 0, bytes(32), Identity(1, 2, 3, 2**64 - 1), 4)
    cache.path.parent.mkdir(parents=True, exist_ok=True)
    with Filler(cache, stored, [], len(names)) as filler:
        for name in names:
            row = filler.append(np.full((64, 64, 3), 255, np.uint8))
            filler.put(name, entry._replace(row=row))


def test_the_least_recently_used_caches_are_removed_beyond_the_limit(tmp_path, home, monkeypatch):
    caches = [ImageCache(tmp_path / name, 64, whole=False) for name in "abcd"]
    for age, cache in enumerate(caches[:3]):
        store(cache, "x")
        os.utime(cache.path / "index.npz", (1000 + age, 1000 + age))
    assert [image_filler.size_of(cache.path) // 12_288 for cache in caches[:3]] == [1, 1, 1]
    assert caches[0].read().entries["x"].identity.inode == 2**64 - 1  # and now the latest used
    together = sum(image_filler.size_of(cache.path) for cache in caches[:3])
    share = (together + 12_000) / shutil.disk_usage(tmp_path).total
    monkeypatch.setattr(image_filler, "_SHARE", share)
    store(caches[3], "x")
    assert [len(cache.read().entries) for cache in caches] == [1, 0, 1, 1]


def test_a_cache_that_is_being_filled_is_not_removed(tmp_path, home, monkeypatch):
    one, other = (ImageCache(tmp_path / name, 64, whole=False) for name in "ab")
    store(one, "x")
    monkeypatch.setattr(image_filler, "_SHARE", 0.0)
    with locked(one.lock, "", lambda *_: None):
        store(other, "x")
    assert len(one.read().entries) == 1
    store(other, "y")
    assert len(one.read().entries) == 0


def test_a_full_disk_costs_only_time(photos, home, monkeypatch):
    fill(photos, {"cat": 10, "dog": 10})
    other = ImageCache(photos.parent, 64, whole=False)
    store(other, "x")
    monkeypatch.setattr(image_filler, "_RESERVE", 1 << 60)
    assert_is_correct(data.load_source(config(photos)), photos)
    assert {path.name for path in other.path.parent.iterdir()} <= {other.path.name, other.lock.name}
    assert len(other.read().entries) == 1  # to remove it would not help


def test_a_disk_that_fills_up_meanwhile_leaves_what_was_stored(photos, home, monkeypatch):
    fill(photos, {"cat": 10, "dog": 10})
    monkeypatch.setattr(image_reader, "_COMMIT_SECONDS", -1.0)
    append, full = Filler.append, 5

    def failing(self, pixels):
        if self._rows == full:
            raise OSError("No space left on device")
        return append(self, pixels)

    monkeypatch.setattr(Filler, "append", failing)
    assert_is_correct(data.load_source(config(photos)), photos)
    assert len(ImageCache(photos, 8, whole=False).read().entries) == 5


def test_a_file_that_no_index_knows_is_removed_where_the_disk_is_full(photos, home, monkeypatch):
    fill(photos, {"cat": 10, "dog": 10})

    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(Filler, "append", full)
    assert_is_correct(data.load_source(config(photos)), photos)
    assert list((home / "image-folders").iterdir()) == []


# --- several processes ----------------------------------------------------------------

LOADING = """
import os, sys
from helpers.folders import config
from cifarnet import data
from cifarnet.data import image_reader
from pathlib import Path

image_reader._COMMIT_SECONDS = -1.0

def on_fetch(what, done, total):
    print(what, flush=True)
    if done > 300 and sys.argv[2] == "pause":
        input()
    if done > 300 and sys.argv[2] == "die":
        os.kill(os.getpid(), 9)

source = data.load_source(config(Path(sys.argv[1])), on_fetch)
print(len(source.train.labels) + len(source.test.labels), flush=True)
"""


def loading(photos, how: str) -> subprocess.Popen:
    tests = str(Path(__file__).parents[1])
    return subprocess.Popen(
        [sys.executable, "-c", LOADING, str(photos), how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": tests},
    )


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_a_killed_process_leaves_what_it_stored(photos, home, on_fetch, reports):
    fill(photos, {"cat": 10, "dog": 10})
    process = loading(photos, "die")
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    stored = len(ImageCache(photos, 8, whole=False).read().entries)
    assert 0 < stored < 20
    for path in photos.rglob("*.png"):
        os.utime(path, ns=(0, 0))
    cache = ImageCache(photos, 8, whole=False)
    assert_is_correct(data.load_source(config(photos), on_fetch), photos)
    assert len(cache.read().pixels) == 20  # none of the stored ones was decoded again


def test_a_second_process_waits_and_finds_all_images_there(photos, home):
    fill(photos, {"cat": 10, "dog": 10})
    first = loading(photos, "pause")
    assert first.stdout.readline() == "reading 20 images from the folder photos\n"
    second = loading(photos, "go on")
    waiting = second.stdout.readline()
    assert waiting == "waiting for another process that reads the folder photos\n"
    out, _ = first.communicate("\n" * 40)
    assert out.splitlines()[-1] == "20"
    out, _ = second.communicate()
    assert out.splitlines()[-1] == "20"
    assert len(ImageCache(photos, 8, whole=False).read().pixels) == 20


def test_threads_that_load_one_folder_at_a_time_get_the_same_images(photos):
    fill(photos, {"cat": 30, "dog": 30})
    sources = []
    threads = [
        threading.Thread(target=lambda: sources.append(data.load_source(config(photos))))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(sources) == 4
    for source in sources:
        assert_is_correct(source, photos)
    assert_is_correct(data.load_source(config(photos)), photos)


# --- reading --------------------------------------------------------------------------


def test_progress_is_reported_in_bytes_of_the_files_that_are_read(photos, on_fetch, reports):
    fill(photos, {"cat": 10, "dog": 10})
    total = sum(path.stat().st_size for path in photos.rglob("*.png"))
    data.load_source(config(photos), on_fetch)
    assert {what for what, _, _ in reports} == {"reading 20 images from the folder photos"}
    assert reports[0][1:] == (0, total) and reports[-1][1:] == (total, total)
    assert len(reports) == 21 and [r[1] for r in reports] == sorted(r[1] for r in reports)


def test_an_interruption_ends_the_reading(photos):
    fill(photos, {"cat": 10, "dog": 10})

    def interrupt(what, done, total):
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        data.load_source(config(photos), interrupt)
    assert not any("ThreadPool" in thread.name for thread in threading.enumerate())
    assert_is_correct(data.load_source(config(photos)), photos)


def test_a_file_that_vanishes_between_listing_and_reading_is_unreadable(photos):
    fill(photos, {"cat": 2, "dog": 2})
    listed = read_layout(photos).images["train"]
    shutil.rmtree(photos / "dog")
    read = image_reader.read_all(listed, ImageCache(photos, 8, whole=False))
    found = [isinstance(read.found[image.name], Entry) for image in listed]
    assert found == [True, True, False, False]
    assert "dog/000.png is not a readable image" in str(read.found["dog/000.png"])
