"""Signals as a request to stop, and as Ctrl-C."""

import os
import signal
import subprocess
import sys

import pytest

from cifarnet.callbacks.interrupt import all_as_interrupt, stop_signal


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"])
def test_the_first_signal_is_told_once_and_asks_to_stop(name):
    told = []
    before = signal.getsignal(signal.SIGTERM)
    with stop_signal(lambda: told.append(name)) as stop:
        assert not stop.is_set()
        os.kill(os.getpid(), getattr(signal, name))
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.is_set()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert told == [name]
    assert signal.getsignal(signal.SIGTERM) is before and signal.set_wakeup_fd(-1) == -1


INSIDE = """
import hashlib, os
from cifarnet.callbacks.interrupt import stop_signal

with stop_signal(lambda: os.write(1, b"told")):
    os.write(1, b"ready")
    hashlib.pbkdf2_hmac("sha256", b"", b"", (1 << 31) - 1)  # for minutes
"""


def test_a_signal_is_told_while_the_main_thread_is_inside_another_library():
    with subprocess.Popen([sys.executable, "-c", INSIDE], stdout=subprocess.PIPE) as process:
        assert process.stdout.read(5) == b"ready"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.read(4) == b"told"
        process.kill()


def test_without_a_signal_nothing_is_told():
    told = []
    with stop_signal(lambda: told.append(1)) as stop:
        pass
    assert not told and not stop.is_set()


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGUSR1"])
def test_other_signals_do_what_ctrl_c_does(name):
    before = signal.getsignal(signal.SIGTERM)
    with all_as_interrupt(), pytest.raises(KeyboardInterrupt, match=f"by {name}"):
        os.kill(os.getpid(), getattr(signal, name))
    assert signal.getsignal(signal.SIGTERM) is before
