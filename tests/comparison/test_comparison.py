"""Comparisons of stored predictions: numbers, verdicts, and what is refused."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import cifarnet
from PIL import Image
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from cifarnet import config, requirements, runs
from cifarnet.comparison import compare, unused_seed
from cifarnet.errors import ArtifactError, ConfigError, GateError, RunError
from cifarnet.runs import documents
from cifarnet.runs.comparisons import Comparison

FIXTURES = Path(__file__).parents[1] / "fixtures"
LABELS = np.arange(600) % 3

digest = config.recipe_digest


def guess(seed: int, share: float) -> np.ndarray:
    """Predictions that are right on each image with this probability."""
    rng = np.random.default_rng(seed)
    return np.where(rng.random(len(LABELS)) < share, LABELS, (LABELS + 1) % 3)


def right(predicted: np.ndarray) -> np.ndarray:
    return predicted == LABELS


# --- numbers --------------------------------------------------------------------------


def test_four_seeds_of_a_real_config_do_not_differ_as_configs_though_half_the_pairs_do(store):
    """The article's network after 4 epochs, seeds 0 to 3, on the test images of CIFAR-10."""
    with np.load(FIXTURES / "article-4-epochs.npz") as file:
        predicted, labels = file["predicted"], file["labels"]
    classes = [f"class {i}" for i in range(10)]
    stored = [store(predicted[i], labels, f"seed={i}", classes=classes) for i in range(4)]
    found = compare(*stored)
    (group,) = found.groups
    assert found.differences == [] and group.pairs_different == 3
    assert "are seeds of one config, so they do not differ as configs" in group.verdict
    assert "as weights 3 of their 6 pairs differ" in group.verdict
    accuracies = (predicted == labels).mean(axis=1)
    assert [run.accuracy for run in group.runs] == list(accuracies)
    interval = stats.t.interval(0.95, 3, accuracies.mean(), stats.sem(accuracies))
    assert group.accuracy_interval == pytest.approx(interval)
    assert group.std == pytest.approx(stats.tstd(accuracies))
    assert group.std_ratio == pytest.approx(2.43, abs=0.005)
    half = compare(*stored[:2], versus=stored[2:])
    assert "as weights the two differ" in half.groups[0].verdict
    assert "as weights the two are not shown to differ" in half.groups[1].verdict
    assert half.differences[0].judges == "configs" and half.differences[0].differs is False
    assert "are not shown to differ as configs" in half.differences[0].verdict
    assert half.notes == ["both sides have the same config"]


def test_single_runs_are_judged_as_weights(store):
    first, second = guess(1, 0.80), guess(2, 0.72)
    found = compare(store(first, LABELS), store(second, LABELS, "train.epochs=4"))
    (both,) = found.differences
    only = [(right(first) & ~right(second)).sum(), (right(second) & ~right(first)).sum()]
    table = [[0, only[0]], [only[1], 0]]
    exact = mcnemar(table, exact=True).pvalue - stats.binom.pmf(min(only), sum(only), 0.5)
    assert (both.judges, both.differs) == ("weights", True)
    assert both.p == both.adjusted_p == pytest.approx(exact)
    assert both.difference == pytest.approx(right(first).mean() - right(second).mean())
    assert both.interval[0] < both.difference < both.interval[1]
    error = 1 - (right(first).mean() + right(second).mean()) / 2
    assert both.seed_std_from == "estimated"
    assert both.seed_std == pytest.approx(np.sqrt(error / 1200))
    assert (
        "This judges the accuracy alone, of two weight files, not two configs: two seeds"
        in both.verdict
    )
    assert found.groups[1].changes == ["train.epochs: 10.0 -> 4.0"]
    names = [group.name for group in found.groups]
    assert names == ["article (train.epochs=10.0)", "article (train.epochs=4.0)"]
    (group, _) = found.groups
    unknown = (group.accuracy_interval, group.std, group.std_interval, group.flip_std)
    assert unknown == (None,) * 4
    assert (group.std_ratio, group.seeds_needed, group.pairs_different) == (None,) * 3


def test_several_seeds_are_judged_as_configs(store):
    new = [guess(seed, 0.80) for seed in range(3)]
    old = [guess(10 + seed, 0.65) for seed in range(4)]
    stored = [store(one, LABELS, f"seed={i}") for i, one in enumerate(new)]
    stored += [store(one, LABELS, f"seed={i}", "train.epochs=4") for i, one in enumerate(old)]
    found = compare(*stored)
    (both,) = found.differences
    assert [len(group.runs) for group in found.groups] == [3, 4]
    assert (both.judges, both.differs) == ("configs", True)
    a, b = ([right(one).mean() for one in side] for side in (new, old))
    welch = stats.ttest_ind(a, b, equal_var=False)
    assert both.p == both.welch.p == pytest.approx(welch.pvalue)
    assert both.welch.interval == pytest.approx(list(welch.confidence_interval()))
    ends = np.array([both.welch.interval, both.bootstrap_interval])
    assert both.interval == [ends[:, 0].min(), ends[:, 1].max()]
    assert both.seed_std is None and "weight files" not in both.verdict
    shares = {one.name: one.difference for one in both.classes}
    cows = LABELS == 2
    expected = np.mean([right(x)[cows].mean() for x in new])
    expected -= np.mean([right(x)[cows].mean() for x in old])
    assert shares["cow"] == pytest.approx(expected)


def test_one_seed_against_several_judges_nothing(store):
    stored = [store(guess(i, 0.7), LABELS, f"seed={i}") for i in range(3)]
    found = compare(store(guess(9, 0.8), LABELS, "train.epochs=4"), *stored)
    (both,) = found.differences
    assert (both.judges, both.interval, both.p, both.differs) == ("nothing", None, None, None)
    assert both.seed_std_from == "measured"
    assert both.seed_std == pytest.approx(found.groups[1].std)
    assert "cannot be judged as configs: one of them has one seed" in both.verdict
    assert both.verdict.endswith("Train more seeds of article (train.epochs=4.0)")


def test_seeds_of_equal_accuracy_show_no_spread_and_decide_nothing(store):
    """A bootstrap of two seeds without spread is far from 0, and is no test of configs."""

    def exact(right_ones: int, first: int) -> np.ndarray:
        rows = (np.arange(len(LABELS)) - first) % len(LABELS) < right_ones
        return np.where(rows, LABELS, (LABELS + 1) % 3)

    stored = [store(exact(480, 10 * i), LABELS, f"seed={i}") for i in range(2)]
    stored += [store(exact(300, 10 * i), LABELS, f"seed={i}", "train.epochs=4") for i in range(2)]
    (both,) = compare(*stored).differences
    assert both.difference == pytest.approx(0.3) and both.bootstrap_interval[0] > 0.2
    unknown = (both.interval, both.p, both.adjusted_p, both.welch, both.differs)
    assert unknown == (None,) * 5 and both.judges == "configs"
    assert "the seeds of each have exactly one accuracy" in both.verdict


def test_more_than_two_groups_are_adjusted_by_holm(store):
    shares = {4: 0.80, 5: 0.75, 6: 0.72}
    stored = [store(guess(n, p), LABELS, f"train.epochs={n}") for n, p in shares.items()]
    found = compare(*stored)
    assert len(found.differences) == 3
    p_values = [one.p for one in found.differences]
    expected = multipletests(p_values, method="holm")[1]
    assert [one.adjusted_p for one in found.differences] == pytest.approx(list(expected))
    assert all("adjusted for 3 comparisons" in one.verdict for one in found.differences)
    with pytest.raises(ConfigError, match="needs one group or two, received 3: article"):
        found.scalars()


def test_groups_follow_what_determines_the_weights():
    base = config.load("article")
    for same in (
        "seed=3",
        "name=other",
        "evaluate.tta=mirror",
        "export.formats=[onnx]",
        "train.tensorboard=true",
        "train.mlflow=mlruns",
        "train.checkpoint.every_steps=9",
        "data.path=elsewhere",
    ):
        assert digest(config.load("article", [same])) == digest(base), same
    for other in ("train.epochs=4", "train.precision=float32", "data.limit=900"):
        assert digest(config.load("article", [other])) != digest(base), other
    folders = (
        ["data.source=directory", "data.path=here"],
        ["data.source=directory", "data.path=there"],
    )
    here, there = (digest(config.load("article", one)) for one in folders)
    assert here != there


def test_runs_with_one_seed_and_other_predictions_are_noted(store):
    found = compare(*[store(guess(i, 0.7), LABELS, "seed=5") for i in range(2)])
    assert len(found.groups) == 1
    assert "several runs with seed 5: they differ in machine" in found.notes[0]


def test_the_seed_to_train_next_is_not_taken(store):
    stored = [store(guess(i, 0.7), LABELS, f"seed={i}") for i in (0, 1, 3)]
    store(None, None, "seed=2", evaluated=False)
    store(None, None, "seed=4", "train.epochs=4", evaluated=False)
    (group,) = compare(*stored[:2]).groups
    assert unused_seed(group) == 4
    (stored[2].path / "config.yaml").write_text("damaged: [")
    assert unused_seed(group) == 3


# --- what is refused ------------------------------------------------------------------


def test_missing_predictions_name_the_commands(store):
    whole = store(guess(0, 0.7), LABELS)
    missing = [store(None, None, f"seed={i}", evaluated=False) for i in (1, 2)]
    with pytest.raises(RunError, match="has no stored predictions of the test images") as caught:
        compare(whole, *missing)
    for run in missing:
        assert f"\n  cifarnet evaluate {run.path}\n" in f"{caught.value}\n"
    with pytest.raises(RunError, match=r"cifarnet evaluate \S+ --split validation --tta mirror"):
        compare(whole, *missing, split="validation", tta="mirror")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"weights_sha256": "0" * 64}, "is of older weights: the run was trained further"),
        ({"changed_data": "3 test images are missing"}, "own images: 3 test images are missing"),
        ({"digest": "e" * 64}, "on the same test images, received 2 sets of images"),
        ({"classes": ("bee", "ant", "cow")}, "on the same test images, received 2 sets of images"),
        ({"status": "interrupted"}, "is interrupted: expected finished runs"),
    ],
)
def test_predictions_that_are_not_comparable(store, wrong, message):
    whole, other = store(guess(0, 0.7), LABELS), store(guess(1, 0.7), LABELS, "seed=1", **wrong)
    with pytest.raises(RunError, match=message):
        compare(whole, other)
    assert not (runs.root_folder() / "comparisons").exists()


def test_other_validation_images_are_refused_before_an_evaluation_is_asked_for(store):
    stored = [store(None, None, f"seed={i}", evaluated=False) for i in range(2)]
    for run, digest in zip(stored, "ab", strict=True):
        record = run.read_record()
        data = record.data.model_copy(update={"digests": {"validation": digest * 64}})
        documents.write(run.path / "run.json", record.replace(data=data))
    with pytest.raises(RunError, match=r"same validation images, .* use --split test"):
        compare(*stored, split="validation")


@pytest.mark.parametrize("name", ["test.json", "test-predictions.npz"])
def test_damaged_predictions(store, name):
    stored = [store(guess(i, 0.7), LABELS, f"seed={i}") for i in range(2)]
    path = stored[1].evaluation_folder / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=f"{name} is damaged, missing or was replaced"):
        compare(*stored)


def test_a_run_or_its_predictions_twice(store):
    one, other = (store(guess(i, 0.7), LABELS, f"seed={i}") for i in range(2))
    with pytest.raises(ConfigError, match="is given twice"):
        compare(one, other, str(one.path))
    shutil.copytree(one.path, one.path.with_name("copy"))
    with pytest.raises(RunError, match="the same predictions to the bit"):
        compare(one, "copy")


def test_configs_with_different_augmentation_need_a_choice(store):
    plain = store(guess(0, 0.7), LABELS)
    mirrored = store(guess(1, 0.7), LABELS, "evaluate.tta=mirror", tta="mirror")
    with pytest.raises(ConfigError, match=r"one test-time augmentation for all.*--tta none"):
        compare(plain, mirrored)
    with pytest.raises(RunError, match=rf"cifarnet evaluate {mirrored.path} --tta none"):
        compare(plain, mirrored, tta="none")


def test_a_side_of_several_configs(store):
    stored = [store(guess(i, 0.7), LABELS, f"train.epochs={i}") for i in (1, 2, 3)]
    with pytest.raises(ConfigError, match=r"before `vs`, received 2 configs.*train.epochs: 1.0 ->"):
        compare(*stored[:2], versus=stored[2:])


def test_arguments(store):
    run = store(guess(0, 0.7), LABELS)
    for arguments, options, message in (
        ([run], {}, "at least two runs to compare, received 1"),
        ([], {"versus": [run]}, "at least two runs"),
        ([run, run], {"split": "train"}, "split: expected one of test, validation"),
        ([run, run], {"tta": "flip"}, "tta: expected one of None, none, mirror"),
    ):
        with pytest.raises(ConfigError, match=message):
            compare(*arguments, **options)


# --- the command ----------------------------------------------------------------------


@pytest.fixture
def sides(store) -> list[str]:
    new = [store(guess(i, 0.80), LABELS, f"seed={i}", "name=new") for i in range(3)]
    old = [
        store(guess(9 + i, 0.65), LABELS, f"seed={i}", "train.epochs=4", "name=old")
        for i in range(3)
    ]
    return [*(one.path.name for one in new), "vs", *(one.path.name for one in old)]


def test_the_command_writes_a_record_and_a_picture_beside_the_runs(sides, tmp_path):
    shown = cifarnet("compare", *sides, cwd=tmp_path).stdout
    assert "new and old differ as configs (difference +1" in " ".join(shown.split())
    assert "Next: cifarnet train --config" in shown
    assert shown.index("differ as configs") < shown.index("config  train.epochs: 10.0 -> 4.0")
    document = json.loads(cifarnet("compare", *sides, "--json", cwd=tmp_path).stdout)
    first, second = sorted((tmp_path / "runs" / "comparisons").iterdir())
    assert Path(document["file"]).parent in (first, second)
    record = documents.read(Path(document["file"]), Comparison)
    assert record.to_json().items() <= document.items()
    assert record.cost.processor_seconds > 0
    picture = np.asarray(Image.open(document["picture"]).convert("RGB")).astype(int)
    red, _, blue = np.moveaxis(picture, -1, 0)
    assert (blue > red + 60).sum() > 150  # the seeds
    assert (red > blue + 100).sum() > 500  # the means and the difference, which excludes 0
    listed = json.loads(cifarnet("runs", "list", "--json", cwd=tmp_path).stdout)
    assert len(listed) == 6


def test_requirements_are_of_the_whole_interval(sides, tmp_path):
    found = compare(*sides[:3], versus=sides[4:], output=tmp_path)
    low, high = found.differences[0].interval
    for met in ("difference>0", f"difference<{high + 1e-6}", f"difference>={low}", "p<0.05"):
        requirements.check(met, found)
    for missed in (f"difference>{low + 1e-6}", f"difference<{high - 1e-6}", "p<0"):
        with pytest.raises(GateError, match=rf"required {missed[0]}"):
            requirements.check(missed, found)
    with pytest.raises(ConfigError, match="no std: it is of a group that is compared alone"):
        requirements.check("std<1", found)
    alone = compare(*sides[:3], output=tmp_path)
    with pytest.raises(GateError, match=r"required accuracy > 0.78, measured .* 95 % interval"):
        requirements.check("accuracy>0.78", alone)
    requirements.check("accuracy>0.5", alone)
    gate = ("--require", f"difference>{high}", "--json")
    shown = cifarnet("compare", *sides, *gate, cwd=tmp_path, code=3)
    assert "all of which must meet it" in shown.stderr
    assert json.loads(shown.stdout)["result"]["differences"][0]["interval"] == [low, high]


def test_a_required_difference_of_one_group_is_refused_before_anything_is_written(sides, tmp_path):
    gate = ("--require", "difference>0")
    done = cifarnet("compare", *sides[:2], *gate, "--output", "here", cwd=tmp_path, code=1)
    assert "it needs two groups, and all runs have one config" in done.stderr
    assert "Give the two sides" in done.stderr and not (tmp_path / "here").exists()
    shown = cifarnet("compare", *sides[:2], cwd=tmp_path).stdout
    assert f"As two sides: cifarnet compare {sides[0]} vs {sides[1]}" in shown
    first, second = (right(guess(i, 0.80)) for i in range(2))
    assert f"{100 * (first.mean() - second.mean()):+.2f} points, 95 % interval" in shown


def test_usage(sides, tmp_path):
    for words in (["vs", *sides[:1]], [*sides, "vs", sides[0]], sides[:4]):
        assert "on both sides of one vs" in cifarnet("compare", *words, cwd=tmp_path, code=2).stderr
    output = cifarnet("compare", *sides, "--output", "here", cwd=tmp_path).stdout
    assert (tmp_path / "here" / "compare.png").is_file() and "here/compare.json" in output


def test_neither_tensorflow_nor_keras_is_loaded(sides):
    code = (
        "import sys; from cifarnet.cli import main\n"
        f"try: main(['compare', *{sides!r}])\n"
        "except SystemExit as end: assert not end.code\n"
        "print('loaded', {'tensorflow', 'keras', 'sklearn'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded set()"


# --- real trainings -------------------------------------------------------------------


@pytest.mark.slow
def test_seeds_of_a_real_training_do_not_differ_as_configs(tmp_path):
    for seed in range(4):
        options = ["-o", "train.epochs=4", "-o", f"seed={seed}"]
        cifarnet("train", "--config", "article", *options, cwd=tmp_path)
        cifarnet("evaluate", "latest", cwd=tmp_path)
    names = sorted(path.parent.name for path in (tmp_path / "runs").glob("*/run.json"))
    document = json.loads(cifarnet("compare", *names, "--json", cwd=tmp_path).stdout)
    (group,) = document["groups"]
    assert "do not differ as configs" in group["verdict"]
    assert group["pairs_different"] >= 1 and document["differences"] == []
    halves = [*names[:2], "vs", *names[2:]]
    document = json.loads(cifarnet("compare", *halves, "--json", cwd=tmp_path).stdout)
    assert document["differences"][0]["differs"] is False
