"""The training loop: steps, epochs, checkpoints and callbacks, in a run whose lock is held."""

from __future__ import annotations

import math
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from cifarnet import config as cfg
from cifarnet import models, runs
from cifarnet.backend import lacks_onednn
from cifarnet.callbacks import Callback, StepProgress
from cifarnet.callbacks.interrupt import stop_signal
from cifarnet.cost import Meter
from cifarnet.errors import CifarnetError, Interrupted, TrainingError
from cifarnet.reporting import plots
from cifarnet.runs import Run
from cifarnet.runs.records import TemperatureRecord
from cifarnet.training.calibration import calibrate
from cifarnet.training.checkpoint import Checkpoint
from cifarnet.training.description import now
from cifarnet.training.history import History
from cifarnet.training.step import Trainer
from cifarnet.training.team import Order

# Steps run in groups of about this long: few enough executions to cost nothing, short enough for
# a live display and a quick answer to Ctrl-C.
_GROUP_SECONDS = 0.5


@dataclass
class _Timed:
    """What was timed of this epoch's steps, without those that begin with building a graph."""

    images: int = 0
    pixels: int = 0
    seconds: float = 0.0

    def add(self, images: int, size: int, seconds: float) -> None:
        """Add steps with images of one size, pixels along a side."""
        self.images += images
        self.pixels += images * size**2
        self.seconds += seconds


class Loop:
    """Trains from the current step to the end."""

    def __init__(
        self,
        run: Run,
        config: cfg.Config,
        trainer: Trainer,
        history: History,
        selected: list[np.ndarray] | None,
        callbacks: Callback,
        meter: Meter,
    ) -> None:
        """Continue from `trainer.step`; `selected` are the weights of the best epoch so far."""
        self._run = run
        self._config = config
        self._trainer = trainer
        self._team = trainer.team
        self._team.run = str(run.path)
        self._history = history
        self._selected = selected
        self._calibration: TemperatureRecord | None = None
        self._is_saved = False
        self._callbacks = callbacks
        self._meter = meter
        self._group = 1
        self._timed = _Timed()
        self._checkpointed = history.seconds
        self._stopped: tuple[str, ...] = ()

    def run(self) -> Run:
        """Train to the end, write the results and record how it ended.

        Raises:
            RunError: something cannot be written; the last checkpoint stays.
            TrainingError, Interrupted: as for `training.train`.
        """
        try:
            runs.write_text(self._run.history_file, self._history.to_csv())
            self._callbacks.on_train_begin(self._run, self._run.read_record())
            if lacks_onednn():
                self._callbacks.on_warning(
                    "this program imported TensorFlow with oneDNN off: steps take longer and give "
                    "slightly other numbers. Set TF_ENABLE_ONEDNN_OPTS=1 before TensorFlow is "
                    "imported"
                )
            with stop_signal(self._callbacks.on_stop) as interrupted:
                status, reason = self._train(interrupted)
            with runs.changing(self._run, self._run.history_file, self._run.model_file):
                self._save_model()
            # Workers that left before would be reported as lost while the network is calibrated.
            self._team.dismiss(Order.STOP if status == "interrupted" else Order.END)
            if self._history.rows:
                with suppress(Exception):  # a picture does not decide about a training
                    plots.curves(self._run, self._run.plots_folder / "curves.png")
        except BaseException as error:
            self._team.fail()
            stated = isinstance(error, CifarnetError)
            reason = str(error) if stated else f"{type(error).__name__}: {error}"
            self._run.update_record(**self._final(), status="failed", stop_reason=reason)
            raise
        self._run.update_record(**self._final(), status=status, stop_reason=reason)
        self._callbacks.on_train_end(self._run, self._run.read_record())
        if status == "interrupted":
            raise Interrupted(f"{self._run.path} can be resumed: {self._team.resuming}")
        return self._run

    def _train(self, interrupted: threading.Event) -> tuple[str, str]:
        """Train to the end.

        Returns:
            `finished`, `stopped` (by a callback) or `interrupted` (by the user), and the reason.
        """
        trainer = self._trainer
        while trainer.step < trainer.total_steps:
            reason = self._history.stop_reason(self._config.train)
            if reason is not None:
                return "finished", reason
            reason = self._callbacks.stop_reason()
            if reason is not None or interrupted.is_set() or self._stopped:
                self._checkpoint()
                if reason is not None:
                    return "stopped", reason
                where = f" at {', '.join(self._stopped)}" if self._stopped else ""
                return "interrupted", f"stopped by the user{where}"
            self._steps()
            if trainer.step % trainer.steps_per_epoch == 0 or trainer.step == trainer.total_steps:
                self._end_epoch()
            elif self._checkpoint_is_due():
                self._checkpoint()
                self._run.update_record(**self._results())
        return "finished", self._history.stop_reason(self._config.train) or "all epochs done"

    def _steps(self) -> None:
        trainer = self._trainer
        in_epoch = trainer.step % trainer.steps_per_epoch
        left = min(trainer.left, trainer.resolution.left(trainer.step))
        every = self._config.train.checkpoint.every_steps
        until_saved = every - trainer.step % every if every else left
        builds_graph = trainer.builds_graph
        if builds_graph:
            self._callbacks.on_stage("tracing and compiling the training step")
        count = 1 if builds_graph else min(self._group, left, until_saved)
        self._stopped = self._team.tell(Order.STEPS, count).stopped
        start = time.perf_counter()
        losses, accuracies = trainer.steps(count)
        seconds = time.perf_counter() - start
        if not np.all(np.isfinite(losses)):
            raise TrainingError(self._advice(losses))
        self._history.add_steps(losses, accuracies, seconds)
        if not builds_graph:
            images = count * self._config.train.batch_size
            self._timed.add(images, trainer.resolution.size(trainer.step - 1), seconds)
            self._group = max(1, min(2 * count, int(_GROUP_SECONDS * count / seconds)))
        self._callbacks.on_steps(self._progress(in_epoch + count))

    def _end_epoch(self) -> None:
        trainer, history = self._trainer, self._history
        speed = self._speed()
        start = time.perf_counter()
        self._team.tell(Order.EPOCH)
        validation = trainer.validate()
        trainer.compare()
        history.seconds += time.perf_counter() - start
        history.epoch_seconds += time.perf_counter() - start
        early = self._config.train.early_stopping
        best = history.end_epoch(
            validation, trainer.learning_rate(), speed, early.min_delta if early else 0.0
        )
        self._timed = _Timed()
        if best and self._config.train.select == "best":
            self._selected = trainer.eval_model.get_weights()
        self._checkpoint()
        runs.write_text(self._run.history_file, history.to_csv())
        self._run.update_record(**self._results())
        self._callbacks.on_epoch_end(history.rows[-1], best)

    def _checkpoint_is_due(self) -> bool:
        wanted = self._config.train.checkpoint
        waited = self._history.seconds - self._checkpointed
        steps_due = wanted.every_steps and self._trainer.step % wanted.every_steps == 0
        return bool(steps_due) or (
            wanted.every_minutes is not None and waited >= 60 * wanted.every_minutes
        )

    def _checkpoint(self) -> None:
        state = self._trainer.state()
        Checkpoint(self._config, state, self._history, self._selected).save(self._run)
        self._checkpointed = self._history.seconds

    def _save_model(self) -> None:
        weights = self._selected or self._trainer.eval_model.get_weights()
        model = self._trainer.float32_model(weights)
        if self._config.train.calibrate:
            model, self._calibration = calibrate(model, self._trainer.dataset.validation)
        classes = self._run.read_record().data.classes
        name, images = self._run.path.name, self._config.data
        about = models.describe(name, images, model.input_shape[1], classes, "logits")
        models.save(model, self._run.model_file, about)
        self._is_saved = True

    def _speed(self) -> float:
        """Return the images per second of this epoch's training steps."""
        if self._timed.seconds > 0.0:
            return self._timed.images / self._timed.seconds
        images = len(self._history.losses) * self._config.train.batch_size
        return images / max(self._history.epoch_seconds, 1e-9)

    def _seconds_left(self) -> float:
        """Return the seconds of the steps to go; time is taken to go with the number of pixels."""
        step, resolution, timed = self._trainer.step, self._trainer.resolution, self._timed
        left = resolution.pixels(step, self._trainer.total_steps) * self._config.train.batch_size
        if timed.seconds > 0.0:
            return left * timed.seconds / timed.pixels
        return left / resolution.size(step - 1) ** 2 / self._speed()

    def _progress(self, steps_done: int) -> StepProgress:
        trainer, history = self._trainer, self._history
        # Not by steps alone: part of an epoch at the end of an earlier training is an epoch too.
        epochs_before = (trainer.step - 1) // trainer.steps_per_epoch
        epochs_left = math.ceil(trainer.total_steps / trainer.steps_per_epoch) - epochs_before
        return StepProgress(
            epoch=len(history.rows) + 1,
            epochs=len(history.rows) + epochs_left,
            step=steps_done,
            steps=trainer.steps_per_epoch,
            loss=float(np.mean(history.losses)),
            accuracy=float(np.mean(history.accuracies)),
            learning_rate=trainer.learning_rate(),
            images_per_second=self._speed(),
            seconds_left=self._seconds_left(),
        )

    def _results(self) -> dict[str, Any]:
        """Return what the record says of the result so far."""
        history = self._history
        selected = history.rows[-1] if history.rows else None
        if self._selected is not None and history.best_epoch is not None:
            selected = history.rows[history.best_epoch - 1]
        speeds = [row.images_per_second for row in history.rows]
        return {
            "epochs_done": round(self._trainer.step / self._trainer.steps_per_epoch, 3),
            "steps_done": self._trainer.step,
            "selected_epoch": None if selected is None else selected.epoch,
            "best_epoch": history.best_epoch,
            "validation_accuracy": None if selected is None else selected.validation_accuracy,
            "calibration": self._calibration,
            "seconds": round(history.seconds, 2),
            "images_per_second": float(np.median(speeds)) if speeds else None,
            "cost": self._meter.read().replace(macs_trained=self._trainer.macs_trained),
            "updated": now(),
        }

    def _final(self) -> dict[str, Any]:
        """Return the results at the end, without an accuracy that `model.keras` does not have."""
        trained_on = self._selected is None and bool(self._history.losses)
        if self._is_saved and not trained_on:
            return self._results()
        return {**self._results(), "selected_epoch": None, "validation_accuracy": None}

    def _advice(self, losses: np.ndarray) -> str:
        step = self._trainer.step - len(losses) + int(np.argmin(np.isfinite(losses))) + 1
        train = self._config.train
        rate, schedule = train.learning_rate, train.schedule.kind
        muon = ""
        if train.muon is not None:
            muon = f" and -o train.muon.learning_rate={train.muon.learning_rate / 10:g}"
        checkpoints = self._run.checkpoints()
        saved = f"the checkpoint {checkpoints[-1].name}" if checkpoints else "no checkpoint yet"
        return (
            f"the loss is not finite at step {step} (epoch "
            f"{len(self._history.rows) + 1}). Most often the learning rate is too high: try "
            f"-o train.learning_rate={rate / 10:g}{muon}, a warm-up (-o 'train.schedule={{kind: "
            f"{schedule}, warmup_epochs: 1}}') or -o train.clip_norm=1. {self._run.path} has "
            f"{saved}."
        )
