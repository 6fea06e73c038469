"""The host: its properties that results record, and silence for native libraries."""

from __future__ import annotations

import os
import platform
import sys
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

_LIBRARIES = ("tensorflow", "keras", "numpy", "cifarnet")


@dataclass(frozen=True)
class Host:
    """Properties of the host that influence results.

    Attributes:
        cores: that this process may use.
        memory_bytes: of the host; None if unknown.
        system: operating system.
        onednn: whether TensorFlow uses oneDNN's kernels; None if it is not loaded.
    """

    processor: str
    cores: int
    memory_bytes: int | None
    system: str
    python: str
    onednn: bool | None


def describe() -> Host:
    """Return the properties of this host."""
    return Host(
        processor=_processor(),
        cores=usable_cores(),
        memory_bytes=_memory(),
        system=platform.platform(),
        python=platform.python_version(),
        onednn=uses_onednn(),
    )


def uses_onednn() -> bool | None:
    """Return whether TensorFlow uses oneDNN's kernels; None if it is not loaded.

    TensorFlow decides it when it is imported: what TF_ENABLE_ONEDNN_OPTS says later has no effect.
    """
    port = sys.modules.get("tensorflow.python.util._pywrap_util_port")
    return None if port is None else bool(port.IsMklEnabled())


def versions() -> dict[str, str]:
    """Return the installed version of each library that influences results."""
    return {name: _version(name) for name in _LIBRARIES}


def git_commit() -> str | None:
    """Return the commit of the checkout this package runs from, `+` if changed; None elsewhere."""
    import subprocess

    folder = Path(__file__).parent
    try:
        # An installed copy may lie inside some other checkout, whose commit says nothing.
        _git("ls-files", "--error-unmatch", Path(__file__).name, cwd=folder)
        commit = _git("rev-parse", "HEAD", cwd=folder)
        return commit + ("+" if _git("status", "--porcelain", "--", ".", cwd=folder) else "")
    except (OSError, subprocess.SubprocessError):
        return None


def processor_flags() -> frozenset[str]:
    """Return the instruction sets that the processor has, as Linux names them; none elsewhere."""
    return frozenset(_cpuinfo("flags").split())


def usable_cores() -> int:
    """Return the number of cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def usable_memory() -> int | None:
    """Return how many bytes of memory this process may use: of the host, or of its container."""
    limits = [memory] if (memory := _memory()) is not None else []
    for name in ("memory.max", "memory/memory.limit_in_bytes"):  # of cgroups 2 and 1
        with suppress(OSError, ValueError):
            limits.append(int(Path("/sys/fs/cgroup", name).read_text(encoding="ascii")))
    return min(limits, default=None)


def processor_seconds() -> float:
    """Return the user and system time of this process and of its child processes that ended."""
    try:
        import resource
    except ModuleNotFoundError:  # on Windows
        import time

        return time.process_time()
    whose = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(used.ru_utime + used.ru_stime for used in map(resource.getrusage, whose))


def peak_memory() -> int:
    """Return the peak memory of this process, bytes."""
    with suppress(OSError, StopIteration):
        # `getrusage` would count what the parent held when it started this process.
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        line = next(line for line in lines if line.startswith("VmHWM:"))
        return 1024 * int(line.split()[1])
    import resource  # not on Windows

    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else 1024 * used


@contextmanager
def lenient() -> Iterator[None]:
    """Let libraries warn and round: `-W error` and `numpy.seterr` make no exceptions meanwhile.

    A filter for one module stays; it is meant.
    """
    with warnings.catch_warnings(), _numpy_errors_ignored():
        warnings.filters[:] = [  # type: ignore[index]
            ("ignore" if action == "error" and module is None else action, *rest, module, line)
            for action, *rest, module, line in warnings.filters
        ]
        yield


def _numpy_errors_ignored() -> AbstractContextManager[None]:
    if "numpy" not in sys.modules:  # nothing was set; `--help` does without it
        return nullcontext()
    import numpy as np

    return np.errstate(all="ignore")


@contextmanager
def quiet() -> Iterator[None]:
    """Discard what libraries write to standard error, also from C++.

    Where it is closed it becomes the null device, also afterwards: the next file that is opened
    would take its descriptor, and what libraries write there.
    """
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        before = null if null == 2 else os.dup(2)
    except OSError:
        before = os.dup(null)
    _flush_stderr()
    os.dup2(null, 2)
    try:
        yield
    finally:
        _flush_stderr()
        os.dup2(before, 2)
        for descriptor in {before, null} - {2}:
            os.close(descriptor)


def _flush_stderr() -> None:
    with suppress(AttributeError, OSError, ValueError):  # there is none, it is full, or closed
        sys.stderr.flush()


def _version(name: str) -> str:
    import importlib.metadata  # takes 25 ms, which `--help` would wait for

    for distribution in (name, f"{name}-cpu"):
        try:
            return importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return "unknown"


def _git(*arguments: str, cwd: Path) -> str:
    import subprocess

    done = subprocess.run(
        ["git", *arguments], cwd=cwd, capture_output=True, text=True, check=True, timeout=10
    )
    return done.stdout.strip()


def _processor() -> str:
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def _cpuinfo(key: str) -> str:
    """Return what Linux says of the first core; nothing where it does not."""
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith(key))
    return ""


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
