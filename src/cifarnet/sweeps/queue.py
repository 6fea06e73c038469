"""Which trial is next: claim, report and tell trials of a study that many processes share.

A trial has the state RUNNING in the storage from its claim to its end. Whether a living process
trains it, the lock of its number in the sweep's folder says: the system frees that when the
process ends, however it ends.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import filelock

from cifarnet.errors import JsonObject, RunError
from cifarnet.sweeps import space, storage
from cifarnet.sweeps.folder import SweepFolder

if TYPE_CHECKING:
    from optuna import Trial
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial


_PRUNE = "pruned_at"  # attribute of a trial: the epoch after which it was decided


@dataclass
class Claim:
    """A trial that this process trains.

    Attributes:
        number: from 0.
        values: by dotted key.
        threads: of TensorFlow; 0: its own choice.
        trial: Optuna's.
        lock: of the number.
        unreported: validation accuracy by epoch of the first seed, not yet in the storage.
    """

    number: int
    values: JsonObject
    threads: int
    trial: Trial
    lock: filelock.BaseFileLock
    unreported: dict[int, float] = field(default_factory=dict)


class Queue:
    """The trials of a sweep, as the storage has them.

    Attributes:
        study: Optuna's.
    """

    def __init__(self, folder: SweepFolder, url: str | None) -> None:
        """Open the storage; raises as `storage.open_study`."""
        self._folder = folder
        self.study = storage.open_study(folder, url)
        self._points = space.grid(folder.space) if folder.record.sampler == "grid" else None

    def trials(self) -> list[FrozenTrial]:
        """Return the trials of the sweep by number, without surplus ones."""
        total = self._folder.record.trials
        return [one for one in self.study.get_trials(deepcopy=False) if one.number < total]

    def claim(self, busy: Collection[int], threads: int) -> Claim | None:
        """Take over a trial of this folder whose process died, or else begin a new one.

        Args:
            busy: numbers that this process trains.
            threads: of a new trial; a trial that is taken over keeps its own.

        Returns:
            The trial; None: none is left but those that living processes train.
        """
        from optuna.trial import TrialState, create_trial

        with self._folder.claiming():
            trials = self.study.get_trials(deepcopy=False)
            for one in trials:
                if (
                    one.state == TrialState.RUNNING
                    and self._is_here(one)
                    and one.number not in busy
                ):
                    lock = self._folder.try_lock(one.number)
                    if lock is not None:
                        return self._claimed(one.number, one._trial_id, lock, taken_over=True)
            if len(trials) >= self._folder.record.trials:
                return None
            mine = {**_process(), "folder": self._folder.record.folder_id, "threads": threads}
            template = create_trial(state=TrialState.RUNNING, user_attrs=mine)
            trial_id = self._storage.create_new_trial(self.study._study_id, template)
            number = self._storage.get_trial_number_from_id(trial_id)
            lock = self._folder.try_lock(number)
            if number >= self._folder.record.trials:
                # Another folder's process was faster: this one is beyond the total.
                self.study.tell(number, state=TrialState.FAIL, skip_if_finished=True)
                if lock is not None:
                    lock.release()
                return None
            if lock is None:
                raise RunError(f"another process holds the lock of the new trial {number}")
            return self._claimed(number, trial_id, lock)

    def pruned(self, number: int) -> Claim | None:
        """Take the lock of a pruned trial whose runs are here; None: it is none.

        Raises:
            RunError: another process holds it.
        """
        from optuna import Trial
        from optuna.trial import TrialState

        found = next((one for one in self.trials() if one.number == number), None)
        if found is None or found.state != TrialState.PRUNED or not self._is_here(found):
            return None
        lock = self._folder.try_lock(number)
        if lock is None:
            raise RunError(f"trial {number} of {self._folder.path} is being trained")
        values = {key: one.value(found.params[key]) for key, one in self._folder.space.items()}
        trial = Trial(self.study, found._trial_id)
        return Claim(number, values, found.user_attrs["threads"], trial, lock)

    def report(self, claim: Claim) -> bool:
        """Store the epochs that are not stored yet; return whether the trial is to be pruned."""
        found = self._storage.get_trial(claim.trial._trial_id)
        if _PRUNE in found.user_attrs:
            return True
        stored = found.intermediate_values
        for epoch, accuracy in sorted(claim.unreported.items()):
            if epoch not in stored:
                claim.trial.report(accuracy, epoch)
            # Also for a stored one: the process or the storage may have gone before the decision.
            prune = self._folder.record.prune is not None and claim.trial.should_prune()
            del claim.unreported[epoch]
            if prune:  # which Optuna says only once
                claim.trial.set_user_attr(_PRUNE, epoch)
                return True
        return False

    def tell(
        self, claim: Claim, state: str, value: float | None, attributes: Mapping[str, Any]
    ) -> None:
        """Store how a trial ended: `complete` with its value, `pruned` or `failed`."""
        from optuna.exceptions import UpdateFinishedTrialError
        from optuna.trial import TrialState

        states = {
            "complete": TrialState.COMPLETE,
            "pruned": TrialState.PRUNED,
            "failed": TrialState.FAIL,
        }
        try:
            for name, one in attributes.items():
                claim.trial.set_user_attr(name, one)
            self.study.tell(claim.number, value, states[state], skip_if_finished=True)
        except UpdateFinishedTrialError:
            pass  # the answer to an earlier attempt was lost

    @property
    def _storage(self) -> Any:
        return self.study._storage

    def _is_here(self, trial: FrozenTrial) -> bool:
        number_is_in = trial.number < self._folder.record.trials
        return number_is_in and trial.user_attrs.get("folder") == self._folder.record.folder_id

    def _claimed(
        self, number: int, trial_id: int, lock: filelock.BaseFileLock, taken_over: bool = False
    ) -> Claim:
        from optuna import Trial

        try:
            self.study.sampler = self._sampler(number)
            trial = Trial(self.study, trial_id)
            values = {key: one.suggest(trial, key) for key, one in self._folder.space.items()}
            if taken_over:
                times = trial.user_attrs.get("taken_over", 0) + 1
                for name, one in {**_process(), "taken_over": times}.items():
                    trial.set_user_attr(name, one)
            return Claim(number, values, trial.user_attrs["threads"], trial, lock)
        except BaseException:
            lock.release()
            raise

    def _sampler(self, number: int) -> BaseSampler:
        """Return the sampler of one trial, seeded by its number.

        So what it proposes depends on the trials so far, not on which process asks.
        """
        from optuna import samplers

        kind = self._folder.record.sampler
        if kind == "random":
            return samplers.RandomSampler(seed=number)
        if kind == "tpe":
            return samplers.TPESampler(seed=number)
        from cifarnet.sweeps.point import Point

        values = self._points[number] if self._points else {}
        return Point({key: space.parameter(one) for key, one in values.items()})


def _process() -> JsonObject:
    return {"host": socket.gethostname(), "pid": os.getpid()}
