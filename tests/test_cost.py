"""Cost by hand: counters in folders like the kernel's, processor time of real processes, sums."""

import math
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from helpers.commands import cifarnet

from cifarnet import config, cost, requirements, training
from cifarnet.callbacks import Callback
from cifarnet.cost import Meter, PackageEnergy, Power
from cifarnet.errors import ConfigError, GateError
from cifarnet.runs import CostRecord, Run, RunRecord
from cifarnet.worker import Worker, WorkerDied

RANGE = 262_143_328_850  # microjoules, of a common server processor


def zone(folder: Path, number: str, name: str, counter: int, most: int = RANGE) -> Path:
    """Make the folder of a counter as Linux shows it; return the counter's file."""
    path = folder / f"intel-rapl:{number}"
    path.mkdir(parents=True)
    (path / "name").write_text(f"{name}\n")
    (path / "max_energy_range_uj").write_text(f"{most}\n")
    (path / "energy_uj").write_text(f"{counter}\n")
    return path / "energy_uj"


def count(counter: Path, value: int) -> None:
    """Set a counter at once, as a kernel does: its reader's thread never sees an empty file."""
    temporary = counter.with_name("new")
    temporary.write_text(str(value))
    temporary.replace(counter)


# --- energy ---------------------------------------------------------------------------


def test_packages_are_added_and_what_they_contain_is_not(tmp_path):
    first = zone(tmp_path, "0", "package-0", 5_000_000)
    second = zone(tmp_path, "1", "package-1", 7_000_000)
    parts = [zone(tmp_path, "0:0", "core", 0), zone(tmp_path, "0:1", "dram", 0)]
    parts.append(zone(tmp_path, "2", "psys", 0))  # the platform, with both packages
    (tmp_path / "intel-rapl").mkdir()  # the control type
    energy = PackageEnergy(tmp_path)
    count(first, 6_500_000)
    count(second, 7_250_000)
    for part in parts:
        count(part, 900_000_000)
    assert energy.read() == (1.75, "RAPL of package-0, package-1, all work on the machine")
    count(second, 8_250_000)
    assert energy.read()[0] == 2.75


def test_a_counter_that_wraps_goes_on(tmp_path):
    counter = zone(tmp_path, "0", "package-0", RANGE - 300_000)
    energy = PackageEnergy(tmp_path)
    count(counter, 200_000)
    assert energy.read()[0] == 0.5
    count(counter, 1_200_000)
    assert energy.read()[0] == 1.5


def test_every_wrap_is_seen_without_being_asked(tmp_path, monkeypatch):
    monkeypatch.setattr(cost, "_SAMPLE_SECONDS", 0.001)
    counter = zone(tmp_path, "0", "package-0", 0, most=1_000_000_000)
    energy = PackageEnergy(tmp_path)
    for value in (800_000_000, 500_000_000, 200_000_000):  # 800 J + 700 J + 700 J
        count(counter, value)
        deadline = time.monotonic() + 60
        while energy._values != [value] and time.monotonic() < deadline:
            threading.Event().wait(0.001)
    assert energy.read()[0] == 2200.0


def unread_for_long(folder: Path) -> PackageEnergy:
    # 1 microjoule is full after 0.5 ns at 2,000 W.
    counter = zone(folder, "0", "package-0", 0, most=1)
    energy = PackageEnergy(folder)
    count(counter, 1)
    return energy


def reset(folder: Path) -> PackageEnergy:
    # As one wrap it would be 252,143 J in an instant.
    counter = zone(folder, "0", "package-0", 10_000_000_000)
    energy = PackageEnergy(folder)
    count(counter, 0)
    return energy


def gone(folder: Path) -> PackageEnergy:
    counter = zone(folder, "0", "package-0", 0)
    energy = PackageEnergy(folder)
    counter.unlink()
    return energy


def unreadable(folder: Path) -> PackageEnergy:
    zone(folder, "0", "package-0", 0)
    counter = zone(folder, "1", "package-1", 0)  # without it the sum would be too low
    counter.unlink()
    counter.mkdir()
    return PackageEnergy(folder)


def strange(folder: Path) -> PackageEnergy:
    zone(folder, "0", "package-0", 0).write_text("<unknown>")
    return PackageEnergy(folder)


def none(folder: Path) -> PackageEnergy:
    zone(folder, "0:0", "core", 0)
    return PackageEnergy(folder)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (unread_for_long, "may have wrapped unseen"),
        (reset, "was reset"),
        (gone, "cannot be read: .*No such file"),
        (unreadable, "cannot be read: .*Is a directory"),
        (strange, "cannot be read: .*unknown"),
        (none, "shows no RAPL counter"),
        (lambda folder: PackageEnergy(folder / "no"), "shows no RAPL counter"),
    ],
)
def test_energy_that_is_not_surely_known_is_unknown_with_the_reason(make, why, tmp_path):
    energy = make(tmp_path)
    joules, note = energy.read()
    assert joules is None
    assert re.search(why, note), note
    assert energy.read() == (None, note)  # also later


def test_a_meter_reads_the_counters_of_the_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(cost, "POWERCAP", tmp_path)
    counter = zone(tmp_path, "0", "package-0", 0, most=10**13)
    meter = Meter(Power(grams_per_kwh=380))
    count(counter, 7_200_000_000_000)  # 7.2 MJ, which is 2 kWh
    found = meter.read()
    assert (found.energy_joules, found.grams_per_kwh) == (7_200_000, 380)
    assert found.carbon_grams == [760, 760]
    assert (found.declared_watts, found.declared_joules) == (None, None)
    assert Meter().read().carbon_grams is None
    assert "7,200,000 J (RAPL of package-0, all work" in cost.describe(found)
    assert "; 760 g of CO2-equivalent" in cost.describe(found)


# --- what the user states -------------------------------------------------------------


def test_stated_watts_give_a_range_that_is_not_called_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(cost, "POWERCAP", tmp_path)
    counter = zone(tmp_path, "0", "package-0", 0)
    meter = Meter(Power(watts=(50_000, 80_000), grams_per_kwh=450))
    count(counter, 1_000_000)
    found = meter.read()
    assert found.energy_joules == 1.0
    low, high = found.declared_joules
    # Wall seconds are rounded to 1 ms, which is 50 and 80 J.
    assert low == pytest.approx(50_000 * found.wall_seconds, abs=50)
    assert high / low == pytest.approx(1.6, rel=1e-4)
    # 450 g per 3.6 MJ is 1 g per 8 kJ; of the range, which is that of the whole machine.
    assert found.carbon_grams == pytest.approx([low / 8000, high / 8000])


def test_without_energy_there_is_no_carbon(tmp_path, monkeypatch):
    monkeypatch.setattr(cost, "POWERCAP", tmp_path)
    found = Meter(Power(grams_per_kwh=450)).read()
    assert (found.energy_joules, found.declared_joules, found.carbon_grams) == (None, None, None)
    assert cost.describe(found).endswith("energy unknown: this machine shows no RAPL counter")


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({"watts": (90, 60)}, "lowest and the highest power such as 60:90, received 90:60"),
        ({"watts": (-1, 60)}, "received -1:60"),
        ({"watts": (0, math.inf)}, "received 0:inf"),
        ({"watts": (math.nan, 1)}, "received nan:1"),
        ({"watts": (1, 2, 3)}, "received 1:2:3"),
        ({"grams_per_kwh": -0.1}, "grams of CO2-equivalent per kWh such as 380, received -0.1"),
        ({"grams_per_kwh": math.nan}, "received nan"),
    ],
)
def test_impossible_power_is_refused(stated, message):
    with pytest.raises(ConfigError, match=message):
        Power(**stated)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--watts", "90:60"], "received 90:60"),
        (["--watts", "60"], "such as 60:90, received '60'"),
        (["--watts", "60:nan"], "received 60:nan"),
        (["--grid", "-3"], "received -3"),
    ],
)
def test_a_command_refuses_it_before_it_starts(options, message, tmp_path):
    done = cifarnet("train", "--config", "smoke", *options, cwd=tmp_path, code=2)
    assert message in " ".join(done.stderr.split())
    assert list(tmp_path.iterdir()) == []


# --- processor time -------------------------------------------------------------------

BURN = """
import resource
used = lambda: sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
while used() < 0.5: sum(range(100_000))
print(used())
"""


def test_a_child_process_counts_what_the_system_says_it_used():
    meter, own = Meter(), time.process_time()
    done = subprocess.run([sys.executable, "-c", BURN], capture_output=True, text=True, check=True)
    own = time.process_time() - own
    found = meter.read()
    # The end of the child, after it printed, is not in its own figure.
    assert found.processor_seconds == pytest.approx(float(done.stdout) + own, abs=0.1)


def test_a_worker_counts_while_it_runs_and_not_twice_when_it_has_ended():
    with Worker() as worker:
        before = worker.call(time.process_time)
        meter = Meter()
        worker.call(sum, range(10_000_000))
        used = worker.call(time.process_time) - before
        running = meter.read().processor_seconds
    ended = meter.read().processor_seconds
    assert used > 0.05
    assert running >= used - 0.01
    assert ended < running + used / 2


def test_a_crashed_worker_counts_once():
    with Worker() as worker:
        meter = Meter()
        worker.call(sum, range(10_000_000))
        running = meter.read().processor_seconds
        with pytest.raises(WorkerDied, match="exit code 7"):
            worker.call(os._exit, 7)
        ended = meter.read().processor_seconds
    assert running <= ended + 0.01 and ended < 1.5 * running


# --- sums and records -----------------------------------------------------------------


def test_costs_are_added_and_an_unknown_part_makes_a_sum_unknown():
    one = CostRecord(
        wall_seconds=1.5,
        processor_seconds=3,
        cores=2,
        energy_joules=10,
        energy_note="RAPL of package-0",
        declared_watts=[60, 90],
        declared_joules=[90, 135],
        grams_per_kwh=400,
        carbon_grams=[0.01, 0.015],
    )
    other = one.replace(
        wall_seconds=2,
        cores=4,
        energy_joules=None,
        energy_note="gone",
        declared_watts=[10, 20],
        declared_joules=[20, 40],
    )
    found = cost.total([one, other])
    assert found.wall_seconds == 3.5 and found.processor_seconds == 6 and found.cores == 4
    assert found.energy_joules is None and found.energy_note == "RAPL of package-0; gone"
    assert found.declared_watts is None and found.declared_joules == [110, 175]
    assert found.grams_per_kwh == 400 and found.carbon_grams == [0.02, 0.03]
    assert cost.total([one]) == one
    assert cost.total([one, CostRecord()]) == CostRecord(energy_note="RAPL of package-0")


def test_a_cost_in_one_line():
    found = CostRecord(
        wall_seconds=61,
        processor_seconds=118.24,
        cores=2,
        macs_trained=1_900_000_000_000,
        energy_note="no counter",
        declared_watts=[60, 90],
        declared_joules=[3660, 5490],
        grams_per_kwh=400,
        carbon_grams=[0.40667, 0.61],
    )
    assert cost.describe(found) == (
        "1 min 01 s, 118.2 processor seconds on 2 cores, 1.9e+12 multiply-accumulates trained; "
        "3,660 to 5,490 J at the stated watts; 0.407 to 0.61 g of CO2-equivalent"
    )
    assert cost.describe(CostRecord()) == (
        "unknown time, unknown processor time; energy unknown: not recorded"
    )


def test_cost_may_be_required_of_every_record():
    record = RunRecord(cost=CostRecord(wall_seconds=61.0))
    assert requirements.parse("energy_joules<5", RunRecord).metric == "energy_joules"
    requirements.check("wall_seconds<=61", record)
    with pytest.raises(GateError, match="required wall_seconds < 61, measured 61"):
        requirements.check("wall_seconds<61", record)
    for unknown in (record, RunRecord()):
        with pytest.raises(ConfigError, match="no energy_joules: it was not measured"):
            requirements.check("energy_joules<5", unknown)


# --- trainings ------------------------------------------------------------------------

SETTINGS = config.parse(
    {
        "data": {"source": "synthetic", "limit": 300, "validation_fraction": 0.2},
        "model": {"layers": ["Flatten", {"Dense": {"units": 10}}]},
        "train": {"epochs": 2, "batch_size": 50, "learning_rate": 0.01, "precision": "float32"},
    }
)


class StopAfterAnEpoch(Callback):
    """Stops a training after its first epoch."""

    ended = False

    def on_epoch_end(self, result, best):
        self.ended = True

    def stop_reason(self):
        return "enough" if self.ended else None


@pytest.fixture
def stopped(tmp_path) -> Run:
    """A run of 4 of its 8 steps."""
    power = Power(watts=(60, 90))
    return training.train(SETTINGS, tmp_path, callbacks=[StopAfterAnEpoch()], power=power)


def test_the_cost_of_a_training_is_that_of_all_its_sessions(stopped):
    first = stopped.read_record().cost
    # 4 steps of 50 images; 32 x 32 x 3 inputs times 10 outputs.
    assert first.macs_trained == 200 * 30_720
    assert first.processor_seconds > 0
    assert first.wall_seconds > stopped.read_record().seconds > 0
    known = {"wall_seconds": 1000, "processor_seconds": 2000, "declared_joules": [60_000, 90_000]}
    stopped.update_record(cost=first.replace(**known))
    training.resume(stopped, callbacks=[], power=Power(watts=(60, 90)))
    found = stopped.read_record().cost
    assert found.macs_trained == 400 * 30_720
    added = found.wall_seconds - 1000
    assert 0 < added < 600 and 2000 < found.processor_seconds < 2600
    assert found.declared_joules == pytest.approx([60 * (1000 + added), 90 * (1000 + added)], abs=1)


def test_a_session_of_unknown_cost_makes_the_sums_unknown(stopped):
    stopped.update_record(cost=None)  # as an earlier version wrote it
    training.resume(stopped, callbacks=[])
    found = stopped.read_record().cost
    assert (found.wall_seconds, found.processor_seconds, found.declared_joules) == (None,) * 3
    assert found.macs_trained == 400 * 30_720


def test_a_killed_training_keeps_the_cost_up_to_its_checkpoint(tmp_path):
    """At each checkpoint the record has the cost, so that nothing but the rest is lost."""
    known = []

    class Look(Callback):
        def on_steps(self, progress):
            (folder,) = tmp_path.glob("*-run")
            known.append((progress.step, Run(folder).read_record().cost))

    train = SETTINGS.train.model_copy(
        update={"epochs": 1, "checkpoint": config.CheckpointConfig(every_steps=1)}
    )
    training.train(SETTINGS.model_copy(update={"train": train}), tmp_path, callbacks=[Look()])
    assert known[0] == (1, None)
    assert [one.macs_trained for _, one in known[1:]] == [50 * n * 30_720 for n in (1, 2, 3)]
