"""Ctrl-C and the signals of schedulers as a request to stop between two steps."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

# A scheduler sends SIGTERM or, before its time limit, SIGUSR1; a terminal that is closed sends
# SIGHUP. Windows has only the first two.
_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")


@contextmanager
def stop_signal() -> Iterator[threading.Event]:
    """An event that Ctrl-C or another of `_SIGNALS` sets; then Ctrl-C ends the process as usual.

    A signal that the process ignores, as SIGHUP under nohup, stays ignored.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    numbers = [getattr(signal, name) for name in _SIGNALS if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    before = {number: old for number, old in before.items() if old not in (signal.SIG_IGN, None)}

    def handle(number: int, frame: object) -> None:
        stop.set()
        if signal.SIGINT in before:
            signal.signal(signal.SIGINT, before[signal.SIGINT])

    for number in before:
        signal.signal(number, handle)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
