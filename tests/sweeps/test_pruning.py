"""Successive halving on the first seed, and the end of a pruned trial."""

import pytest
from helpers import sweeping

from cifarnet.errors import ConfigError, RunError
from cifarnet.sweeps import promote, results
from cifarnet.sweeps.process import PRUNED
from cifarnet.sweeps.queue import Queue

# The best third of those that reached epoch 2 passes, at least one: of 0.5 alone it is 0.5, of
# (0.5, 0.4) again, of three 0.6, and 0.3 and 0.55 are below it.
RATES = [0.5, 0.4, 0.6, 0.3, 0.55]
PASSED = [0, 2]
TEXT = f"""\
vary: {{train.learning_rate: {RATES}}}
seeds: [3, 0]
prune: {{kind: halving, first: 2, factor: 3}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = sweeping.begin(tmp_path_factory.mktemp("pruned"), TEXT)
    sweeping.run_here(made)
    return made


def test_the_best_share_of_those_that_came_as_far_passes(folder):
    found = results.collect(folder, None).trials
    states = ["complete" if n in PASSED else "pruned" for n in range(5)]
    assert [one.state for one in found] == states
    assert [one.epochs for one in found] == [6, 2, 6, 2, 2]
    # The mean of seeds 3 and 0: the rate, six thousandths, and one and a half.
    assert [found[n].value for n in PASSED] == [pytest.approx(RATES[n] + 0.0075) for n in PASSED]


def test_a_pruned_trial_costs_a_part_of_its_first_seed(folder):
    pruned = results.collect(folder, None).trials[1]
    assert list(pruned.runs) == ["3"]
    record = folder.runs()[folder.run_name(1, 3)].read_record()
    assert (record.status, record.stop_reason) == ("stopped", PRUNED)


def test_a_process_that_died_before_it_told_does_not_undo_the_pruning(tmp_path):
    """Optuna says once that a trial is to be pruned; it would train to the next decision."""
    folder = sweeping.begin(tmp_path, TEXT.replace("0.6, 0.3, 0.55", "0.6"))
    queue = Queue(folder, None)
    claims = [queue.claim(range(number), 0) for number in range(3)]
    for claim in claims:
        claim.unreported.update({1: 0.1, 2: RATES[claim.number]})
        assert queue.report(claim) == (claim.number == 1)
    claims[1].lock.release()
    sweeping.run_here(folder)
    trial = results.collect(folder, None).trials[1]
    assert (trial.state, trial.epochs, trial.taken_over) == ("pruned", 1, 1)
    for claim in (claims[0], claims[2]):
        claim.lock.release()


def test_a_decision_that_was_not_reached_is_made_later(tmp_path):
    folder = sweeping.begin(tmp_path, TEXT)
    queue = Queue(folder, None)
    good, poor = (queue.claim(range(number), 0) for number in range(2))
    good.unreported.update({1: 0.1, 2: 0.5})
    assert not queue.report(good)
    for epoch, accuracy in ((1, 0.1), (2, 0.4)):
        poor.trial.report(accuracy, epoch)  # then the process dies, and its run is continued
        poor.unreported[epoch] = accuracy
    assert queue.report(poor)
    for claim in (good, poor):
        claim.lock.release()


def test_a_trial_that_has_ended_is_not_pruned(tmp_path):
    """With one seed the decision after the last epoch would save nothing, and lose its value."""
    rates = [0.5, 0.1, 0.2, 0.45]
    text = f"vary: {{train.learning_rate: {rates}}}\nprune: {{kind: halving, first: 3, factor: 2}}"
    folder = sweeping.begin(tmp_path, text)
    queue = Queue(folder, None)
    for number, rate in enumerate(rates[:3]):
        claim = queue.claim([], 0)
        claim.unreported.update(dict.fromkeys([3, 6], rate))
        state = "pruned" if queue.report(claim) else "complete"
        assert state == ("pruned" if number else "complete")
        queue.tell(claim, state, None if number else rate, {"accuracies": {"0": rate}})
        claim.lock.release()
    sweeping.run_here(folder)
    (last,) = results.collect(folder, None).trials[3:]
    assert (last.state, last.value, last.epochs) == ("complete", pytest.approx(0.456), 6)
    stored = Queue(folder, None).trials()[3]
    assert (stored.state.name, stored.value) == ("COMPLETE", pytest.approx(0.456))


def test_a_promoted_trial_ends_with_the_undisturbed_state(folder):
    with pytest.raises(ConfigError, match=r"received 0, which is complete\. Pruned: \[1, 3, 4\]"):
        promote.promote(folder.path, 0, None, [], sweeping.train)
    lock = folder.try_lock(4)
    with pytest.raises(RunError, match=r"trial 4 .* is being trained"):
        promote.promote(folder.path, 4, None, [], sweeping.train)
    lock.release()
    with sweeping.forked_trainings():
        found = promote.promote(folder.path, 4, None, [], sweeping.train)
    assert (found.state, found.value) == ("promoted", pytest.approx(0.5575))
    shown = results.read_sweep(folder.path)
    assert shown.counts == {"complete": 2, "pruned": 2, "promoted": 1}
    assert (shown.best, shown.best_value) == (2, pytest.approx(0.6075))
    assert shown.fresh_seeds == [4, 5, 6]
    assert [one.rpartition("/")[2] for one in shown.plots] == [
        "history.png",
        "slices.png",
        "epochs.png",
    ]
    first = folder.runs()[folder.run_name(4, 3)]
    config = sweeping.cfg.load(first.config_file)
    assert sweeping.final_state(config) in (first.path / "state.json").read_text()
    assert Queue(folder, None).trials()[4].state.name == "PRUNED"  # what the sampler knows stays
