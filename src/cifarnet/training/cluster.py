"""Start workers on this machine, and connect workers by TensorFlow."""

from __future__ import annotations

import faulthandler
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO

from cifarnet import backend, system
from cifarnet.backend import tf
from cifarnet.errors import ConfigError, TrainingError
from cifarnet.training.team import Team
from cifarnet.training.workers import Workers

# A worker that is silent for so long is lost.
_HEARTBEAT_SECONDS = 10
_END_SECONDS = 20.0


class Processes:
    """The local workers that a chief started."""

    def __init__(self) -> None:
        self._running: list[tuple[str, subprocess.Popen[bytes], IO[bytes]]] = []

    def start(self, workers: Workers) -> None:
        """Start all but the chief.

        Raises:
            ConfigError: they are more than this machine has cores, or GPUs.
        """
        _check_number(len(workers.addresses))
        for index in range(1, len(workers.addresses)):
            words = ["train", "--workers", ",".join(workers.addresses), "--worker", str(index)]
            words += ["--patience", str(workers.patience)]
            errors = tempfile.TemporaryFile()  # noqa: SIM115
            process = subprocess.Popen(
                [sys.executable, "-m", "cifarnet", *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
            )
            self._running.append((workers.names[index], process, errors))

    def check(self) -> None:
        """Raise a TrainingError if one has ended already."""
        for name, process, _ in self._running:
            if process.poll() is not None:
                raise TrainingError(f"{name} ended at once.{self.last_words()}")

    def last_words(self) -> str:
        """Return the last line that each one that ended wrote to standard error."""
        found = []
        for name, process, errors in self._running:
            if process.poll() is not None:
                errors.seek(0)
                lines = errors.read().decode(errors="replace").strip().splitlines()
                found.append(f" {name}: {lines[-1] if lines else f'code {process.returncode}'}")
        return "".join(found)

    def stop(self, at_once: bool) -> None:
        """Wait for the ends of all; kill those that do not end."""
        for _, process, errors in self._running:
            with suppress(subprocess.TimeoutExpired):
                process.wait(2.0 if at_once else _END_SECONDS)
            if process.poll() is None:
                process.kill()
            process.wait()
            errors.close()
        self._running = []


def _check_number(count: int) -> None:
    with system.quiet():
        most = max(system.usable_cores(), len(tf.config.list_physical_devices("GPU")))
    if count > most:
        raise ConfigError(
            f"workers: expected at most {most} processes on this machine, one for each core that "
            f"may be used, or for each GPU; received {count}. Give at most --workers {most}"
        )


def divide(workers: Workers) -> None:
    """Use this worker's share of the machine's cores and GPUs, of local workers.

    Raises:
        ConfigError: TensorFlow's devices are already in use.
    """
    count = len(workers.addresses)
    try:
        threads = max(1, system.usable_cores() // count)
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        with system.quiet():
            gpus = tf.config.list_physical_devices("GPU")
        if gpus:
            tf.config.set_visible_devices(gpus[workers.index :: count], "GPU")
    except RuntimeError as error:
        raise _in_use() from error


def check_unused() -> None:
    """Check that workers can still be connected in this process.

    Raises:
        ConfigError: TensorFlow's devices are already in use.
    """
    if backend.is_initialized():
        raise _in_use()


def connect(workers: Workers) -> Team:
    """Connect the workers, which must all call this.

    The process ends with code 1 if another one ends before it is connected: TensorFlow would wait
    for it forever, with Python's lock held.

    Raises:
        ConfigError: TensorFlow's devices are already in use in this process.
        TrainingError: a worker did not come.
    """
    if workers.local:
        divide(workers)
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({"worker": list(workers.addresses)}),
        task_type="worker",
        task_id=workers.index,
        rpc_layer="grpc",
    )
    try:
        with _at_most(workers.patience + _END_SECONDS), system.quiet():
            backend.coordinate(len(workers.addresses), workers.patience, _HEARTBEAT_SECONDS)
            strategy = tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=resolver)
    except RuntimeError as error:
        raise _in_use() from error
    except tf.errors.OpError as error:
        text = str(error).splitlines()[0]
        raise TrainingError(
            f"{workers.names[workers.index]} could not be connected with the others: {text}. Look "
            "at their messages. If a port is in use, choose another one in --workers, on all "
            "machines; then start all again."
        ) from error
    return Team(strategy, workers)


@contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    """End the process with code 1, and show where it was, unless the block ends in time."""
    errors = os.dup(2)  # which `system.quiet` redirects
    try:
        faulthandler.dump_traceback_later(seconds, exit=True, file=errors)
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        os.close(errors)


def _in_use() -> ConfigError:
    return ConfigError(
        "workers: TensorFlow's devices are already in use in this process; train with workers "
        "before anything else, or by the command cifarnet train"
    )
