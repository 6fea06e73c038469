"""How the workers of a training meet, before TensorFlow connects them.

TensorFlow waits for a missing worker inside C++, where neither time limits nor Ctrl-C reach it. So
the chief first calls each worker at its address and tells it the config; both load the images; and
only when all have the chief's images and versions do they start TensorFlow's servers, on the same
ports.
"""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from types import TracebackType

from cifarnet import config as cfg
from cifarnet import system
from cifarnet.callbacks import Callback
from cifarnet.data import Dataset
from cifarnet.errors import CifarnetError, ConfigError, JsonObject, TrainingError
from cifarnet.formatting import count, difference, some
from cifarnet.training import cluster, messages
from cifarnet.training.team import Team
from cifarnet.training.workers import Workers

_TRY_SECONDS = 0.2
# Where the images are may differ, and whether in memory; that they are equal is checked.
_MAY_DIFFER = ("data.path", "data.memory_share")


class Meeting:
    """The chief's side, or that of a training without other workers, for which nothing happens.

    A context: when it ends with an error, the others are told, and local ones ended.
    """

    def __init__(self, workers: Workers | None, report: Callback) -> None:
        """Prepare; `report` is told what is waited for."""
        self._workers = None if workers is None or len(workers.addresses) == 1 else workers
        self._report = report
        self._connections: dict[int, socket.socket] = {}
        self._busy: messages.Busy | None = None
        self._processes = cluster.Processes()

    @property
    def is_alone(self) -> bool:
        """Whether there are no other workers."""
        return self._workers is None

    def call(self, config: cfg.Config) -> None:
        """Start local workers, and tell all of them what is trained.

        Raises:
            ConfigError: a worker has another config or other versions; more local workers than
                cores.
            TrainingError: some did not come in time; says which. The port is in use.
        """
        workers = self._workers
        if workers is None:
            return
        if not workers.is_chief:
            raise ConfigError("worker: only worker 0 trains; others use cifarnet.join_training")
        with _listener(workers):
            pass  # the port is free
        if workers.local:
            self._processes.start(workers)
        self._busy = messages.Busy(self._connections.values())
        end = time.monotonic() + workers.patience
        missing = list(range(1, len(workers.addresses)))
        self._report.on_stage(f"waiting for {count(len(missing), 'worker')}")
        while missing:
            for index in [*missing]:
                connection = _connected(workers.addresses[index])
                if connection is not None and self._introduce(workers, connection, index, config):
                    missing.remove(index)
            if missing and time.monotonic() > end:
                names = " and ".join(workers.names[index] for index in missing)
                raise TrainingError(
                    f"{names} did not come within {workers.patience:g} s. If it was started, look "
                    "at its message. Start all workers with the same --workers, and allow their "
                    f"ports.{self._processes.last_words()}"
                )
            self._processes.check()
            time.sleep(_TRY_SECONDS if missing else 0)

    def _introduce(
        self, workers: Workers, connection: socket.socket, index: int, config: cfg.Config
    ) -> bool:
        """Tell a worker what is trained; return whether it agreed, False if it is no worker."""
        hello = {
            "addresses": list(workers.addresses),
            "index": index,
            "config": config.model_dump(mode="json"),
            "versions": system.versions(),
            "local": workers.local,
        }
        try:
            connection.settimeout(messages.SILENCE_SECONDS)
            messages.send(connection, hello)
            answer = messages.receive(connection)
        except (OSError, ValueError, RecursionError):
            connection.close()  # of another program, or not yet ready
            return False
        if "refused" in answer:
            connection.close()
            raise ConfigError(f"{workers.names[index]} refuses: {answer['refused']}")
        # A connection to a free port of this machine can reach itself, which answers what was sent.
        if "accepted" not in answer:
            connection.close()
            return False
        self._connections[index] = connection
        return True

    def begin(self, config: cfg.Config, dataset: Dataset) -> Team:
        """Wait until all have loaded the same images, and connect them.

        Args:
            config: with the precision.
            dataset: of this process.

        Raises:
            DataError, ConfigError: a worker has other images, or cannot load them.
            TrainingError: a worker is gone.
        """
        workers = self._workers
        if workers is None:
            return Team()
        digests = dataset.digests()
        for index, connection in self._connections.items():
            name = workers.names[index]
            self._report.on_stage(f"waiting for the images of {name}")
            try:
                answer = messages.receive(connection)
            except (OSError, ValueError, RecursionError) as error:
                raise TrainingError(
                    f"lost {name} while it loaded its images: {error}."
                    f"{self._processes.last_words()}"
                ) from error
            if "failed" in answer:
                raise TrainingError(f"{name}: {answer['failed']}")
            wrong = [split for split in digests if answer["digests"].get(split) != digests[split]]
            if wrong:
                raise ConfigError(
                    f"{name} has other images than the chief: {', '.join(wrong)}. Give all workers "
                    "the same images; where they are may differ, with -o data.path=FOLDER."
                )
        self._close({"begin": config.model_dump(mode="json")})
        self._report.on_stage("connecting the workers")
        return cluster.connect(workers)

    def __enter__(self) -> Meeting:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._close({"end": str(error) or type(error).__name__})
        self._processes.stop(at_once=error is not None)

    def _close(self, last: JsonObject) -> None:
        if self._busy is not None:
            self._busy.end()
        for connection in self._connections.values():
            messages.close(connection, last)
        self._connections, self._busy = {}, None


@dataclass(frozen=True)
class Invitation:
    """What the chief told this worker.

    Attributes:
        config: what is trained, with the chief's path of the images; `precision` may be `auto`.
        local: whether the workers share this machine's processors.
        busy: tells the chief that this process is there, until it has its images.
    """

    connection: socket.socket
    config: cfg.Config
    local: bool
    busy: messages.Busy

    def accept(self, workers: Workers, dataset: Dataset) -> tuple[cfg.Config, Team]:
        """Tell the chief which images were loaded; connect when all have them.

        Returns:
            The config with the precision that the chief chose; and the team.

        Raises:
            TrainingError: the chief is gone, or gave up; says why.
        """
        self.busy.end()
        try:
            messages.send(self.connection, {"digests": dataset.digests()})
            answer = messages.receive(self.connection)
            if "begin" in answer:
                # The chief closes first: the port of who does so cannot be used for a while.
                self.connection.recv(1)
        except (OSError, ValueError, RecursionError) as error:
            raise TrainingError(f"lost {workers.names[0]}: {error}") from error
        finally:
            self.connection.close()
        if "begin" not in answer:
            raise TrainingError(f"{workers.names[0]} ended: {answer.get('end')}")
        config = cfg.parse(answer["begin"], "the config of the chief")
        return config, cluster.connect(replace(workers, local=self.local))

    def decline(self, error: CifarnetError) -> None:
        """Tell the chief that the images cannot be loaded."""
        self.busy.end()
        messages.close(self.connection, {"failed": str(error)})


def wait_for_chief(workers: Workers, config: cfg.Config | None) -> Invitation:
    """Wait until the chief calls.

    Args:
        workers: of which this is not the chief.
        config: must be the chief's, but for the path of the images; None: any.

    Raises:
        ConfigError: the chief has another config, other workers or other versions.
        TrainingError: it did not call in time; the port is in use.
    """
    end = time.monotonic() + workers.patience
    with _listener(workers) as listener:
        while True:
            listener.settimeout(max(0.01, end - time.monotonic()))
            try:
                connection, _ = listener.accept()
            except TimeoutError as error:
                raise TrainingError(
                    f"{workers.names[0]} did not call within {workers.patience:g} s. If it was "
                    "started, look at its message. Start it with the same --workers, and allow "
                    "the ports between them."
                ) from error
            try:
                connection.settimeout(messages.SILENCE_SECONDS)
                hello = messages.receive(connection)
                problem = _problem(hello, workers, config)
                theirs, local = hello["config"], bool(hello["local"])
                messages.send(connection, {"refused": problem} if problem else {"accepted": True})
            except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
                connection.close()  # of another program, or of a chief that has ended
                continue
            if problem:
                connection.close()
                raise ConfigError(f"{workers.names[0]} calls with another training: {problem}")
            settings = cfg.parse(theirs, "the config of the chief")
            return Invitation(connection, settings, local, messages.Busy([connection]))


def _problem(hello: JsonObject, workers: Workers, config: cfg.Config | None) -> str:
    """Return what keeps this worker from training with the chief; empty: nothing."""
    if hello["addresses"] != list(workers.addresses) or hello["index"] != workers.index:
        return (
            f"its workers are {','.join(hello['addresses'])} and this would be number "
            f"{hello['index']}, here they are {','.join(workers.addresses)} and this is number "
            f"{workers.index}"
        )
    versions = system.versions()
    wrong = [k for k in versions if hello["versions"].get(k) != versions[k]]
    if wrong:
        listed = ", ".join(f"{k} {hello['versions'].get(k)} and {versions[k]}" for k in wrong)
        return f"the versions differ: {listed}"
    if config is None:
        return ""
    changes = cfg.changes(cfg.parse(hello["config"], "the config of the chief"), config)
    lines = [
        difference(key, theirs, ours, " and ")
        for key, (theirs, ours) in sorted(changes.items())
        # A chief that resumes knows what it chose for `auto`; this worker would take any.
        if not key.startswith(_MAY_DIFFER) and (key, ours) != ("train.precision", "auto")
    ]
    if not lines:
        return ""
    return f"the configs differ (chief and worker): {some(lines)}. Give both the same, or none here"


def _listener(workers: Workers) -> socket.socket:
    host, _, port = workers.addresses[workers.index].rpartition(":")
    is_loopback = host == "localhost" or host.startswith("127.")
    try:
        return socket.create_server((host if is_loopback else "", int(port)))
    except OSError as error:
        raise TrainingError(
            f"{workers.names[workers.index]} cannot listen on port {port}: "
            f"{error.strerror or error}. Choose another port in --workers, on all machines."
        ) from error


def _connected(address: str) -> socket.socket | None:
    host, _, port = address.rpartition(":")
    with suppress(OSError):
        return socket.create_connection((host, int(port)), timeout=_TRY_SECONDS * 5)
    return None
