"""Training on images that stay on disk, against the same training on images in memory."""

import functools
import json
import os
import signal
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from cifarnet import config, data, evaluate, runs, training
from cifarnet.callbacks import Callback, StepProgress
from cifarnet.data import augment
from cifarnet.errors import Interrupted
from cifarnet.training import feed
from cifarnet.training.feed import Feed
from cifarnet.training.team import Team
from cifarnet.training.workers import Workers

ALL_KINDS = [
    {"kind": "flip"},
    {"kind": "alternating_flip"},
    {"kind": "crop", "pixels": 2},
    {"kind": "rotate", "degrees": 15.0},
    {"kind": "scale", "fraction": 0.1},
    {"kind": "cutout", "size": 3},
    {"kind": "brightness", "fraction": 0.1},
    {"kind": "contrast", "fraction": 0.1},
]
LAYERS = [
    {"Conv2D": {"filters": 24, "kernel_size": 2, "kernel_initializer": "whitening"}},
    {"Conv2D": {"filters": 4, "kernel_size": 3, "use_bias": False}},
    "BatchNormalization",
    "ReLU",
    "GlobalMaxPooling2D",
    {"Dropout": {"rate": 0.2}},
    {"Dense": {"units": 3}},
]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """150 images of 12 x 12 random pixels in three classes of different color."""
    folder = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for label, name in enumerate(("red", "green", "blue")):
        (folder / name).mkdir()
        for i in range(50):
            pixels = random.integers(0, 200, (12, 12, 3), np.uint8)
            pixels[:, :, label] += 55
            Image.fromarray(pixels).save(folder / name / f"{i:02}.png")
    return folder


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CIFARNET_HOME", str(tmp_path_factory.mktemp("home")))
        yield


def settings(photos: Path, share: float, **train) -> config.Config:
    return config.parse(
        {
            "name": "photos",
            "data": {
                "source": "directory",
                "path": str(photos),
                "image_size": 12,
                "validation_fraction": 0.2,
                "memory_share": share,
                "augment": ALL_KINDS,
            },
            "model": {"layers": [{**x} if isinstance(x, dict) else x for x in LAYERS]},
            "train": {
                "epochs": 3,
                "batch_size": 16,
                "learning_rate": 0.05,
                "precision": "float32",
                "select": "best",
                "calibrate": True,
                **train,
            },
        }
    )


def weights(run: runs.Run) -> list[bytes]:
    return [w.tobytes() for w in keras.models.load_model(run.model_file).get_weights()]


@pytest.fixture(scope="module")
def trained(photos, tmp_path_factory):
    """A function of the share of memory and keys of `train`: a run, trained once."""

    @functools.cache
    def train(share: float, options: str) -> runs.Run:
        made = settings(photos, share, **json.loads(options))
        return training.train(made, tmp_path_factory.mktemp("run"), callbacks=[])

    return lambda share, **options: train(share, json.dumps(options))


@pytest.mark.parametrize("options", [{}, {"ema": 0.9, "epochs": 1.5}], ids=["plain", "ema"])
def test_training_from_disk_gives_the_bits_of_training_from_memory(trained, options):
    on_disk, in_memory = (trained(share, **options) for share in (0, 1))
    assert weights(on_disk) == weights(in_memory)
    one, other = (run.read_record() for run in (on_disk, in_memory))
    assert one.calibration == other.calibration
    assert (one.data.read_from_disk, other.data.read_from_disk) == (True, False)
    assert one.data.model_copy(update={"read_from_disk": False}) == other.data
    assert one.validation_accuracy == other.validation_accuracy


def test_the_evaluation_from_disk_is_that_from_memory(trained, tmp_path):
    for tta in ("none", "mirror_translate"):
        one, other = (
            evaluate(trained(share), tta=tta, callbacks=[], output=tmp_path / f"{share}{tta}")
            for share in (0, 1)
        )
        arrays = [runs.read_arrays(found.predictions_file) for found in (one, other)]
        assert set(arrays[0]) == set(arrays[1])
        for name in arrays[0]:
            assert np.array_equal(arrays[0][name], arrays[1][name]), name


class StopAfter(Callback):
    """Sends this process Ctrl-C once `step` steps of `epoch` are done."""

    def __init__(self, epoch: int, step: int) -> None:
        self._at, self._sent = (epoch, step), False

    def on_steps(self, progress: StepProgress) -> None:
        if not self._sent and (progress.epoch, progress.step) >= self._at:
            self._sent = True
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("share", [0, 1], ids=["on disk", "in memory"])
def test_a_run_stopped_on_disk_resumes_to_the_same_bits_in_both_ways(
    trained, photos, tmp_path, share
):
    made = settings(photos, 0, checkpoint={"every_steps": 3})
    with pytest.raises(Interrupted):
        training.train(made, tmp_path, callbacks=[StopAfter(2, 3)])
    run = runs.open_run("latest", tmp_path)
    assert 5 < run.read_record().steps_done < 15
    training.resume(run, [f"data.memory_share={share}"], callbacks=[])
    notes = ["data.memory_share: 0 -> 1"] if share else []
    assert run.read_record().resumed[0].notes == notes
    assert run.read_record().data.read_from_disk == (share == 0)
    begun = [line for line in run.log_file.read_text().splitlines() if line.startswith("data ")]
    assert ["read from disk" in line for line in begun] == [True, share == 0]
    test = run.read_record().data.counts["test"]
    assert all(f"{test} to test" in line for line in begun)
    assert weights(run) == weights(trained(1))


@pytest.mark.parametrize("ahead", [2, 50])
def test_batches_are_in_order_wherever_reading_begins(photos, monkeypatch, ahead):
    made = settings(photos, 0)
    loaded = data.load(made.data, made.seed)
    monkeypatch.setattr(feed, "_AHEAD_BYTES", ahead * 16 * 12 * 12 * 3)
    steps = len(loaded.train.labels) // 16
    source = Feed(made, loaded.train, augment.build((), loaded.mean), steps, 5 * steps)
    orders = np.concatenate([source.epoch(epoch)[0] for epoch in range(5)])
    for at, count in ((0, 2), (2, 7), (9, 1), (4, 3), (7, 5 * steps - 7)):
        batches = source.batches(at, count)
        for step in range(at, at + count):
            assert np.array_equal(next(batches), loaded.train.pixels[orders[step]])
    with pytest.raises(StopIteration):
        next(batches)


class SecondOfThree(Team):
    """A team whose other workers are not there."""

    count, replicas = 3, 3

    def __init__(self) -> None:
        super().__init__(workers=Workers(("a:1", "b:1", "c:1"), 1))


def test_a_worker_reads_its_own_rows_alone(photos):
    made = settings(photos, 0)
    loaded = data.load(made.data, made.seed)
    source = Feed(made, loaded.train, augment.build((), loaded.mean), 2, 4, SecondOfThree())
    (order, _), own = source.epoch(0), slice(5, 10)  # of 16
    batch = next(source.batches(0, 1))
    assert np.array_equal(batch, loaded.train.pixels[order[0][own]])
    assert np.array_equal(source.rows(batch, order[0], own), batch)
    assert np.array_equal(source.rows(batch, order[0], slice(7, 9)), batch[2:4])


def test_of_images_in_memory_nothing_is_read(photos):
    made = settings(photos, 1)
    loaded = data.load(made.data, made.seed)
    source = Feed(made, loaded.train, augment.build((), loaded.mean), 6, 18)
    assert source.batches(0, 6) is None
    pixels, labels = source.images(None)
    taken = source.rows(pixels, np.array([3, 1, 2]), slice(1, 3))
    assert np.array_equal(taken, loaded.train.pixels[[1, 2]])
    assert np.array_equal(labels, loaded.train.labels)
