"""Everything that reads bytes from outside, and strategies that make such bytes.

A case is accepted, or refused by a `CifarnetError`; whatever else is raised is a fault.
"""

import contextlib
import copy
import gzip
import hashlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click.testing
import hypothesis.strategies as st
import numpy as np
from PIL import Image

from cifarnet import cli, config, data, runs
from cifarnet.data import archives
from cifarnet.errors import CifarnetError
from cifarnet.runs import Run
from helpers import images

ROOT = Path(__file__).parents[2]
CORPUS = Path(__file__).parents[1] / "corpus"


class Target(NamedTuple):
    """One parser.

    Attributes:
        check: bytes and an empty folder -> whether they were accepted.
        cases: makes bytes for it.
    """

    check: Callable[[bytes, Path], bool]
    cases: Callable[[], st.SearchStrategy[bytes]]


def accepted(work: Callable[[], Any]) -> bool:
    """Whether some work was done; if not, it was a stated failure."""
    try:
        work()
    except CifarnetError as error:
        assert str(error).strip()
        return False
    return True


# --- making bytes ---------------------------------------------------------------------

_NUMBERS = [0, 1, 127, 128, 255, 256, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1]
_BINARY = [n.to_bytes(4, order) for n in _NUMBERS for order in ("big", "little")]
_YAML = [
    *(b"null ~ true .nan .inf -.inf 1e999 0x7f 1_000 !!python/object:os.system << *a &a".split()),
    *(b"{ } [ ] : - , ? | > % @ ` ' \" # --- ... ../.. /dev/zero \x00 \xff \xed\xa0\x80".split()),
    *(b"train data model layers kind base Lambda Conv2D Dense Residual filters units".split()),
    *(b"9" * 50, b"[" * 60, b"\n", b"\n  ", b"\t", "\u2028é😀".encode()),
]
_JSON = [
    *(b'null true NaN Infinity 1e999 -1 0.5 "" "x" {} [] [{}] {"a":1} \\ud800'.split()),
    *(b"../x", b"/dev/zero", b"9" * 50, b"[" * 2000, b"\x00", b"\xff"),
]


@st.composite
def _mutated(draw: Any, seeds: list[bytes], tokens: list[bytes]) -> bytes:
    """A valid input with a few places overwritten, cut out, doubled or grown."""
    content = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.sampled_from([0, 1, 1, 1, 1, 2, 2, 3, 6]))):
        at = draw(st.integers(0, max(0, len(content) - 1)))
        length = draw(st.sampled_from([1, 1, 2, 4, 16, 200, 10_000]))
        kind = draw(st.sampled_from(["flip", "cut", "double", "token", "insert", "noise", "end"]))
        if kind == "flip" and content:
            content[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "cut":
            del content[at : at + length]
        elif kind == "double":
            content[at:at] = content[at : at + length]
        elif kind == "end":
            del content[at:]
        else:
            piece = draw(st.binary(max_size=20) if kind == "noise" else st.sampled_from(tokens))
            content[at : at + (len(piece) if kind == "token" else 0)] = piece
    return bytes(content)


_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["../x", "/dev/zero", "\n\x1b[31m", "[red]", "latest", "1e5"]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=8,
)


@st.composite
def _documents(draw: Any, document: dict[str, Any]) -> bytes:
    """A JSON document with some values replaced by any others, or taken away."""
    changed = copy.deepcopy(document)
    for _ in range(draw(st.integers(0, 4))):
        place: Any = changed
        while True:
            key = draw(st.sampled_from(sorted(place) or ["x"]))
            inner = place.get(key)
            if isinstance(inner, dict) and inner and draw(st.booleans()):
                place = inner
                continue
            break
        if draw(st.integers(0, 5)) == 0:
            place.pop(key, None)
        else:
            place[key] = draw(_values)
    return json.dumps(changed).encode("utf-8", "surrogatepass")


# --- configs --------------------------------------------------------------------------

_SMALL = b"model: {layers: [Flatten, {Dense: {units: 10}}]}\ntrain: {epochs: 1, learning_rate: 1}\n"


def _config(content: bytes, folder: Path) -> bool:
    path = folder / "config.yaml"
    path.write_bytes(content)
    return accepted(lambda: config.parse(json.loads(config.load(path).model_dump_json())))


def _configs() -> st.SearchStrategy[bytes]:
    shipped = [path.read_bytes() for path in sorted((ROOT / "configs").glob("*.yaml"))]
    return _mutated([_SMALL, *shipped], _YAML)


def _override(content: bytes, folder: Path) -> bool:
    path = folder / "small.yaml"
    path.write_bytes(_SMALL)
    return accepted(lambda: config.load(path, [content.decode("utf-8", "surrogateescape")]))


def _overrides() -> st.SearchStrategy[bytes]:
    keys = [b"train.epochs=3", b"model.layers.1.Dense.units=4", b"data={source: synthetic}"]
    keys += [b"train.schedule={kind: triangle, peak_at: 0.2}", b"data.augment=[{kind: flip}]"]
    return _mutated(keys, _YAML)


# --- data -----------------------------------------------------------------------------


@contextlib.contextmanager
def _small_batches() -> Iterator[None]:
    """Let a batch of `images.BATCH` images count as one of CIFAR-10."""
    before, archives._BATCH = archives._BATCH, images.BATCH
    try:
        yield
    finally:
        archives._BATCH = before


def _archive(content: bytes, folder: Path) -> bool:
    path = folder / "cifar.tar.gz"
    path.write_bytes(content)
    with _small_batches():
        return accepted(lambda: archives.read(path))


def _archives() -> st.SearchStrategy[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        tiny = images.Tiny(Path(folder))
        packed = [path.read_bytes() for path in (tiny.binary, tiny.python, tiny.npm)]
    plain = [gzip.decompress(one) for one in packed]
    return _mutated([*packed, *plain], [*_BINARY, b"../x", b"/etc/passwd", b"cos\nsystem\n", b"0"])


def _batch(content: bytes, folder: Path) -> bool:
    """A Python batch by itself: what a pickle can be made to do."""
    files = dict.fromkeys(archives._PYTHON, lambda: content)
    with _small_batches():
        return accepted(lambda: archives._python(files))


def _batches() -> st.SearchStrategy[bytes]:
    rows = np.zeros((images.BATCH, 3072), np.uint8)
    seeds = [images.python2_pickle(rows, [0] * images.BATCH), images.Evil("touch x").pickled()]
    tokens = [*_BINARY, b"cos\nsystem\n", b"cnumpy\nndarray\n", b"R", b"b", b"u", b"0", b"2", b"("]
    return _mutated(seeds, tokens)


def _image(content: bytes, folder: Path) -> bool:
    path = folder / "image.png"
    path.write_bytes(content)
    return accepted(lambda: data.read_image(path, 32))


def _pictures() -> st.SearchStrategy[bytes]:
    random = np.random.default_rng(0)
    seeds = []
    for form, mode in (
        ("PNG", "RGB"),
        ("PNG", "RGBA"),
        ("PNG", "P"),
        ("PNG", "I;16"),
        ("JPEG", "RGB"),
        ("JPEG", "L"),
        ("GIF", "P"),
        ("BMP", "RGB"),
        ("WEBP", "RGB"),
    ):
        if mode == "I;16":
            image = Image.fromarray(random.integers(0, 2**16, (9, 12), np.uint16))
        else:
            image = Image.fromarray(random.integers(0, 256, (9, 12, 3), np.uint8)).convert(mode)
        exif = Image.Exif()
        exif[0x0112] = 6  # to be turned
        file = io.BytesIO()
        image.save(file, form, **({"exif": exif} if form in ("PNG", "JPEG", "WEBP") else {}))
        seeds.append(file.getvalue())
    return _mutated(seeds, [*_BINARY, b"IDAT", b"IHDR", b"\xff\xd8", b"\xff\xc0", b"Exif\0\0"])


# --- run directories ------------------------------------------------------------------

_RECORD = {
    "name": "x",
    "status": "running",
    "why": None,
    "command": "cifarnet train",
    "config_file": "x.yaml",
    "seed": 0,
    "data": {"source": "x", "classes": ["a"], "counts": {"train": 1}, "digests": {"train": "0"}},
    "model": {"parameters": 1, "macs": 1},
    "precision": {"chosen": "float32", "milliseconds": {"float32": 1.0}},
    "epochs": 1.0,
    "steps": 1,
    "epochs_done": 1.0,
    "seconds": 1.0,
    "validation_accuracy": 0.5,
    "images_per_second": 1.0,
    "kept_epoch": 1,
    "machine": {"processor": "x", "cores": 2},
    "threads": {"intra_op": 0},
    "versions": {"numpy": "2"},
    "git_commit": None,
    "process": {"pid": 1, "host": "x"},
    "determinism": {"bit_deterministic": True, "needs": "x"},
    "resumed": [{"at": "x", "notes": []}],
    "files": {"config.yaml": {"bytes": 1, "sha256": hashlib.sha256(b"x").hexdigest()}},
}
_EVALUATION = {
    "count": 4,
    "loss": 0.7,
    "accuracy": 0.5,
    "accuracy_interval": [0.2, 0.8],
    "top5_accuracy": 1.0,
    "expected_calibration_error": 0.1,
    "calibration": [],
    "per_class": [],
    "classes": ["a", "b"],
    "confusion_matrix": [[1, 1], [1, 1]],
    "mistakes": [],
}
_EXPORT = {
    "artifact": "model.onnx",
    "format": "onnx",
    "quantization": "none",
    "bytes": 1,
    "compressed_bytes": 1,
    "proof": {
        "runtime": "x",
        "split": "validation",
        "images": 1,
        "largest_difference": 0.0,
        "agreement": 1.0,
        "accuracy": 1.0,
        "reference_accuracy": 1.0,
    },
}


def _commands(folder: Path) -> bool:
    """All commands that read a run without its network: whether each could."""
    run = str(folder / "runs" / "20260101-000000-x")
    runner = click.testing.CliRunner()
    codes = []
    before = Path.cwd()
    os.chdir(folder)
    try:
        for arguments in (["list"], ["show", run], ["verify", run], ["show", run, "--json"]):
            done = runner.invoke(cli.main, ["runs", *arguments])
            assert done.exit_code in (0, 1), done.exception
            assert "Error: unexpected" not in done.output, done.output
            codes.append(done.exit_code)
    finally:
        os.chdir(before)
    return not any(codes)


def _run_with(file: str) -> Callable[[bytes, Path], bool]:
    def check(content: bytes, folder: Path) -> bool:
        run = Run(folder / "runs" / "20260101-000000-x")
        shutil.rmtree(run.path, ignore_errors=True)
        runs.write_json(run.record_file, _RECORD)
        run.config_file.write_bytes(b"x")
        path = run.path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        readable = _commands(folder)
        if file.startswith("evaluation"):  # a damaged one is as good as none
            return runs.summary(run).test_accuracy is not None
        return readable

    return check


def _json_files(document: dict[str, Any]) -> Callable[[], st.SearchStrategy[bytes]]:
    text = json.dumps(document).encode()
    return lambda: _documents(document) | _mutated([text], _JSON)


def _checkpoint(content: bytes, folder: Path) -> bool:
    path = folder / "step-00000001.npz"
    path.write_bytes(content)
    return accepted(lambda: runs.read_arrays(path))


def _checkpoints() -> st.SearchStrategy[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.npz"
        runs.write_arrays(path, {"step": np.asarray(1), "model/0": np.arange(9.0)})
        content = path.read_bytes()
    return _mutated(
        [content], [*_BINARY, b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06", b"|O", b"<U9"]
    )


TARGETS = {
    "config": Target(_config, _configs),
    "override": Target(_override, _overrides),
    "archive": Target(_archive, _archives),
    "batch": Target(_batch, _batches),
    "image": Target(_image, _pictures),
    "record": Target(_run_with("run.json"), _json_files(_RECORD)),
    "export": Target(_run_with("exports/onnx/export.json"), _json_files(_EXPORT)),
    "evaluation": Target(_run_with("evaluation/test.json"), _json_files(_EVALUATION)),
    "checkpoint": Target(_checkpoint, _checkpoints),
}
