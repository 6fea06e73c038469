"""History, selection and stopping, worked out by hand; and the checkpoint file."""

import math

import numpy as np
import pytest

from cifarnet import config
from cifarnet.errors import RunError
from cifarnet.train import checkpoint
from cifarnet.train.checkpoint import Checkpoint
from cifarnet.train.progress import Progress


def epochs(validations: list, min_delta: float = 0.0) -> Progress:
    progress = Progress()
    for validation in validations:
        progress.add_steps(np.array([1.0, 2.0], np.float32), np.array([0.5, 0.0], np.float32), 2.0)
        progress.end_epoch(validation, 0.1, 100.04, min_delta)
    return progress


def train(**options) -> config.TrainConfig:
    return config.TrainConfig(epochs=9, learning_rate=1.0, **options)


def test_a_row_has_the_means_of_its_steps():
    progress = Progress()
    progress.add_steps(np.array([3.0], np.float32), np.array([0.25], np.float32), 1.5)
    progress.add_steps(np.array([1.0, 2.0], np.float32), np.array([0.5, 0.0], np.float32), 0.25)
    progress.end_epoch((0.7, 0.8), 0.01, 123.456, 0.0)
    assert progress.history_csv().splitlines() == [
        "epoch,loss,accuracy,validation_loss,validation_accuracy,"
        "learning_rate,images_per_second,seconds",
        "1,2.0,0.25,0.7,0.8,0.01,123.5,1.75",
    ]
    assert (progress.losses, progress.epoch_seconds, progress.seconds) == ([], 0.0, 1.75)


def test_without_validation_the_fields_are_empty():
    assert epochs([None]).history_csv().splitlines()[1] == "1,1.5,0.25,,,0.1,100.0,2.0"


def test_best_is_the_first_epoch_of_the_highest_accuracy():
    progress = epochs([(1, 0.3), (1, 0.6), (1, 0.6), (1, 0.5)])
    assert (progress.best_epoch, progress.best_accuracy) == (2, 0.6)


def test_early_stopping_counts_epochs_without_a_lower_loss():
    stopping = train(early_stopping={"patience": 2})
    assert epochs([(1.0, 0), (0.9, 0), (0.95, 0)]).why_stop(stopping) is None
    why = epochs([(1.0, 0), (0.9, 0), (0.95, 0), (0.9, 0)]).why_stop(stopping)
    assert why == "validation loss has not improved for 2 epochs"
    assert epochs([(1.0, 0), (0.9, 0), (0.95, 0), (0.8, 0)]).why_stop(stopping) is None


def test_a_fall_smaller_than_min_delta_does_not_count():
    stopping = train(early_stopping={"patience": 1, "min_delta": 0.1})
    assert epochs([(1.0, 0), (0.95, 0)], 0.1).why_stop(stopping) is not None
    assert epochs([(1.0, 0), (0.85, 0)], 0.1).why_stop(stopping) is None


def test_stop_at_a_level():
    stopping = train(stop={"validation_accuracy": 0.9})
    assert epochs([(1.0, 0.89)]).why_stop(stopping) is None
    assert epochs([(1.0, 0.9)]).why_stop(stopping) == "validation accuracy reached 0.9"
    assert epochs([(1.0, 0.95)]).why_stop(train()) is None


def test_a_checkpoint_comes_back_to_the_bit(tmp_path):
    progress = epochs([(0.1, 0.2)])
    progress.add_steps(np.array([1 / 3], np.float32), np.array([0.1], np.float32), 0.1)
    state = {"model/0": np.float32([1 / 3]), "model/1": np.arange(3), "step": np.asarray(7)}
    path = tmp_path / "checkpoint" / "state.npz"
    selected = [np.float32([i]) for i in range(12)]
    Checkpoint(state, progress, selected).save(path)
    loaded = checkpoint.load(path)
    assert loaded.progress == progress
    assert loaded.state.keys() == state.keys()
    for name, value in state.items():
        assert loaded.state[name].dtype == value.dtype
        np.testing.assert_array_equal(loaded.state[name], value)
    assert [int(weight[0]) for weight in loaded.selected] == list(range(12))


def test_infinity_before_the_first_validation_survives(tmp_path):
    Checkpoint({"step": np.asarray(0)}, Progress(), None).save(tmp_path / "state.npz")
    loaded = checkpoint.load(tmp_path / "state.npz")
    assert loaded.progress.best_loss == math.inf
    assert loaded.selected is None


def test_a_missing_or_damaged_checkpoint_is_a_stated_error(tmp_path):
    path = tmp_path / "run" / "checkpoint" / "state.npz"
    with pytest.raises(RunError, match="has no checkpoint"):
        checkpoint.load(path)
    Checkpoint({"step": np.arange(1000)}, Progress(), None).save(path)
    whole = path.read_bytes()
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :]
    for broken in (b"", whole[: len(whole) // 3], b"\x80\x04pickle", flipped):
        path.write_bytes(broken)
        with pytest.raises(RunError, match="is damaged"):
            checkpoint.load(path)
