"""The pace of the training loop on a simulated clock: groups, speeds, times, checkpoints."""

import csv

import numpy as np
import pytest

from cifarnet import config, runs, training
from cifarnet.callbacks import Callback
from cifarnet.errors import TrainingError
from cifarnet.training import loop
from cifarnet.training.step import Trainer

BATCH, STEPS = 8, 30  # of an epoch
FIRST, VALIDATION = 10.0, 3.0  # seconds


def settings(**train) -> config.Config:
    return config.parse(
        {
            "data": {"source": "synthetic", "limit": 300, "validation_fraction": 0.2},
            "model": {"layers": ["Flatten", {"Dense": {"units": 10}}]},
            "train": {
                "epochs": 2,
                "batch_size": BATCH,
                "learning_rate": 0.01,
                "precision": "float32",
                "schedule": {"kind": "triangle"},
                **train,
            },
        }
    )


class Paced(Callback):
    """Trains on a clock that only steps and validations move, and notes what it sees.

    Attributes:
        counts: steps of each group.
        seen: the progress after each group, and the newest checkpoint then.
    """

    def __init__(self, monkeypatch, seconds, broken: int | None = None) -> None:
        """Take `seconds(epoch)` for a step; the loss of step `broken`, from 1, is no number."""
        self.counts, self.seen, self.now = [], [], 0.0
        self._run = None
        take, measure = Trainer.steps, Trainer.validate

        def steps(trainer, count):
            self.now += count * seconds(trainer.step // STEPS) if self.counts else FIRST
            self.counts.append(count)
            losses, accuracies = take(trainer, count)
            if broken is not None and trainer.step >= broken:
                losses = losses.copy()
                losses[broken - 1 - trainer.step] = np.nan
            return losses, accuracies

        def validate(trainer):
            self.now += VALIDATION
            return measure(trainer)

        monkeypatch.setattr(Trainer, "steps", steps)
        monkeypatch.setattr(Trainer, "validate", validate)
        monkeypatch.setattr(loop.time, "perf_counter", lambda: self.now)

    def on_train_begin(self, run, record):
        self._run = run

    def on_steps(self, progress):
        self.seen.append((progress, [path.stem for path in self._run.checkpoints()][-1:]))


def rows(run: runs.Run) -> list[dict[str, str]]:
    with run.history_file.open() as file:
        return list(csv.DictReader(file))


def test_groups_of_steps_double_up_to_half_a_second(monkeypatch, tmp_path):
    paced = Paced(monkeypatch, lambda epoch: (0.125, 1.0)[epoch])
    training.train(settings(), tmp_path, callbacks=[paced])
    # The first includes tracing and says nothing of the speed; 4 steps of 1/8 s are half a second.
    assert paced.counts[:10] == [1, 1, 2, 4, 4, 4, 4, 4, 4, 2]
    # A step of a second is a group by itself. An epoch ends with its last group.
    assert paced.counts[10:] == [4, *[1] * 26]


def test_speed_and_times_are_of_the_steps(monkeypatch, tmp_path):
    paced = Paced(monkeypatch, lambda epoch: (0.125, 0.25)[epoch])
    run = training.train(settings(), tmp_path, callbacks=[paced])
    first, second = rows(run)
    # Without the first group.
    assert float(first["images_per_second"]) == BATCH / 0.125
    assert float(second["images_per_second"]) == BATCH / 0.25
    assert float(first["seconds"]) == FIRST + (STEPS - 1) * 0.125 + VALIDATION
    assert float(second["seconds"]) == STEPS * 0.25 + VALIDATION
    record = run.read_record()
    assert record.seconds == pytest.approx(
        float(first["seconds"]) + float(second["seconds"]), abs=0.01
    )
    assert record.images_per_second == (BATCH / 0.125 + BATCH / 0.25) / 2
    assert (record.epochs_done, record.steps_done, record.selected_epoch) == (2.0, 60, 2)
    assert record.validation_accuracy == float(second["validation_accuracy"])
    assert (record.status, record.stop_reason) == ("finished", "all epochs done")
    assert (run.plots_folder / "curves.png").is_file()


def test_progress_counts_steps_and_predicts_the_time_left(monkeypatch, tmp_path):
    paced = Paced(monkeypatch, lambda epoch: 0.125)
    training.train(settings(epochs=1.5), tmp_path, callbacks=[paced])
    seen = [progress for progress, _ in paced.seen]
    steps = np.cumsum(paced.counts)
    assert steps[-1] == 45
    assert [one.epoch for one in seen] == [1 if at <= STEPS else 2 for at in steps]
    assert [one.step for one in seen] == [at if at <= STEPS else at - STEPS for at in steps]
    assert {(one.epochs, one.steps) for one in seen} == {(2, STEPS)}
    # Before anything else is known, the speed is that of the first group.
    assert seen[0].images_per_second == BATCH / FIRST
    assert seen[0].seconds_left == pytest.approx(44 * FIRST)
    assert {one.images_per_second for one in seen[1:]} == {BATCH / 0.125}
    left = [one.seconds_left for one in seen[1:]]
    assert left == pytest.approx([0.125 * (45 - at) for at in steps[1:]])


def test_losses_of_progress_are_means_over_the_epoch(monkeypatch, tmp_path):
    paced = Paced(monkeypatch, lambda epoch: 0.5)
    run = training.train(settings(), tmp_path, callbacks=[paced])
    assert paced.counts == [1] * 60
    seen = [progress for progress, _ in paced.seen]
    for epoch, row in enumerate(rows(run), start=1):
        last = [one for one in seen if one.epoch == epoch][-1]
        assert float(row["loss"]) == pytest.approx(last.loss)
        assert float(row["accuracy"]) == pytest.approx(last.accuracy)
    assert seen[0].loss != seen[1].loss


def test_checkpoints_by_the_minute_count_from_the_latest(monkeypatch, tmp_path):
    paced = Paced(monkeypatch, lambda epoch: 30.0)
    training.train(settings(epochs=1, checkpoint={"every_minutes": 2}), tmp_path, callbacks=[paced])
    # 10 s, then 30 s a step: 120 s are over after steps 5, 9, 13, ...; seen before the next one.
    newest = [stem for _, (stem,) in paced.seen[5:]]
    expected = [f"step-{1 + 4 * ((at - 1) // 4):08}" for at in range(5, STEPS)]
    assert newest == expected
    assert all(found == [] for _, found in paced.seen[:5])


@pytest.mark.parametrize(("broken", "epoch"), [(7, 1), (35, 2)])
def test_the_first_step_whose_loss_is_no_number_is_named(broken, epoch, monkeypatch, tmp_path):
    paced = Paced(monkeypatch, lambda _: 0.125, broken=broken)
    message = rf"not finite at step {broken} \(epoch {epoch}\).*learning_rate=0\.001,"
    with pytest.raises(TrainingError, match=message):
        training.train(settings(), tmp_path, callbacks=[paced])
    record = runs.open_run("latest", tmp_path).read_record()
    assert record.status == "failed"
    assert record.stop_reason.startswith("the loss is not finite")


def test_the_advice_for_a_loss_that_is_no_number_names_muons_rate(monkeypatch, tmp_path):
    layers = [{"Conv2D": {"filters": 2, "kernel_size": 3}}, "Flatten", {"Dense": {"units": 10}}]
    made = settings(muon={"learning_rate": 0.5})
    made = made.model_copy(update={"model": made.model.model_validate({"layers": layers})})
    Paced(monkeypatch, lambda _: 0.125, broken=3)
    message = r"learning_rate=0\.001 and -o train\.muon\.learning_rate=0\.05, a warm-up"
    with pytest.raises(TrainingError, match=message):
        training.train(made, tmp_path, callbacks=[])


def test_an_error_that_is_none_of_ours_is_recorded_with_its_kind(monkeypatch, tmp_path):
    def steps(self, count):
        raise ValueError("out of luck")

    monkeypatch.setattr(Trainer, "steps", steps)
    with pytest.raises(ValueError, match="out of luck"):
        training.train(settings(), tmp_path, callbacks=[])
    record = runs.open_run("latest", tmp_path).read_record()
    assert (record.status, record.stop_reason) == ("failed", "ValueError: out of luck")


def test_a_callback_stops_a_training_with_a_checkpoint(monkeypatch, tmp_path):
    class Stops(Paced):
        def stop_reason(self):
            return "enough" if sum(self.counts) >= 4 else None

    run = training.train(settings(), tmp_path, callbacks=[Stops(monkeypatch, lambda _: 0.125)])
    record = run.read_record()
    assert (record.status, record.stop_reason, record.steps_done) == ("stopped", "enough", 4)
    assert [path.stem for path in run.checkpoints()] == ["step-00000004"]
    assert record.epochs_done == 0.133  # 4 of 30


@pytest.mark.parametrize(("select", "epoch", "accuracy"), [("best", 2, 0.75), ("last", 4, 0.25)])
def test_the_result_of_the_selected_epoch_is_recorded(
    select, epoch, accuracy, monkeypatch, tmp_path
):
    accuracies = iter([0.5, 0.75, 0.75, 0.25])
    monkeypatch.setattr(Trainer, "validate", lambda self: (1.0, next(accuracies)))
    run = training.train(settings(epochs=4, select=select), tmp_path, callbacks=[])
    record = run.read_record()
    assert record.best_epoch == 2
    assert (record.selected_epoch, record.validation_accuracy) == (epoch, accuracy)
