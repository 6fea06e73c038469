"""A child process that calls functions: native code that crashes ends it, not its caller."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from typing import Any, ParamSpec, TypeVar

from cifarnet import system
from cifarnet.errors import CifarnetError

P = ParamSpec("P")
T = TypeVar("T")


_processor_seconds: dict[int, float] = {}  # of running processes by id, after their latest call


def processor_seconds() -> float:
    """Return the processor time of this process and its children, also of workers still running.

    A running one counts up to the end of its latest call.
    """
    return system.processor_seconds() + sum(_processor_seconds.values())


class WorkerDied(Exception):
    """The child process ended during a call; the text says how, such as `SIGSEGV`."""


class Worker:
    """A child process with a new interpreter, which the first call starts.

    A call after the process died starts another one. The process ends with the context, and when
    this process ends, in whatever way.

    Example:
        with Worker() as worker:
            worker.call(math.sqrt, 2.0)
    """

    def __init__(self) -> None:
        self._process: Any = None
        self._connection: Any = None

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop(kill=True)

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function of a module in the child process.

        Arguments and result are pickled.

        Raises:
            WorkerDied: the process ended during the call.
            CifarnetError: what the function raised.
            RuntimeError: it raised anything else; the text has the kind and the message.
        """
        if self._process is None:
            self._start()
        try:
            self._connection.send((function, args, kwargs))
            (result, error, trace), seconds = self._connection.recv()
        except (EOFError, ConnectionError) as broken:
            raise WorkerDied(self._stop()) from broken
        _processor_seconds[self._process.pid] = seconds
        if error is not None:
            raise error from RuntimeError(f"in the child process:\n{trace}")
        return result

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        with without_main_module():
            self._process.start()
        theirs.close()

    def _stop(self, kill: bool = False) -> str:
        """Wait for the end of the process; return how it ended."""
        process, self._process = self._process, None
        if process is None:
            return ""
        if kill:
            process.kill()
        self._connection.close()
        process.join()  # from now on the system counts its time as this process' children's
        _processor_seconds.pop(process.pid, None)
        code = process.exitcode
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _serve(connection: Connection) -> None:
    """Answer calls until the other end of the connection closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the caller gets Ctrl-C, too, and ends this
    threading.Thread(target=end_with_parent, daemon=True).start()
    while True:
        try:
            function, args, kwargs = connection.recv()
        except EOFError:
            return
        connection.send((_outcome(function, args, kwargs), system.processor_seconds()))


def _outcome(
    function: Callable[..., T], args: Any, kwargs: Any
) -> tuple[T | None, Exception | None, str]:
    try:
        return function(*args, **kwargs), None, ""
    except CifarnetError as error:
        return None, error, traceback.format_exc()
    except Exception as error:  # other kinds may not unpickle
        return None, RuntimeError(f"{type(error).__name__}: {error}"), traceback.format_exc()


def end_with_parent() -> None:
    """End this process when its parent has ended, also in the middle of a call."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


@contextmanager
def without_main_module() -> Iterator[None]:
    """Keep a new process from importing, and so running, the script that calls the library."""
    main = sys.modules["__main__"].__dict__
    hidden: dict[str, Any] = {name: main[name] for name in ("__file__", "__spec__") if name in main}
    main.pop("__file__", None)
    main["__spec__"] = None
    try:
        yield
    finally:
        main.update(hidden)
