"""One training from a step to its end, kept in its run directory."""

from __future__ import annotations

import math
import threading
import time
from typing import Any

import numpy as np
import tensorflow as tf

from cifarnet import config as cfg
from cifarnet import models, runs
from cifarnet.callbacks import Observer
from cifarnet.errors import CifarnetError, Interrupted, TrainingError
from cifarnet.runs import RunDir
from cifarnet.training.checkpoint import Checkpoint
from cifarnet.training.description import now
from cifarnet.training.history import Progress
from cifarnet.training.interrupt import stop_signal
from cifarnet.training.step import Trainer

# Steps run in groups of about this long: long enough to cost nothing, short enough for a
# lively display and a quick answer to Ctrl-C.
_GROUP_SECONDS = 0.5


class Session:
    """A training under way, in a run whose lock is held."""

    def __init__(
        self,
        run: RunDir,
        config: cfg.Config,
        trainer: Trainer,
        progress: Progress,
        selected: list[np.ndarray] | None,
        observer: Observer,
    ) -> None:
        self._run = run
        self._config = config
        self._trainer = trainer
        self._progress = progress
        self._selected = selected
        self._observer = observer
        self._group = 1
        # Of this epoch's steps, but for this process' first group, which includes tracing.
        self._timed_images = 0
        self._timed_seconds = 0.0
        self._traced = False
        self._checkpointed = progress.seconds
        self._board = (
            tf.summary.create_file_writer(str(run.path / "tensorboard"))
            if config.train.tensorboard
            else None
        )

    def run(self) -> RunDir:
        """Train to the end, write the results and say in the manifest how it ended.

        Raises:
            RunError: something cannot be written; the last checkpoint stays.
            TrainingError, Interrupted: as `start.run` says.
        """
        try:
            runs.write_text(self._run.history, self._progress.history_csv())
            self._observer.started(self._run, self._run.read_manifest())
            with stop_signal() as stop:
                why = self._loop(stop)
        except CifarnetError as error:
            self._run.update_manifest(**self._so_far(), status="failed", why=str(error))
            raise
        except BaseException as error:
            self._run.update_manifest(
                **self._so_far(), status="failed", why=f"{type(error).__name__}: {error}"
            )
            raise
        status = "interrupted" if why is None else "finished"
        with runs.changing(self._run, self._run.history, self._run.model):
            self._save_model()
        self._run.update_manifest(**self._so_far(), status=status, why=why or "stopped by the user")
        self._observer.ended(self._run.read_manifest())
        if why is None:
            raise Interrupted(
                f"{self._run.path} is kept. Go on with: cifarnet train --resume {self._run.path}"
            )
        return self._run

    def _loop(self, stop: threading.Event) -> str | None:
        """Train to the end; the reason it ended, or None if the user stopped it."""
        trainer = self._trainer
        while trainer.step < trainer.total_steps:
            why = self._progress.why_stop(self._config.train)
            if why is not None:
                return why
            if stop.is_set():
                self._checkpoint()
                return None
            self._some_steps()
            if trainer.step % trainer.steps_per_epoch == 0 or trainer.step == trainer.total_steps:
                self._end_epoch()
            elif self._checkpoint_is_due():
                self._checkpoint()
        return self._progress.why_stop(self._config.train) or "all epochs done"

    def _some_steps(self) -> None:
        trainer = self._trainer
        in_epoch = trainer.step % trainer.steps_per_epoch
        left = min(trainer.steps_per_epoch - in_epoch, trainer.total_steps - trainer.step)
        every = self._config.train.checkpoint.every_steps or left
        count = min(self._group, left, every - trainer.step % every)
        start = time.perf_counter()
        losses, accuracies = trainer.steps(count)
        seconds = time.perf_counter() - start
        if not np.all(np.isfinite(losses)):
            raise TrainingError(self._advice(losses))
        self._progress.add_steps(losses, accuracies, seconds)
        if self._traced:
            self._timed_images += count * self._config.train.batch_size
            self._timed_seconds += seconds
            self._group = max(1, min(2 * count, int(_GROUP_SECONDS * count / seconds)))
        self._traced = True
        self._observer.progressed(self._now_doing(in_epoch + count))

    def _end_epoch(self) -> None:
        trainer, progress = self._trainer, self._progress
        speed = self._speed()
        start = time.perf_counter()
        validation = None
        if self._config.data.validation_fraction > 0:
            validation = trainer.validate()
        progress.seconds += time.perf_counter() - start
        progress.epoch_seconds += time.perf_counter() - start
        early = self._config.train.early_stopping
        best = progress.end_epoch(
            validation, trainer.rate(), speed, early.min_delta if early else 0.0
        )
        self._timed_images, self._timed_seconds = 0, 0.0
        if best and self._config.train.select == "best":
            self._selected = trainer.kept.get_weights()
        self._checkpoint()
        runs.write_text(self._run.history, progress.history_csv())
        self._run.update_manifest(**self._so_far())
        if self._board is not None:
            self._write_board(progress.rows[-1])
        self._observer.epoch_ended(progress.rows[-1], best)

    def _write_board(self, row: dict[str, Any]) -> None:
        with self._board.as_default():
            for name, value in row.items():
                if value is not None and name != "epoch":
                    tf.summary.scalar(name, value, step=row["epoch"])
            self._board.flush()

    def _checkpoint_is_due(self) -> bool:
        asked = self._config.train.checkpoint
        waited = self._progress.seconds - self._checkpointed
        return (asked.every_steps is not None and self._trainer.step % asked.every_steps == 0) or (
            asked.every_minutes is not None and waited >= 60 * asked.every_minutes
        )

    def _checkpoint(self) -> None:
        state = self._trainer.state()
        Checkpoint(self._config, state, self._progress, self._selected).save(self._run)
        self._checkpointed = self._progress.seconds

    def _save_model(self) -> None:
        weights = self._selected or self._trainer.kept.get_weights()
        models.save(self._trainer.float32_model(weights), self._run.model)

    def _speed(self) -> float:
        """Images a second of this epoch's training steps."""
        if self._timed_seconds > 0.0:
            return self._timed_images / self._timed_seconds
        images = len(self._progress.losses) * self._config.train.batch_size
        return images / max(self._progress.epoch_seconds, 1e-9)

    def _now_doing(self, steps_done: int) -> dict[str, Any]:
        trainer, progress = self._trainer, self._progress
        left = (trainer.total_steps - trainer.step) * self._config.train.batch_size
        return {
            "epoch": len(progress.rows) + 1,
            "epochs": math.ceil(trainer.total_steps / trainer.steps_per_epoch),
            "step": steps_done,
            "steps": trainer.steps_per_epoch,
            "loss": float(np.mean(progress.losses)),
            "accuracy": float(np.mean(progress.accuracies)),
            "learning_rate": trainer.rate(),
            "images_per_second": self._speed(),
            "seconds_left": left / self._speed(),
        }

    def _so_far(self) -> dict[str, Any]:
        """What the manifest says of the result."""
        progress = self._progress
        kept: dict[str, Any] = progress.rows[-1] if progress.rows else {}
        if self._selected is not None and progress.best_epoch is not None:
            kept = progress.rows[progress.best_epoch - 1]
        speeds = [row["images_per_second"] for row in progress.rows]
        return {
            "epochs_done": round(self._trainer.step / self._trainer.steps_per_epoch, 3),
            "steps_done": self._trainer.step,
            "kept_epoch": kept.get("epoch"),
            "best_epoch": progress.best_epoch,
            "validation_accuracy": kept.get("validation_accuracy"),
            "seconds": round(progress.seconds, 2),
            "images_per_second": float(np.median(speeds)) if speeds else None,
            "updated": now(),
        }

    def _advice(self, losses: np.ndarray) -> str:
        step = self._trainer.step - len(losses) + int(np.argmin(np.isfinite(losses))) + 1
        rate = self._config.train.learning_rate
        return (
            f"the loss is no longer a number at step {step} (epoch "
            f"{len(self._progress.rows) + 1}). Most often the learning rate is too high: try "
            f"-o train.learning_rate={rate / 10:g}, a warm-up "
            "(-o train.schedule.warmup_epochs=1) or -o train.clip_norm=1. "
            f"{self._run.path} keeps the checkpoint of the last whole epoch, if there was one."
        )
