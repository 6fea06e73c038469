"""The facts about a machine that results carry."""

import importlib.metadata
import os
import platform
import subprocess
import sys
import warnings
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from cifarnet import system


def test_a_machine_is_described_by_what_decides_numbers():
    found = system.describe()
    assert asdict(found).keys() == {
        "processor",
        "cores",
        "memory_bytes",
        "system",
        "python",
        "onednn",
    }
    assert found.processor
    assert 1 <= found.cores <= os.cpu_count()
    assert found.memory_bytes > 100_000_000
    assert found.python == platform.python_version()


def test_onednn_is_unknown_until_tensorflow_is_loaded():
    code = (
        "from cifarnet import system; print(system.describe().onednn)\n"
        "import tensorflow; print(system.describe().onednn)"
    )
    environment = {**os.environ, "TF_ENABLE_ONEDNN_OPTS": "0"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert done.stdout.split() == [b"None", b"False"]


@pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"), reason="other names elsewhere"
)
def test_instruction_sets_are_those_of_the_processor():
    found = system.processor_flags()
    assert {"fpu", "sse2"} <= found  # every x86-64 processor has both
    assert not any(" " in name for name in found)


def test_versions_are_the_installed_ones(monkeypatch):
    found = system.versions()
    assert list(found) == ["tensorflow", "keras", "numpy", "cifarnet"]
    assert found["numpy"] == np.__version__

    def only_cpu(name: str) -> str:
        if name != "tensorflow-cpu":
            raise importlib.metadata.PackageNotFoundError
        return "2.0"

    monkeypatch.setattr(importlib.metadata, "version", only_cpu)
    assert system.versions() == {
        "tensorflow": "2.0",
        "keras": "unknown",
        "numpy": "unknown",
        "cifarnet": "unknown",
    }


def test_the_commit_is_that_of_the_package_s_own_checkout(tmp_path, monkeypatch):
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        command = ["git", *identity, *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    file = tmp_path / "package" / "system.py"
    file.parent.mkdir()
    file.write_text("")
    monkeypatch.setattr(system, "__file__", str(file))
    assert system.git_commit() is None  # no checkout
    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "x")
    assert system.git_commit() is None  # a checkout of something else
    git("add", ".")
    git("commit", "-q", "-m", "y")
    assert system.git_commit() == git("rev-parse", "HEAD")
    file.write_text("changed")
    assert system.git_commit() == git("rev-parse", "HEAD") + "+"


def test_without_linux_files_other_ways_are_used(monkeypatch):
    def absent(self, *arguments, **options):
        raise FileNotFoundError

    before = system.peak_memory()
    monkeypatch.setattr(Path, "read_text", absent)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.delattr(os, "sysconf")
    found = system.describe()
    assert found.processor == (platform.processor() or platform.machine())
    assert found.cores == os.cpu_count()
    assert found.memory_bytes is None
    assert system.peak_memory() == pytest.approx(before, rel=0.5)


def test_peak_memory_counts_what_was_held_once():
    code = (
        "import numpy as np; from cifarnet import system\n"
        "before = system.peak_memory(); np.ones(200_000_000, np.uint8)\n"
        "print(system.peak_memory() - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert 150_000_000 < int(done.stdout) < 250_000_000


def test_quiet_silences_what_comes_from_below_python(capfd):
    os.write(2, b"before ")
    with system.quiet():
        os.write(2, b"within ")
    os.write(2, b"after")
    assert capfd.readouterr().err == "before after"


def test_quiet_needs_no_standard_error_and_keeps_its_descriptor_from_files(tmp_path):
    code = (
        "import os, sys\n"
        "os.close(2); sys.stderr = None\n"
        "from cifarnet import system\n"
        "with system.quiet(): os.write(2, b'lost')\n"
        "file = open('data', 'wb')\n"
        "os.write(2, b'lost'); print(file.fileno() > 2)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"True\n", b"")
    assert (tmp_path / "data").read_bytes() == b""


def test_libraries_may_warn_where_warnings_are_errors():
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        warnings.filterwarnings("error", module="mine")
        before = list(warnings.filters)
        with system.lenient():
            warnings.warn("a library's", DeprecationWarning, stacklevel=1)
            assert np.isinf(np.float32(1) / np.float32(0))
            with pytest.raises(UserWarning):
                warnings.warn_explicit("mine", UserWarning, "mine.py", 1, module="mine")
        assert list(warnings.filters) == before
        with pytest.raises(FloatingPointError):
            np.float32(1) / np.float32(0)
