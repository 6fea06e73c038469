"""The child process that calls functions: results, errors, crashes, and its end."""

import math
import os
import select
import signal
import subprocess
import sys

import pytest

from cifarnet import config
from cifarnet.errors import ConfigError
from cifarnet.worker import Worker, WorkerDied


def test_calls_share_one_process_and_return_results():
    with Worker() as worker:
        assert worker.call(math.hypot, 3.0, 4.0) == 5.0
        child = worker.call(os.getpid)
        assert child == worker.call(os.getpid) != os.getpid()


def test_errors_keep_their_kind_and_where_they_were_raised():
    with Worker() as worker:
        with pytest.raises(ConfigError, match="no-such-config") as stated:
            worker.call(config.load, "no-such-config.yaml")
        with pytest.raises(RuntimeError, match="ZeroDivisionError: ") as other:
            worker.call(divmod, 1, 0)
        assert worker.call(abs, -1) == 1
    assert "in load" in str(stated.value.__cause__)
    assert "Traceback" in str(other.value.__cause__)


def test_a_crash_is_told_and_the_next_call_has_a_new_process():
    with Worker() as worker:
        for ends, how in (((os.abort,), "SIGABRT"), ((os._exit, 7), "exit code 7")):
            before = worker.call(os.getpid)
            with pytest.raises(WorkerDied, match=f"^{how}$"):
                worker.call(*ends)
            assert worker.call(os.getpid) != before


def test_it_ends_with_the_context():
    with Worker() as worker:
        child = os.pidfd_open(worker.call(os.getpid))
    assert ended(child)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_it_ends_with_its_parent_in_the_middle_of_a_call(number, tmp_path):
    script = tmp_path / "script.py"  # without a main guard
    script.write_text(
        "import os, sys, time\n"
        "from cifarnet.worker import Worker\n"
        "with Worker() as worker:\n"
        "    print(worker.call(os.getpid), flush=True)\n"
        "    worker.call(time.sleep, 3600)\n"
    )
    with subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as parent:
        child = os.pidfd_open(int(parent.stdout.readline()))
        parent.send_signal(number)
        assert parent.wait(60) != 0
        assert ended(child)


def ended(process: int) -> bool:
    readable, _, _ = select.select([process], [], [], 60)
    os.close(process)
    return bool(readable)
