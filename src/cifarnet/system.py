"""What computes: the facts about a machine that a result should carry."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

_LIBRARIES = ("tensorflow", "keras", "numpy", "cifarnet")


def describe() -> dict[str, Any]:
    """Processor, usable cores, memory in bytes, operating system, Python, use of oneDNN."""
    return {
        "processor": _processor(),
        "cores": usable_cores(),
        "memory_bytes": _memory(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "onednn": os.environ.get("TF_ENABLE_ONEDNN_OPTS") != "0",
    }


def versions() -> dict[str, str]:
    """Installed version of each library that decides the numbers."""
    return {name: _version(name) for name in _LIBRARIES}


def git_commit() -> str | None:
    """Commit of the checkout this package is run from, with `+` if it has changes, or None."""
    folder = Path(__file__).parent
    try:
        # An installed copy may lie inside some other checkout, whose commit says nothing.
        _git("ls-files", "--error-unmatch", Path(__file__).name, cwd=folder)
        commit = _git("rev-parse", "HEAD", cwd=folder)
        return commit + ("+" if _git("status", "--porcelain", "--", ".", cwd=folder) else "")
    except (OSError, subprocess.SubprocessError):
        return None


def usable_cores() -> int:
    """Cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def peak_memory() -> int:
    """The most memory this process has held at once, bytes."""
    with suppress(OSError, StopIteration):
        # `getrusage` would count what the parent held when it started this process.
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        line = next(line for line in lines if line.startswith("VmHWM:"))
        return 1024 * int(line.split()[1])
    import resource  # not on Windows

    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else 1024 * used


@contextmanager
def quiet() -> Iterator[None]:
    """Send to nowhere what libraries print on the standard error stream, also from C++."""
    sys.stderr.flush()
    console = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(console, 2)
        os.close(console)
        os.close(nowhere)


def _version(name: str) -> str:
    for distribution in (name, f"{name}-cpu"):
        try:
            return importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return "unknown"


def _git(*arguments: str, cwd: Path) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=cwd, capture_output=True, text=True, check=True, timeout=10
    )
    return done.stdout.strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(
            line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")
        )
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
