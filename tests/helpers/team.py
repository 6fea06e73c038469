"""Trainings of several processes, in a network of their own where that is allowed."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from cifarnet import runs

_WAIT_SECONDS = 180
ADDRESSES = ("127.0.0.1:2222", "127.0.0.1:2223", "127.0.0.1:2224")


@contextmanager
def network() -> Iterator[list[str]]:
    """Make a network with a loopback device alone; gives the words before a command inside it.

    None where the system refuses: then they are empty.
    """
    words = ["unshare", "--net", "sh", "-c", "ip link set lo up && echo up && exec sleep 3600"]
    if any(shutil.which(name) is None for name in ("unshare", "nsenter", "ip")):
        yield []
        return
    holder = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert holder.stdout is not None
        up = holder.stdout.readline().strip() == "up"
        yield ["nsenter", f"--net=/proc/{holder.pid}/ns/net", "--"] if up else []
    finally:
        holder.kill()
        holder.communicate()


class Started:
    """The commands of a training's workers, each a process."""

    def __init__(
        self, folder: Path, before: list[str], commands: Sequence[Sequence[object]], **names: str
    ) -> None:
        """Start `cifarnet train ARGUMENTS` for each, of one thread, with more variables.

        An empty variable is left out.
        """
        self.folder = folder
        environment = {**os.environ, "TF_NUM_INTRAOP_THREADS": "1", **names}
        environment = {name: value for name, value in environment.items() if value}
        self.processes = [
            subprocess.Popen(
                [*before, sys.executable, "-m", "cifarnet", "train", *map(str, arguments)],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            for arguments in commands
        ]

    def ends(self) -> list[tuple[int, str]]:
        """Wait for all; return the exit code and standard error of each."""
        texts = [process.communicate(timeout=_WAIT_SECONDS)[1] for process in self.processes]
        return [(one.returncode, text) for one, text in zip(self.processes, texts, strict=True)]

    def kill(self) -> None:
        """End what is left."""
        for process in self.processes:
            process.kill()
            process.wait()
            if process.stderr is not None:
                process.stderr.close()

    def wait_for(self, pattern: str) -> Path:
        """Wait until there is a file, such as a checkpoint; return it."""
        end = time.monotonic() + _WAIT_SECONDS
        while not (found := sorted(self.folder.glob(pattern))):
            assert time.monotonic() < end, f"no {pattern}"
            assert all(one.poll() is None for one in self.processes), self.ends()
            time.sleep(0.1)
        return found[0]

    def send(self, number: signal.Signals, worker: int) -> None:
        """Send a signal to one of them."""
        self.processes[worker].send_signal(number)


def numbers(run: runs.Run) -> dict[str, np.ndarray]:
    """Return the numbers of the newest checkpoint."""
    arrays = runs.read_arrays(run.checkpoints()[-1])
    return {name: array for name, array in arrays.items() if name != "about"}
