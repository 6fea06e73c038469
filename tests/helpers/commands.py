"""The command, in a process of its own.

The process is forked from one that has imported TensorFlow and Keras, which takes longer than many
a command; `tests/cli` also starts some commands with a new interpreter.
"""

import ctypes
import functools
import multiprocessing
import os
import resource
import subprocess
import sys
import threading
import unittest.mock
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

_CAPABILITY_VERSION_3 = 0x20080522  # linux/capability.h


@functools.cache
def forking() -> Any:
    """Return the context of processes that are forked from one with `helpers.preloaded`."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["helpers.preloaded"])
    # Python 3.11 does not hand `sys.path` to it.
    paths = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    with unittest.mock.patch.dict(os.environ, PYTHONPATH=os.pathsep.join(paths)):
        forkserver.ensure_running()
    return context


def execute(
    *arguments: object,
    cwd: Path,
    input: str = "",
    file_limit: int | None = None,
    streams: dict[int, str] | None = None,
) -> subprocess.CompletedProcess:
    """Run `cifarnet ARGUMENTS` in the folder `cwd`, as a user whom permissions bind.

    Args:
        input: what it reads from standard input.
        file_limit: of each file it writes, bytes; a larger one fails, as on a full disk.
        streams: what is wrong with some of its descriptors: `closed`, `full` (every write fails),
            or `broken` (a pipe without a reader).
    """
    words = ["cifarnet", *map(str, arguments)]
    ends = [forking().Pipe(duplex=False) for _ in range(3)]
    (stdin, typed), (shown, stdout), (noted, stderr) = ends
    process = forking().Process(
        target=_command,
        args=(words, str(cwd), dict(os.environ), file_limit, streams or {}, stdin, stdout, stderr),
    )
    process.start()
    for end in (stdin, stdout, stderr):
        end.close()
    texts: dict[str, str] = {}

    def read(name: str, end: Connection) -> None:
        with os.fdopen(os.dup(end.fileno()), encoding="utf-8", errors="surrogateescape") as file:
            texts[name] = file.read()

    readers = [threading.Thread(target=read, args=x) for x in (("out", shown), ("err", noted))]
    for reader in readers:
        reader.start()
    os.write(typed.fileno(), input.encode())
    typed.close()
    for waited in (*readers, process):
        waited.join()
    return subprocess.CompletedProcess(words, process.exitcode or 0, texts["out"], texts["err"])


def cifarnet(*arguments: object, cwd: Path, code: int = 0, input: str = "") -> Any:
    """Run a command that must end with `code`, without a traceback."""
    done = execute(*arguments, cwd=cwd, input=input)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def _command(
    words: list[str],
    cwd: str,
    environment: dict[str, str],
    file_limit: int | None,
    faults: dict[int, str],
    *streams: Connection,
) -> None:
    from cifarnet.cli import main

    for number, stream in enumerate(streams):
        os.dup2(stream.fileno(), number)
        stream.close()
    for number, fault in faults.items():
        _spoil(number, fault)
    # Those of the forking process are for other files. Python has none for a closed descriptor.
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        is_open = faults.get(number) != "closed"
        mode = "w" if number else "r"
        stream = open(number, mode, buffering=1, closefd=False) if is_open else None  # noqa: SIM115
        setattr(sys, name, stream)
    if sys.stderr is not None:
        sys.stderr.reconfigure(errors="backslashreplace")
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    if os.geteuid() == 0:
        header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
        assert ctypes.CDLL(None).capset(header, (ctypes.c_uint32 * 6)()) == 0  # none of any kind
    if file_limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))
    sys.argv = words
    main(prog_name="cifarnet")


def _spoil(number: int, fault: str) -> None:
    if fault == "closed":
        os.close(number)
    elif fault == "full":
        os.dup2(os.open("/dev/full", os.O_WRONLY), number)
    else:
        reader, writer = os.pipe()
        os.close(reader)
        os.dup2(writer, number)
