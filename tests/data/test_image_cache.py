"""The cache of decoded images."""

import hashlib
import os
import shutil
import threading

import numpy as np
import pytest
from helpers.folders import config, fill, save

from cifarnet import data
from cifarnet.data import image_cache, image_reader
from cifarnet.data.image_cache import Decoded, Identity, ImageCache
from cifarnet.data.image_layout import read_layout

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
    entries = cache.read()
    white = np.full((8, 8, 3), 255, np.uint8)
    cache.write({name: e._replace(pixels=white, read_at=2 * age) for name, e in entries.items()})
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
    entries = ImageCache(photos, 8, whole=False).read()
    assert set(entries) == set(found)


def damage(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


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
def test_a_damaged_cache_is_ignored_and_replaced(photos, harm):
    fill(photos, {"cat": 10, "dog": 10})
    cache = poison(photos)
    harm(cache.path)
    assert cache.read() == {}
    assert_is_correct(data.load_source(config(photos)), photos)
    if cache.path.is_file():
        assert len(cache.read()) == 20


@pytest.mark.parametrize(
    "about",
    [{"format": 2}, {"pillow": "1.0"}, {"folder": "00"}, {"size": 9}, {"whole": True}],
)
def test_a_cache_of_another_folder_size_or_version_is_ignored(photos, about):
    fill(photos, {"cat": 10, "dog": 10})
    other = poison(photos)
    entries = other.read()
    other._about |= about
    other.write(entries)
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
    assert_is_correct(data.load_source(config(photos)), photos)
    assert home.read_text() == "no folder"


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
    assert "cat/worse.png" not in ImageCache(photos, 8, whole=False).read()
    save(photos / "cat/worse.png", (1, 2, 3))
    assert pixels_by_file(data.load_source(tolerant))["cat/worse.png"] == bytes((1, 2, 3)) * 64


def entry(size: int, value: int = 0) -> Decoded:
    pixels = np.full((size, size, 3), value, np.uint8)
    return Decoded(pixels, bytes(32), Identity(1, 2, 3, 2**64 - 1), 4)


def test_the_least_recently_used_caches_are_removed_beyond_the_limit(tmp_path, home, monkeypatch):
    monkeypatch.setattr(image_cache, "_MAX_TOTAL", 45_000)
    caches = [ImageCache(tmp_path / name, 64, whole=False) for name in "abcd"]
    for age, cache in enumerate(caches[:3]):
        cache.write({"x": entry(64)})
        os.utime(cache.path, (1000 + age, 1000 + age))
    assert caches[0].read()["x"].identity.inode == 2**64 - 1  # and now it is the latest used
    caches[3].write({"x": entry(64)})
    assert [len(cache.read()) for cache in caches] == [1, 0, 1, 1]


def test_a_cache_that_would_be_too_large_is_not_written(tmp_path, home, monkeypatch):
    monkeypatch.setattr(image_cache, "_MAX_BYTES", 64 * 64 * 3)
    cache = ImageCache(tmp_path, 64, whole=False)
    cache.write({"x": entry(64), "y": entry(64)})
    assert not cache.path.exists()
    cache.write({"x": entry(64)})
    assert set(cache.read()) == {"x"}


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
    assert [isinstance(read[image.name], Decoded) for image in listed] == [True, True, False, False]
    assert "dog/000.png is not a readable image" in str(read["dog/000.png"])
