"""The installed command, in a process of its own."""

import subprocess
import sys


def cifarnet(*arguments, cwd, code: int = 0, **options) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "cifarnet", *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, **options)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done
