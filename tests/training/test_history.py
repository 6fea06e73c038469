"""History, selection and stopping, worked out by hand; and the checkpoint file."""

import io
import math
import zipfile

import numpy as np
import pytest

from cifarnet import config, runs
from cifarnet.errors import RunError
from cifarnet.runs import Run
from cifarnet.training import checkpoint
from cifarnet.training.checkpoint import Checkpoint
from cifarnet.training.history import History


def epochs(validations: list, min_delta: float = 0.0) -> History:
    history = History()
    for validation in validations:
        history.add_steps(np.array([1.0, 2.0], np.float32), np.array([0.5, 0.0], np.float32), 2.0)
        history.end_epoch(validation, 0.1, 100.04, min_delta)
    return history


def train(**options) -> config.TrainConfig:
    return config.TrainConfig(epochs=9, learning_rate=1.0, **options)


def test_a_row_has_the_means_of_its_steps():
    history = History()
    history.add_steps(np.array([3.0], np.float32), np.array([0.25], np.float32), 1.5)
    history.add_steps(np.array([1.0, 2.0], np.float32), np.array([0.5, 0.0], np.float32), 0.25)
    history.end_epoch((0.7, 0.8), 0.01, 123.456, 0.0)
    assert history.to_csv().splitlines() == [
        "epoch,loss,accuracy,validation_loss,validation_accuracy,"
        "learning_rate,images_per_second,seconds",
        "1,2.0,0.25,0.7,0.8,0.01,123.5,1.75",
    ]
    assert (history.losses, history.epoch_seconds, history.seconds) == ([], 0.0, 1.75)


def test_without_validation_the_fields_are_empty():
    assert epochs([None]).to_csv().splitlines()[1] == "1,1.5,0.25,,,0.1,100.0,2.0"


def test_best_is_the_first_epoch_of_the_highest_accuracy():
    history = epochs([(1, 0.3), (1, 0.6), (1, 0.6), (1, 0.5)])
    assert (history.best_epoch, history.best_accuracy) == (2, 0.6)


def test_early_stopping_counts_epochs_without_a_lower_loss():
    stopping = train(early_stopping={"patience": 2})
    assert epochs([(1.0, 0), (0.9, 0), (0.95, 0)]).stop_reason(stopping) is None
    why = epochs([(1.0, 0), (0.9, 0), (0.95, 0), (0.9, 0)]).stop_reason(stopping)
    assert why == "validation loss has not improved for 2 epochs"
    assert epochs([(1.0, 0), (0.9, 0), (0.95, 0), (0.8, 0)]).stop_reason(stopping) is None


def test_a_fall_smaller_than_min_delta_does_not_count():
    stopping = train(early_stopping={"patience": 1, "min_delta": 0.1})
    assert epochs([(1.0, 0), (0.95, 0)], 0.1).stop_reason(stopping) is not None
    assert epochs([(1.0, 0), (0.85, 0)], 0.1).stop_reason(stopping) is None


def test_stop_at_a_level():
    stopping = train(stop={"validation_accuracy": 0.9})
    assert epochs([(1.0, 0.89)]).stop_reason(stopping) is None
    assert epochs([(1.0, 0.9)]).stop_reason(stopping) == "validation accuracy reached 0.9"
    assert epochs([(1.0, 0.95)]).stop_reason(train()) is None


# --- checkpoints ----------------------------------------------------------------------

CONFIG = config.parse(
    {"model": {"layers": ["Flatten"]}, "train": {"epochs": 1, "learning_rate": 1}, "name": "x"}
)


def saved(run: Run, step: int, history=None, selected=None, **state) -> Checkpoint:
    one = Checkpoint(CONFIG, {**state, "step": np.asarray(step)}, history or History(), selected)
    one.save(run)
    return one


def load(run: Run) -> tuple[Checkpoint | None, list[str]]:
    notes: list[str] = []
    return checkpoint.load_newest(run, notes.append), notes


def test_a_checkpoint_comes_back_to_the_bit(tmp_path):
    history = epochs([(0.1, 0.2)])
    history.add_steps(np.array([1 / 3], np.float32), np.array([0.1], np.float32), 0.1)
    selected = [np.float32([i]) for i in range(12)]
    state = {"model/0": np.float32([1 / 3]), "model/1": np.arange(3)}
    whole = saved(Run(tmp_path), 7, history, selected, **state)
    loaded, notes = load(Run(tmp_path))
    assert notes == []
    assert loaded.config == CONFIG
    assert loaded.history == history
    assert loaded.state.keys() == whole.state.keys()
    for name, value in whole.state.items():
        assert loaded.state[name].dtype == value.dtype
        np.testing.assert_array_equal(loaded.state[name], value)
    assert [int(weight[0]) for weight in loaded.selected] == list(range(12))


def test_infinity_before_the_first_validation_survives(tmp_path):
    saved(Run(tmp_path), 0)
    loaded, _ = load(Run(tmp_path))
    assert loaded.history.best_loss == math.inf
    assert loaded.selected is None


def test_two_generations_are_kept(tmp_path):
    run = Run(tmp_path)
    assert load(run) == (None, [])
    for step in (9, 10, 100_000_000, 100_000_001):
        saved(run, step)
    names = [path.name for path in run.checkpoints()]
    assert names == ["step-100000000.npz", "step-100000001.npz"]


@pytest.mark.parametrize("harm", ["empty", "cut", "pickle", "flipped", "other"])
def test_a_damaged_checkpoint_is_noted_and_the_one_before_it_is_loaded(harm, tmp_path):
    run = Run(tmp_path)
    saved(run, 1, weights=np.arange(1000))
    saved(run, 2, weights=np.arange(1000) + 1)
    path = run.checkpoint(2)
    path.write_bytes(harmed(path.read_bytes())[harm])
    loaded, notes = load(run)
    assert int(loaded.state["step"]) == 1
    assert len(notes) == 1
    assert ("step-00000002.npz" in notes[0]) and ("damaged" in notes[0])
    assert run.checkpoints() == [run.checkpoint(1)]


def harmed(whole: bytes) -> dict[str, bytes]:
    middle = len(whole) // 2
    other = io.BytesIO()
    np.savez(other, step=np.asarray(3))
    return {
        "empty": b"",
        "cut": whole[: len(whole) // 3],
        "pickle": b"\x80\x04cos\nsystem\n(S'touch x'\ntR.",
        "flipped": whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :],
        "other": other.getvalue(),
    }


def test_no_flipped_byte_is_believed(tmp_path):
    """Each changed byte is found, or is one that says nothing, such as a member's date."""
    run = Run(tmp_path)
    saved(run, 1, weights=np.arange(20))
    path = run.checkpoint(1)
    whole, right = path.read_bytes(), runs.read_arrays(path)
    refused = 0
    for i in range(len(whole)):
        path.write_bytes(whole[:i] + bytes([whole[i] ^ 0x41]) + whole[i + 1 :])
        try:
            found = runs.read_arrays(path)
        except RunError:
            refused += 1
            continue
        assert found.keys() == right.keys()
        assert all(np.array_equal(found[name], right[name]) for name in right)
    assert refused > 0.8 * len(whole)


@pytest.mark.parametrize(
    "change",
    [
        {"weights": np.arange(20) + 1},
        {"weights": np.arange(20).reshape(4, 5)},
        {"weights": np.arange(20).astype(np.uint64)},
        {"more": np.arange(3)},
    ],
    ids=["value", "shape", "dtype", "another"],
)
def test_a_whole_zip_file_of_other_content_is_refused(change, tmp_path):
    """Its members have the right CRC-32; only the SHA-256 tells."""
    path = tmp_path / "a.npz"
    runs.write_arrays(path, {"weights": np.arange(20)})
    with np.load(path) as file:
        content = {name: file[name] for name in file.files}
    np.savez(path, **{**content, **change})
    with pytest.raises(RunError, match="does not have its SHA-256"):
        runs.read_arrays(path)


def test_if_all_are_damaged_nothing_starts_again_silently(tmp_path):
    run = Run(tmp_path)
    for step in (1, 2):
        saved(run, step)
        run.checkpoint(step).write_bytes(b"")
    with pytest.raises(RunError, match=r"step-00000002.npz, step-00000001.npz. Remove the folder"):
        load(run)
    assert len(run.checkpoints()) == 2


def test_a_checkpoint_that_claims_more_than_it_has_is_refused(tmp_path):
    """A zip file that unpacks to a thousand times its size, and an array of a terabyte."""
    bomb = io.BytesIO()
    np.savez_compressed(bomb, weights=np.zeros(10_000_000, np.uint8))
    lie = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        lie, {"descr": "<f4", "fortran_order": False, "shape": (1 << 38,)}
    )
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("weights.npy", lie.getvalue())
    for i, content in enumerate((bomb, archive)):
        path = tmp_path / f"{i}.npz"
        path.write_bytes(content.getvalue())
        with pytest.raises(RunError, match="is damaged"):
            runs.read_arrays(path)
