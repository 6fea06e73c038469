"""Ctrl-C and the signals of schedulers as a request to stop between two steps."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

# A scheduler sends SIGTERM or, before its time limit, SIGUSR1; a terminal that is closed sends
# SIGHUP. Windows has only the first two.
_NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")
SIGNALS = tuple(int(getattr(signal, name)) for name in _NAMES if hasattr(signal, name))
_OTHERS = tuple(number for number in SIGNALS if number != signal.SIGINT)


@contextmanager
def stop_signal(notify: Callable[[], None] | None = None) -> Iterator[threading.Event]:
    """An event that Ctrl-C or another of `SIGNALS` sets; then Ctrl-C ends the process as usual.

    A signal that the process ignores, as SIGHUP under nohup, stays ignored.

    Args:
        notify: called at the first signal, at once and so in another thread: the main thread may
            be inside TensorFlow, and sets the event only after that.
    """
    stop = threading.Event()

    def handle(_: int, before: dict[int, Any]) -> None:
        stop.set()
        if signal.SIGINT in before:
            signal.signal(signal.SIGINT, before[signal.SIGINT])

    with _handled(SIGNALS, handle) as numbers, _noticed(numbers, notify):
        yield stop


@contextmanager
def all_as_interrupt() -> Iterator[None]:
    """Let the other signals do what Ctrl-C does: raise KeyboardInterrupt, with their name."""

    def handle(number: int, _: dict[int, Any]) -> None:
        raise KeyboardInterrupt(f"by {signal.Signals(number).name}")

    with _handled(_OTHERS, handle):
        yield


@contextmanager
def _handled(
    numbers: Collection[int], handle: Callable[[int, dict[int, Any]], None]
) -> Iterator[Collection[int]]:
    """Call `handle` with a signal and the handlers before; gives the signals; main thread alone."""
    if threading.current_thread() is not threading.main_thread():
        yield ()
        return
    before = {number: signal.getsignal(number) for number in numbers}
    before = {number: old for number, old in before.items() if old not in (signal.SIG_IGN, None)}
    for number in before:
        signal.signal(number, lambda sent, _: handle(sent, before))
    try:
        yield before
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _noticed(numbers: Collection[int], notify: Callable[[], None] | None) -> Iterator[None]:
    """Call `notify` once, in a thread that the first of these signals wakes."""
    if notify is None or not numbers:
        yield
        return
    reader, writer = socket.socketpair()

    def wait() -> None:
        while received := reader.recv(1):  # the number of a signal; nothing at the end
            if received[0] in numbers:
                return notify()

    thread = threading.Thread(target=wait, daemon=True)
    writer.setblocking(False)
    before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        writer.close()
        thread.join()
        reader.close()
