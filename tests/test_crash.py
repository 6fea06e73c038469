"""Kills at any instant: what was done stays, what is finished later has the same bits."""

import json
import shutil
from pathlib import Path

import pytest
from helpers import crash, images

from cifarnet import config, runs
from cifarnet.data import cifar10

ROOT = Path(__file__).parent.parent
# How many images and steps of a shipped config are enough to pass all its states.
SHORT = ["data.limit=120", "data.validation_fraction=0.2", "train.batch_size=24"]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """The result of a training nobody killed, and how long it took."""
    root = tmp_path_factory.mktemp("unbroken")
    crash.whole(crash.train_or_resume, root, crash.CONFIG)  # loads TensorFlow for the rest, too
    again = tmp_path_factory.mktemp("again")
    seconds = crash.whole(crash.train_or_resume, again, crash.CONFIG)
    ((one,), (other,)) = runs.all_runs(root), runs.all_runs(again)
    crash.assert_same(crash.result(one), crash.result(other))
    return crash.result(one), seconds


def at_random(count: int, tmp_path: Path, unbroken) -> int:
    """Kill trainings at random instants; return how many were still running."""
    expected, seconds = unbroken
    _, random = crash.seeds()
    in_time = 0
    for i in range(count):
        root, after = tmp_path / str(i), random.uniform(0, seconds)
        root.mkdir()
        work = (crash.train_or_resume, root, crash.CONFIG)
        in_time += crash.kill_and_finish(
            root, crash.CONFIG, expected, lambda a=after, w=work: crash.killed_after(a, *w)
        )
        shutil.rmtree(root)
    return in_time


def test_trainings_killed_at_random_instants_finish_with_the_same_bits(tmp_path, unbroken):
    assert at_random(3, tmp_path, unbroken) > 0


@pytest.mark.slow
def test_two_hundred_kills_give_two_hundred_equal_finishes(tmp_path, unbroken):
    kills, rounds = 0, 0
    while kills < 200:
        kills += at_random(1, tmp_path, unbroken)
        rounds += 1
    print(f"{kills} kills in {rounds} trainings")


def moments(tmp_path: Path) -> list[str]:
    """Every fsync, rename and removal of a whole training, in order."""
    notes = tmp_path / "moments"
    (tmp_path / "counted").mkdir()
    work = (crash.train_or_resume, tmp_path / "counted", crash.CONFIG)
    assert not crash.killed_at(0, notes, *work)
    return notes.read_text().split()


def at_moments(every: int, tmp_path: Path, unbroken) -> None:
    count = len(moments(tmp_path))
    assert count > 60
    for moment in range(1, count + 1, every):
        root = tmp_path / str(moment)
        root.mkdir()
        work = (crash.train_or_resume, root, crash.CONFIG)
        assert crash.kill_and_finish(
            root,
            crash.CONFIG,
            unbroken[0],
            lambda m=moment, w=work: crash.killed_at(m, tmp_path / "notes", *w),
        ), moment
        shutil.rmtree(root)


def test_trainings_killed_between_two_writes_finish_with_the_same_bits(tmp_path, unbroken):
    at_moments(23, tmp_path, unbroken)


@pytest.mark.slow
def test_trainings_killed_at_every_write_finish_with_the_same_bits(tmp_path, unbroken):
    at_moments(1, tmp_path, unbroken)


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_shipped_config_killed_finishes_with_the_same_bits(path, tmp_path, monkeypatch):
    """On few images; at an instant in the first epoch, between epochs, and while writing."""
    settings = config.load(path, [*SHORT, "train.epochs=3", "train.checkpoint.every_steps=2"])
    document = json.loads(settings.model_dump_json())
    root, notes = tmp_path / "unbroken", tmp_path / "notes"
    assert not crash.killed_at(0, notes, crash.train_or_resume, root, document)
    count = len(notes.read_text().split())
    expected = crash.result(runs.all_runs(root)[0])
    for moment in (count // 6, count // 2, count - 5):
        root = tmp_path / str(moment)
        work = (crash.train_or_resume, root, document)
        assert crash.kill_and_finish(
            root, document, expected, lambda m=moment, w=work: crash.killed_at(m, notes, *w)
        )


# --- exports --------------------------------------------------------------------------


def killed_exports(count: int, tmp_path: Path) -> None:
    """Kill exports of a run that has older ones: each is the old or the new one, and whole."""
    root = tmp_path / "runs"
    root.mkdir()
    crash.whole(crash.train_or_resume, root, crash.CONFIG)
    (run,) = runs.all_runs(root)
    seconds = crash.whole(crash.export, run.path)
    names = [one.name for one in runs.exports(run)]
    assert names == ["keras", "savedmodel"]
    _, random = crash.seeds()
    for i in range(count):
        if i % 2:
            crash.killed_after(random.uniform(0, seconds), crash.export, run.path)
        else:
            crash.killed_at(random.randrange(1, 60), tmp_path / "notes", crash.export, run.path)
        assert runs.status(run) == "finished"
        with runs.lock(run):  # what any next command does
            pass
        assert [one.name for one in runs.exports(run)] == names
        assert [one for one in runs.verify(run) if one.right is False] == []
        crash.assert_clean(root)


def test_killed_exports_leave_the_old_or_the_new_one(tmp_path):
    killed_exports(4, tmp_path)


@pytest.mark.slow
def test_forty_killed_exports_leave_the_old_or_the_new_one(tmp_path):
    killed_exports(40, tmp_path)


# --- fetching -------------------------------------------------------------------------


def killed_fetches(count: int, tmp_path: Path, monkeypatch) -> None:
    tiny = images.Tiny(tmp_path / "files")
    tiny.use(monkeypatch)
    _, random = crash.seeds()
    with images.Server(tiny.binary.read_bytes(), "whole") as server:
        for i in range(count):
            home = tmp_path / f"home{i}"
            work = (crash.fetch, home, tiny.settings(server.url))
            crash.killed_at(random.randrange(1, 12), tmp_path / "notes", *work)
            crash.whole(*work)
            monkeypatch.setenv("CIFARNET_HOME", str(home))
            assert all(one.ok for one in cifar10.verify())
            assert sorted(p.name for p in home.iterdir()) == ["cifar10", "cifar10.lock"]


def test_killed_fetches_are_made_good_by_the_next(tmp_path, monkeypatch):
    killed_fetches(4, tmp_path, monkeypatch)


@pytest.mark.slow
def test_fifty_killed_fetches_are_made_good_by_the_next(tmp_path, monkeypatch):
    killed_fetches(50, tmp_path, monkeypatch)
