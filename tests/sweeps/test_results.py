"""What a sweep shows: its trials, what matters, and that the best value is chosen."""

import json

import optuna.visualization.matplotlib as charts
import pytest
from helpers import sweeping
from matplotlib import pyplot
from optuna import create_study
from optuna.distributions import IntDistribution
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import TrialState, create_trial

from cifarnet import runs
from cifarnet.errors import RunError
from cifarnet.reporting import canvas
from cifarnet.runs import RunRecord
from cifarnet.runs.documents import CostRecord
from cifarnet.sweeps import plots, read_sweep, results, space
from cifarnet.sweeps.queue import Queue

TEXT = """\
trials: {}
sampler: random
vary:
  train.learning_rate: {{log: [0.01, 1]}}
  train.momentum: {{float: [0, 0.9]}}
"""


def told(folder):
    """Tell values that depend on the learning rate alone."""
    queue = Queue(folder, None)
    for number in range(folder.record.trials):
        claim = queue.claim(range(number), 0)
        value = 1 - abs(claim.values["train.learning_rate"] - 0.1)
        queue.tell(claim, "complete", value, {"accuracies": {"0": value}})
        claim.lock.release()
    return queue


def test_importance_from_twenty_complete_trials_on(tmp_path):
    few = sweeping.begin(tmp_path, TEXT.format(19))
    told(few)
    assert read_sweep(few.path).importance is None
    many = sweeping.begin(tmp_path, TEXT.format(20) + "name: many\n")
    queue = told(many)
    found = read_sweep(many.path)
    assert found.importance.method.startswith("fANOVA (Hutter")
    assert found.importance.trials == 20
    # By Optuna on a study of its own, with the same trials.
    study = create_study(direction="maximize")
    for one in queue.trials():
        study.add_trial(one)
    expected = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0))
    assert found.importance.shares == pytest.approx(dict(expected))
    assert found.importance.shares["train.learning_rate"] > 0.8
    assert sorted(path.name for path in (many.path / "plots").iterdir()) == [
        "history.png",
        "importance.png",
        "slices.png",
    ]
    assert found.path == many.path / "results.json"


def test_a_plot_has_plain_numbers_and_whole_names():
    study = create_study(direction="maximize")
    stated = {
        "train.learning_rate": {"log": [0.02215, 0.02246]},
        "model.layers.2.Conv2D.filters": {"int": [32, 128], "step": 32},
        "train.schedule": [{"kind": "constant"}, {"kind": "cosine"}],
    }
    varied = space.parse(stated, {})
    for filters, kind in ((32, "constant"), (64, "cosine"), (96, "cosine")):
        values = [0.0222 + 1e-6 * filters, filters, json.dumps({"kind": kind})]
        kinds = {key: one.distribution() for key, one in varied.items()}
        params = dict(zip(varied, values, strict=True))
        study.add_trial(create_trial(params=params, distributions=kinds, value=filters / 200))
    with canvas.drawing():
        figure = charts.plot_slice(study)[0].figure
        plots.make_legible(figure, varied)
        figure.canvas.draw()
        shown = {
            axes.get_xlabel(): [text.get_text() for text in axes.get_xticklabels()]
            for axes in figure.axes
        }
        values = {text.get_text() for text in figure.axes[0].get_yticklabels()}
        colors = [text.get_text() for text in figure.axes[-1].get_yticklabels()]
        pyplot.close(figure)
    assert shown["model.layers.2.Conv2D.\nfilters"] == ["32", "64", "128"]
    assert shown["train.learning_rate"] == ["0.02215", "0.0223", "0.02246"]
    assert shown["train.schedule"] == ['{"kind": "constant"}', '{"kind": "cosine"}']
    assert "20.0 %" in values
    assert set(colors) == {"0", "1", "2"}


def test_many_values_of_a_list_count_as_numbers_in_their_order(tmp_path):
    """For 40 unordered values Optuna's fANOVA did not end within four minutes."""
    rates = [round(0.02 * n, 2) for n in range(1, 41)]
    text = f"vary: {{train.learning_rate: {rates}, train.nesterov: [true], train.ema: [null]}}\n"
    folder = sweeping.begin(tmp_path, text.replace("[null]", "[null, 0.9]"))
    trials = told(folder).trials()
    found = read_sweep(folder.path).importance
    study = create_study(direction="maximize")
    for one in trials:
        numbers = {
            "train.learning_rate": rates.index(one.params["train.learning_rate"]),
            "train.ema": int(one.params["train.ema"] is not None),
        }
        kinds = {
            "train.learning_rate": IntDistribution(0, 39),
            "train.ema": IntDistribution(0, 1),
        }
        study.add_trial(create_trial(params=numbers, distributions=kinds, value=one.value))
    expected = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0))
    assert found.shares == pytest.approx(dict(expected))
    assert found.shares["train.learning_rate"] > 0.9


def test_the_best_is_the_highest_value(tmp_path):
    folder = sweeping.begin(tmp_path, TEXT.format(5))
    trials = told(folder).trials()
    assert all(one.state == TrialState.COMPLETE for one in trials)
    found = results.collect(folder, None)
    best = max(trials, key=lambda one: one.value)
    assert (found.best, found.best_value) == (best.number, pytest.approx(best.value))
    assert found.scalars() == {"best_value": found.best_value}
    assert found.fresh_command == ""  # the runs are not here
    assert "the highest of 5" in found.notes[0] and "optimistic" in found.notes[0]


def test_the_cost_is_the_sum_of_the_runs(tmp_path):
    folder = sweeping.begin(tmp_path, TEXT.format(2))
    for number, macs in enumerate([3_000, 4_000]):
        name = folder.run_name(number, 0)
        spent = CostRecord(wall_seconds=1.5, processor_seconds=2.0, macs_trained=macs)
        runs.create(name, folder.path, {}, RunRecord(name=name, status="running", cost=spent))
    found = results.collect(folder, None).cost
    assert (found.wall_seconds, found.processor_seconds) == (3.0, 4.0)
    assert found.macs_trained == 7_000


def test_a_folder_that_is_no_sweep_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("CIFARNET_RUNS", str(tmp_path / "runs"))
    with pytest.raises(RunError, match=r"the folder or the name of a sweep; .* There is no sweep"):
        read_sweep(tmp_path)
    sweeping.begin(tmp_path, TEXT.format(2) + "name: mine\n")
    assert read_sweep("mine").trials_total == 2
    with pytest.raises(RunError, match=r"received other. Sweeps in \S+runs/sweeps: mine\."):
        read_sweep("other")
