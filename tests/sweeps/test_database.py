"""Sweeps whose trials a database counts, for machines that share no folder."""

import os
import pwd
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import pytest
from helpers import sweeping

from cifarnet.callbacks import Callback, Callbacks
from cifarnet.errors import CifarnetError, ConfigError, RunError
from cifarnet.sweeps import results, run_sweep, storage
from cifarnet.sweeps import run as running

RATES = [round(0.01 * n, 2) for n in range(1, 13)]
TEXT = "vary: {{train.learning_rate: {}, train.momentum: [{}]}}\n"


def initdb() -> str | None:
    places = [*Path("/usr/lib/postgresql").glob("*/bin"), Path("/usr/pgsql/bin")]
    return shutil.which("initdb", path=os.pathsep.join([os.environ["PATH"], *map(str, places)]))


class Postgres:
    """A server on a socket of its own, as a user that may run it."""

    def __init__(self, folder: Path) -> None:
        self.bin, self.data = Path(initdb() or "").resolve().parent, folder / "data"
        # PostgreSQL refuses to run as root.
        self.user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        if os.geteuid() == 0:
            shutil.chown(folder, self.user)
        self._call("initdb", "-D", self.data, "-U", "sweeper", "-A", "trust", "--no-sync")
        self.url = f"postgresql://sweeper@/postgres?host={self.data}"

    def start(self) -> None:
        options = f"-k {self.data} -c listen_addresses=''"
        log = self.data / "log"
        self._call("pg_ctl", "-D", self.data, "-w", "-l", log, "-o", options, "start")

    def stop(self) -> None:
        self._call("pg_ctl", "-D", self.data, "-w", "-m", "immediate", "stop")

    def _call(self, name: str, *arguments: object) -> None:
        words = [str(self.bin / name), *map(str, arguments)]
        user = self.user if os.geteuid() == 0 else None
        subprocess.run(words, user=user, cwd=self.data.parent, check=True, capture_output=True)


@pytest.fixture
def postgres():
    if initdb() is None:
        pytest.skip("no initdb, so no sweep was counted by PostgreSQL")
    with tempfile.TemporaryDirectory() as folder:
        server = Postgres(Path(folder))
        server.start()
        yield server
        server.stop()


def machines(tmp_path, text, url, number=2):
    """The folders of a sweep on machines that share nothing but the database."""
    made = []
    for name in range(number):
        home = tmp_path / str(name)
        home.mkdir()
        made.append(sweeping.begin(home, text, url))
    return made


def check(folders, url, rates):
    """Each trial is there once, complete, and trained on one machine, undisturbed."""
    found = results.collect(folders[0], url).trials
    assert [one.values["train.learning_rate"] for one in found] == rates
    assert [one.state for one in found] == ["complete"] * len(rates)
    assert [one.value for one in found] == [pytest.approx(rate + 0.006) for rate in rates]
    made = [sweeping.states(folder) for folder in folders]
    assert sorted(name for one in made for name in one) == [
        folders[0].run_name(number, 0) for number in range(len(rates))
    ]
    assert all(state == expected for one in made for state, expected in one.values())
    return made


def test_two_folders_share_a_database(tmp_path):
    url = f"sqlite:///{tmp_path}/trials.db"
    rates = RATES[:4]
    folders = machines(tmp_path, TEXT.format(rates, 0.05), url)
    storage.open_study(folders[0], url)  # makes the tables, which takes SQLite long on a slow disk
    processes = [sweeping.started(folder.path, url) for folder in folders]
    for process in processes:
        process.join()
        assert process.exitcode == 0
    check(folders, url, rates)
    assert all(one.record.storage == url for one in folders)
    assert not folders[0].journal_file.exists()


def test_a_password_is_not_stored(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "_AGAIN_SECONDS", 0.0)
    url = "postgresql://me:secret@127.0.0.1:9/none"
    folder = sweeping.begin(tmp_path, TEXT.format(RATES, 0), url)
    assert folder.record.storage == "postgresql+psycopg://me:***@127.0.0.1:9/none"
    assert "secret" not in (folder.path / "sweep.json").read_text()
    with pytest.raises(RunError, match=r"password is not stored: .*--storage, or in PGPASSWORD"):
        storage.open_study(folder, None)
    with pytest.raises(RunError, match=r"cannot open the storage postgresql.*refused") as caught:
        storage.open_study(folder, url)
    assert "secret" not in str(caught.value)
    with pytest.raises(ConfigError, match=r"expected the trials .* sqlite:.*x\.db, which has no"):
        storage.open_study(folder, f"sqlite:///{tmp_path}/x.db")
    for url in ("trials", "mongodb://x", "postgresql://me:secret@host:port/none"):
        with pytest.raises(ConfigError, match="expected the URL of a database such as") as caught:
            storage.without_password(url)
        assert "secret" not in str(caught.value)
    for url in (
        "postgresql://host/none?user=me&password=secret",
        "postgresql://host/none?sslpassword=secret",
        "postgresql://me:a@secret@host/none",
    ):
        with pytest.raises(ConfigError, match="a password stands before the host") as caught:
            storage.without_password(url)
        assert "secret" not in str(caught.value)


def test_a_sweep_is_not_begun_with_a_database_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "_AGAIN_SECONDS", 0.0)
    path = sweeping.write(tmp_path, TEXT.format(RATES, 0))
    for url, message in (
        ("postgresql://me@127.0.0.1:9/none", r"127\.0\.0\.1.* port 9 .*refused\. Check that its"),
        ("mongodb://x", "expected the URL of a database .*, received mongodb:"),
        ("sqlite:///trials.db", "expected the absolute path .*, received sqlite:///trials.db"),
        (f"sqlite:///{tmp_path}/no/trials.db", r"unable to open database file\. Check"),
    ):
        with pytest.raises(CifarnetError, match=message):
            run_sweep(path, url=url, root=tmp_path / "runs", callbacks=[])
    assert not (tmp_path / "runs").exists()


def test_a_database_that_moved_is_taken_if_it_has_the_trials(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "_AGAIN_SECONDS", 0.0)
    old, new, other = (f"sqlite:///{tmp_path}/{name}.db" for name in ("old", "new", "other"))
    folder = sweeping.begin(tmp_path, TEXT.format(RATES[:2], 0), old)
    with sweeping.forked_trainings():
        sweeping.go_on(folder.path)
    (tmp_path / "old.db").rename(tmp_path / "new.db")
    with pytest.raises(ConfigError, match=r"old\.db, which has none of them\. .* if that moved"):
        results.read_sweep(folder.path)  # nor is it begun anew
    (tmp_path / "old.db").unlink()
    (tmp_path / "old.db").mkdir()
    with pytest.raises(
        RunError, match=r"unable to open .*if it moved, give its URL with --storage"
    ):
        results.read_sweep(folder.path)
    assert results.read_sweep(folder.path, new).counts == {"complete": 2}
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    with sweeping.forked_trainings():
        sweeping.go_on(sweeping.begin(stranger, TEXT.format(RATES[:2], 0), other).path)
    with pytest.raises(ConfigError, match=r"received .*other\.db, which has none of them"):
        results.read_sweep(folder.path, other)


@pytest.mark.slow
def test_postgresql_with_kills(postgres, tmp_path):
    folders = machines(tmp_path, TEXT.format(RATES, 0.1), postgres.url)
    living = [sweeping.started(folder.path, postgres.url) for folder in (*folders, folders[0])]
    for victim in (0, 1, 2, 0, 1):
        time.sleep(1.3)
        living[victim].kill()
        living[victim].join()
        path = folders[victim % 2].path
        living[victim] = sweeping.started(path, postgres.url)
    for process in living:
        process.join()
        assert process.exitcode == 0
    for folder in folders:
        sweeping.go_on(folder.path, postgres.url)
    made = check(folders, postgres.url, RATES)
    assert all(made)  # both machines trained some


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [4, 60])
def test_postgresql_is_away_for_a_while(seconds, postgres, tmp_path, monkeypatch):
    """It stops at once in the second epoch; trainings continue, and all is told afterwards."""
    monkeypatch.setattr(running, "_AGAIN_SECONDS", 1.0)
    (folder,) = machines(tmp_path, TEXT.format(RATES[:4], 0.3), postgres.url, 1)

    class Stop(Callback):
        warnings: tuple[str, ...] = ()
        stages = 0

        def on_stage(self, what):
            self.stages += 1
            if self.stages == 3:  # after the start and the first epoch
                postgres.stop()
                threading.Timer(seconds, postgres.start).start()

        def on_warning(self, text):
            self.warnings = (*self.warnings, text)

    stop = Stop()
    running.work_on(folder, postgres.url, 2, Callbacks([stop]), sweeping.train)
    assert stop.warnings[0].startswith("the storage is away: ")
    assert stop.warnings[-1] == "the storage is there again"
    (made,) = check([folder], postgres.url, RATES[:4])
    assert len(made) == 4
