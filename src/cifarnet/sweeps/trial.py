"""One trial in this process: its seeds one after the other, each trained by a process."""

from __future__ import annotations

import shlex
import statistics
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

from cifarnet.errors import CifarnetError, JsonObject
from cifarnet.sweeps import process
from cifarnet.sweeps.folder import SweepFolder
from cifarnet.sweeps.process import Ended, Epoch, Job, Process, Train
from cifarnet.sweeps.queue import Claim
from cifarnet.sweeps.settings import trial_config

# Deaths of a trial's process in a row, without an epoch between, after which the trial fails.
_MOST_DEATHS = 3


@dataclass
class Verdict:
    """How a trial ended, for the storage."""

    state: str
    value: float | None = None
    reason: str = ""


@dataclass
class ActiveTrial:
    """A claimed trial and the process that trains one of its seeds.

    Attributes:
        claim: of the trial.
        accuracies: by seed, of finished runs.
        epoch: the latest of the running seed.
        verdict: how it ended; None while it trains.
        paused: whether its process was stopped without an end of the trial.
        refusal: why the machine cannot train it.
    """

    folder: SweepFolder
    claim: Claim
    train: Train
    prunes: bool = True
    accuracies: dict[int, float] = field(default_factory=dict)
    epoch: int = 0
    verdict: Verdict | None = None
    paused: bool = False
    refusal: str = ""
    _process: Process | None = None
    _stopping: str | None = None
    _deaths: int = 0

    @property
    def seed(self) -> int | None:
        """The seed that is trained now or next; None: all are."""
        left = [seed for seed in self.folder.record.seeds if seed not in self.accuracies]
        return left[0] if left else None

    @property
    def decides(self) -> bool:
        """Whether epochs of the present seed are reported: of the first seed alone.

        All trials are compared on the same seed, and so on the same validation images, initial
        weights and data order; a poor setting costs a part of one run.
        """
        return self.seed == self.folder.record.seeds[0]

    @property
    def connection(self) -> Connection | None:
        """What its process tells comes here."""
        return None if self._process is None else self._process.connection

    def start(self) -> None:
        """Start a process for the next seed, or end the trial."""
        seed = self.seed
        if seed is None:
            values = list(self.accuracies.values())
            self.verdict = Verdict("complete", statistics.fmean(values))
            return
        name = self.folder.run_name(self.claim.number, seed)
        try:
            config = trial_config(self.folder.base, self.claim.values, seed, name)
        except CifarnetError as error:
            self.verdict = Verdict("failed", reason=str(error))
            return
        asks = self.prunes and self.decides and self.folder.record.prune is not None
        # Not the command as it was given: a URL in it may have a password.
        command = shlex.join(["cifarnet", "sweep", "run", str(self.folder.path)])
        job = Job(
            self.folder.path, config, self.claim.threads, asks, self.folder.record.file, command
        )
        self.epoch = 0
        self._process = Process(job, self.train)

    def receive(self) -> Epoch | None:
        """Handle one message of the process; return an epoch, which `answer` must follow."""
        if self._process is None:
            return None
        try:
            message = self._process.connection.recv()
        except (EOFError, OSError):
            self._died()
            return None
        if isinstance(message, Epoch):
            self.epoch, self._deaths = message.epoch, 0
            return message
        self._process.end()
        self._process = None
        self._ended(message)
        return None

    def answer(self, prune: bool) -> None:
        """Let the process go on after an epoch, or end the trial."""
        if prune and self._stopping is None:
            self._stopping = process.PRUNED
        if self._process is not None:
            self._process.answer(self._stopping)

    def pause(self) -> None:
        """Stop the process at its next step; the trial stays, to be continued."""
        if self._stopping is None:
            self._stopping = process.PAUSED
        if self._process is not None:
            self._process.answer(self._stopping)
        else:
            self.paused = True

    def kill(self) -> None:
        """End the process now."""
        if self._process is not None:
            self._process.end(kill=True)
            self._process = None

    def describe(self) -> str:
        """Describe what it trains."""
        if self.verdict is not None:
            return f"trial {self.claim.number} (ended; it waits for the storage)"
        doing = f"epoch {self.epoch}" if self.epoch else "loading TensorFlow, then epoch 1"
        return f"trial {self.claim.number} (seed {self.seed}, {doing})"

    def attributes(self) -> JsonObject:
        """Return what the storage keeps of the trial beside its value."""
        found: JsonObject = {"accuracies": {str(k): v for k, v in self.accuracies.items()}}
        if self.verdict is not None and self.verdict.reason:
            found["reason"] = self.verdict.reason[:2000]
        return found

    def _ended(self, ended: Ended) -> None:
        seed, has_finished = self.seed, ended.how == "finished"
        if has_finished and ended.accuracy is not None and seed is not None:
            self.accuracies[seed] = ended.accuracy
        if self.seed is None:  # nothing is left that pruning would save
            self.start()
        elif self._stopping == process.PRUNED:
            self.verdict = Verdict("pruned")
        elif ended.how == "failed":
            self.verdict = Verdict("failed", reason=ended.reason)
        elif ended.how == "refused":
            self.refusal, self.paused = ended.reason, True
        elif has_finished and self._stopping is None:
            self.start()
        else:
            self.paused = True

    def _died(self) -> None:
        """Continue after the process was killed; a run resumes exactly."""
        how = "" if self._process is None else self._process.end()
        self._process = None
        self._deaths += 1
        if self._stopping == process.PRUNED:
            self.verdict = Verdict("pruned")
        elif self._stopping is not None:
            self.paused = True
        elif self._deaths >= _MOST_DEATHS:
            self.verdict = Verdict(
                "failed", reason=f"its process ended {_MOST_DEATHS} times in a row: {how}"
            )
        else:
            self.start()
