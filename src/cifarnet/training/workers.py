"""Which processes train together: their addresses, and which of them this one is."""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace

from cifarnet.errors import ConfigError

_PORTS = range(1, 65_536)
# Jobs on one node must not meet; those of a job must agree without talking.
_SLURM_PORTS = range(20_000, 30_000)
_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Workers:
    """The processes that train one network together.

    Attributes:
        addresses: `host:port` of each; the first is the chief, which has the run directory.
        index: of this process.
        patience: seconds to wait for the others to come.
        local: whether the chief starts the others on this machine and divides its processors.
        given: what `--workers` was, unless addresses.

    Raises:
        ConfigError: an address is none, or repeated; no such index.

    Example:
        cifarnet.train("article", workers=cifarnet.Workers.of("a:2222,b:2222", 0))
    """

    addresses: tuple[str, ...]
    index: int = 0
    patience: float = 60.0
    local: bool = False
    given: str = ""

    def __post_init__(self) -> None:
        """Check the addresses."""
        for address in self.addresses:
            host, _, port = address.rpartition(":")
            if not host or not port.isdecimal() or int(port) not in _PORTS:
                raise ConfigError(
                    f"workers: expected addresses such as a:2222,b:2222, received {address!r}"
                )
        if len(set(self.addresses)) < len(self.addresses):
            raise ConfigError(f"workers: {', '.join(self.addresses)} repeats an address")
        if not 0 <= self.index < len(self.addresses):
            raise ConfigError(
                f"worker: expected 0 to {len(self.addresses) - 1}, one of the "
                f"{len(self.addresses)} workers, received {self.index}"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """What messages call them."""
        return tuple(f"worker {i} ({one})" for i, one in enumerate(self.addresses))

    @property
    def is_chief(self) -> bool:
        """Whether this process has the run directory."""
        return self.index == 0

    def resuming(self, run: str) -> str:
        """Return the command that resumes a run; with addresses, also that of the other workers."""
        if self.given:
            first = "srun " if self.given == "slurm" else ""
            return f"{first}cifarnet train --resume {run} --workers {self.given}"
        listed, last = ",".join(self.addresses), len(self.addresses) - 1
        others = "1" if last == 1 else f"N (1 to {last})"
        return (
            f"cifarnet train --resume {run} --workers {listed} --worker 0, and with it "
            f"cifarnet train --workers {listed} --worker {others}"
        )

    @classmethod
    def of(cls, text: str | int, index: int | None = None, patience: float = 60.0) -> Workers:
        """Make what `--workers` describes.

        Args:
            text: addresses `host:port`, separated by commas; or a number of processes that this one
                starts on this machine, itself among them; or `slurm` in a task of `srun`; or `env`,
                for the variable TF_CONFIG.
            index: of this process, with addresses.
            patience: seconds to wait for the others.
        """
        kind = str(text).strip()
        listed = ":" in kind
        if listed != (index is not None):
            raise ConfigError(
                "workers: addresses need the number of this process, as in --worker 0"
                if listed
                else f"worker: only addresses need it, and --workers is {kind}; leave out --worker"
            )
        if listed:
            addresses = tuple(one.strip() for one in kind.split(","))
            return cls(addresses, index or 0, patience)
        if kind.isdecimal():
            return _local(int(kind), patience)
        if kind not in _KINDS:
            raise ConfigError(
                "workers: expected addresses such as a:2222,b:2222, a number of processes, slurm "
                f"or env, received {kind!r}"
            )
        return replace(_KINDS[kind](os.environ), patience=patience, given=kind)


def _local(count: int, patience: float) -> Workers:
    if not 1 <= count <= 256:
        raise ConfigError(f"workers: expected 1 to 256 processes, received {count}")
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind((_LOOPBACK, 0))
        addresses = tuple(f"{_LOOPBACK}:{one.getsockname()[1]}" for one in sockets)
    return Workers(addresses, patience=patience, local=True, given=str(count))


def _slurm(environment: Mapping[str, str]) -> Workers:
    """Take the tasks of an `srun`, in order: the first on the first node is the chief."""
    try:
        nodes = expand_nodes(environment["SLURM_STEP_NODELIST"])
        per_node = expand_counts(environment["SLURM_STEP_TASKS_PER_NODE"])
        index, job = int(environment["SLURM_PROCID"]), int(environment["SLURM_JOB_ID"])
        if len(nodes) != len(per_node):
            raise ValueError(f"{len(nodes)} nodes have {len(per_node)} numbers of tasks")
    except (KeyError, ValueError) as error:
        raise ConfigError(
            f"workers: slurm is for tasks that srun starts, and here {error} is missing or not "
            "as expected. Start it as `srun cifarnet train ... --workers slurm`."
        ) from error
    first = _SLURM_PORTS[job * 16 % len(_SLURM_PORTS)]
    addresses = [
        f"{node}:{first + task}"
        for node, tasks in zip(nodes, per_node, strict=True)
        for task in range(tasks)
    ]
    return Workers(tuple(addresses), index)


# TensorFlow's SlurmClusterResolver sorts nodes by name, n10 before n9, where SLURM has n9 first.
def expand_nodes(text: str) -> list[str]:
    """Return the nodes of a SLURM list such as `n[01-03,7],login`, in order."""
    nodes = []
    for item in re.findall(r"(?:[^,\[\]]|\[[^\]]*\])+", text):
        head, *groups = re.split(r"\[([^\]]*)\]", item)
        found = [head]
        for numbers, tail in zip(groups[::2], groups[1::2], strict=True):
            found = [f"{one}{number}{tail}" for one in found for number in _numbers(numbers)]
        nodes += found
    return nodes


def expand_counts(text: str) -> list[int]:
    """Return the numbers of a SLURM list such as `2(x3),1`: 2, 2, 2, 1."""
    counts: list[int] = []
    for item in text.split(","):
        found = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", item.strip())
        if found is None:
            raise ValueError(f"{text!r}")
        counts += [int(found[1])] * int(found[2] or 1)
    return counts


def _numbers(text: str) -> list[str]:
    """Return the numbers of `01-03,7`, with their leading zeros."""
    numbers = []
    for item in text.split(","):
        low, _, high = item.partition("-")
        last = int(high or low)
        numbers += [f"{number:0{len(low)}}" for number in range(int(low), last + 1)]
    return numbers


def _from_tf_config(environment: Mapping[str, str]) -> Workers:
    """Take TF_CONFIG, as TensorFlow's own resolver reads it; a task `chief` comes first."""
    try:
        config = json.loads(environment["TF_CONFIG"])
        cluster, task = config["cluster"], config["task"]
        tasks = [
            (kind, i) for kind in ("chief", "worker") for i in range(len(cluster.get(kind, [])))
        ]
        addresses = tuple(str(cluster[kind][i]) for kind, i in tasks)
        index = tasks.index((task["type"], int(task["index"])))
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise ConfigError(
            "workers: env needs the variable TF_CONFIG, such as "
            '{"cluster": {"worker": ["a:2222", "b:2222"]}, '
            '"task": {"type": "worker", "index": 0}}; '
            f"here {error} is missing or not as expected"
        ) from error
    return Workers(addresses, index)


_KINDS = {"slurm": _slurm, "env": _from_tf_config}
