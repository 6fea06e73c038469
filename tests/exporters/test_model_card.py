"""Model cards: the Hub's parser reads them, plain Keras runs their code, all text stays text."""

import ast
import json
import re
import shlex
import shutil
import subprocess
import sys

import numpy as np
import pytest
import yaml
from helpers.commands import cifarnet as command
from helpers.folders import fill
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from PIL import Image
from statsmodels.stats.proportion import proportion_confint

import cifarnet
from cifarnet import config, runs
from cifarnet.errors import ArtifactError, ConfigError
from cifarnet.formatting import printable
from cifarnet.reporting import markdown
from cifarnet.runs import Audit, Benchmark, documents
from cifarnet.runs.benchmarks import BenchmarkedArtifact, Speed
from cifarnet.runs.explanations import Explanation, Gain, MethodChecks
from cifarnet.runs.records import MachineRecord
from cifarnet.runs.results import EvaluationSource

GITHUB = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "a|b\\|c",
    "`x` **b** _c_ ~~d~~",
    "[l](javascript:1) ![i](x)",
    "```",
    "--- #1 &lt; $x$",
    "'\"; http:www.x.org",
]


def load(card):
    """Read a card as the Hub does."""
    from huggingface_hub import ModelCard  # takes two seconds

    return ModelCard.load(card.files[0])


def text_of(card) -> str:
    assert card.files[0].name == "README.md"
    return card.files[0].read_text(encoding="utf-8")


def body(card) -> str:
    return text_of(card).split("\n---\n", 1)[1]


def metadata(card) -> dict:
    return yaml.safe_load(text_of(card).split("---\n")[1])


def block(text: str, language: str) -> str:
    return re.search(rf"^(`{{3,}}){language}\n(.*?)\n\1$", text, re.M | re.S)[2]


def copied(run, folder) -> runs.Run:
    path = folder / run.path.name
    shutil.copytree(run.path, path, ignore=shutil.ignore_patterns("exports"))
    other = runs.Run(path)
    with runs.changing(other, other.exports_folder):  # other tests export the same run
        return other


@pytest.fixture
def copy(run, tmp_path) -> runs.Run:
    """Return a copy of the run, which was not evaluated."""
    return copied(run, tmp_path)


@pytest.fixture
def evaluated(judged, tmp_path) -> runs.Run:
    """Return a copy of the run with its evaluations."""
    return copied(judged, tmp_path)


def edit(run, path, change) -> None:
    """Change a record of a run, with its checksum."""
    document = json.loads(path.read_text())
    change(document)
    with runs.changing(run, path):
        path.write_text(json.dumps(document))


@pytest.fixture(scope="module")
def judged(run, tmp_path_factory) -> runs.Run:
    """Return a copy of the run that was evaluated, attacked and corrupted."""
    one = copied(run, tmp_path_factory.mktemp("judged"))
    cifarnet.evaluate(one, callbacks=[])
    cifarnet.evaluate_robustness(one, budget=1, callbacks=[])
    mirror = one.evaluation_folder / "test-mirror.json"
    shutil.copy(one.evaluation_folder / "test.json", mirror)
    edit(one, mirror, lambda record: record.update(accuracy=0.875, expected_calibration_error=0.25))
    edit(one, mirror, lambda record: record["about"].update(tta="mirror"))
    return one


@pytest.fixture(scope="module")
def card(judged):
    return cifarnet.write_model_card(judged, license="apache-2.0")


# --- what the Hub reads ---------------------------------------------------------------


def test_the_parser_of_the_hub_reads_the_records_numbers(card, judged):
    data = load(card).data
    assert (data.license, data.library_name) == ("apache-2.0", "keras")
    assert (data.pipeline_tag, data.metrics, data.datasets) == (
        "image-classification",
        ["accuracy"],
        None,
    )
    folder = judged.evaluation_folder
    plain, mirror = (
        json.loads((folder / f"{x}.json").read_text()) for x in ("test", "test-mirror")
    )
    found = [(one.metric_type, one.metric_value) for one in data.eval_results]
    assert found == [
        (kind, document[kind])
        for document in (plain, mirror)
        for kind in ("accuracy", "expected_calibration_error")
    ]
    for one in data.eval_results:
        assert (one.task_type, one.dataset_type) == ("image-classification", "synthetic")
        assert one.dataset_name == "synthetic shapes and textures (not CIFAR-10)"
        assert one.dataset_split == "test"
    low, high = plain["accuracy_interval"]
    expected = f"Accuracy (95 % interval {low:.4f} to {high:.4f}, {plain['count']:,} images)"
    assert data.eval_results[0].metric_name == expected
    assert data.eval_results[2].metric_name.endswith("test-time augmentation mirror)")


def test_cifar10_has_its_name_on_the_hub(evaluated):
    edit(evaluated, evaluated.record_file, lambda record: record["data"].update(source="CIFAR-10"))
    with runs.changing(evaluated, evaluated.config_file):
        settings = evaluated.config_file.read_text().replace("source: synthetic", "source: cifar10")
        evaluated.config_file.write_text(settings)
    card = cifarnet.write_model_card(evaluated)
    data = load(card).data
    assert data.datasets == ["uoft-cs/cifar10"]
    assert {(x.dataset_type, x.dataset_name) for x in data.eval_results} == {
        ("uoft-cs/cifar10", "CIFAR-10")
    }
    assert "54 of the 10,000 test labels were not confirmed by people" in text_of(card)


def test_without_a_license_the_key_is_left_out_and_said(copy):
    card = cifarnet.write_model_card(copy)
    assert load(card).data.license is None
    assert "license" not in metadata(card)
    assert "No license is stated for these weights." in body(card)


@pytest.mark.parametrize("license", ["", "Apache 2.0", "MIT", "mit\nx: y", "-x"])
def test_a_license_that_is_no_identifier_is_refused(license, copy):
    with pytest.raises(ConfigError, match=r"such as apache-2\.0, mit .* received"):
        cifarnet.write_model_card(copy, license)
    assert not copy.exports_folder.exists()


def test_without_an_evaluation_there_is_no_figure_of_test_images(copy):
    card = cifarnet.write_model_card(copy)
    data = load(card).data
    assert data.eval_results is None and data.metrics is None
    record = copy.read_record()
    count = record.data.counts["validation"]
    low, high = proportion_confint(
        round(record.validation_accuracy * count), count, method="wilson"
    )
    stated = f"Validation accuracy {100 * record.validation_accuracy:.2f} % "
    stated += f"(95 % interval {100 * low:.2f} to {100 * high:.2f} %) on {count} images"
    assert "**Not evaluated on test images.**" in body(card) and stated in body(card)
    for heading in ("Calibration", "Robustness", "Explanations", "Other formats and speed"):
        assert f"## {heading}" not in body(card)


def test_records_of_older_weights_are_left_out_and_named(evaluated):
    for name in ("test", "test-mirror"):
        path = evaluated.evaluation_folder / f"{name}.json"
        edit(evaluated, path, lambda x: x["about"].update(weights_sha256="0" * 64))
    card = cifarnet.write_model_card(evaluated)
    assert [note.split(" is of older weights")[0] for note in card.notes] == [
        "evaluation/test.json",
        "evaluation/test-mirror.json",
    ]
    assert "model-index" not in metadata(card)
    assert "**Not evaluated on test images.**" in body(card)


def test_figures_of_changed_images_are_not_in_the_metadata(evaluated):
    path = evaluated.evaluation_folder / "test.json"
    edit(evaluated, path, lambda x: x["about"].update(changed_data="3 test images are missing"))
    card = cifarnet.write_model_card(evaluated)
    assert [one.metric_value for one in load(card).data.eval_results] == [0.875, 0.25]
    assert "not all those of the training's split: 3 test images are missing." in body(card)


# --- what people read -----------------------------------------------------------------


def test_the_code_gives_the_predictors_probabilities_in_plain_keras(card, judged, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (13, 7, 3), np.uint8)
    Image.fromarray(pixels).resize((97, 61)).save(tmp_path / "photo.png")
    shutil.copy(card.folder / "model.keras", tmp_path)
    code = block(body(card), "python")
    code += "\nimport sys\nassert 'cifarnet' not in sys.modules\n"
    code += "print([float(x) for x in probabilities])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    best, probabilities = done.stdout.strip().splitlines()[-2:]
    shown = cifarnet.predict(judged, [tmp_path / "photo.png"], top=10).images[0]
    expected = dict(shown.classes)
    found = dict(zip(judged.read_record().data.classes, json.loads(probabilities), strict=True))
    assert found == pytest.approx(expected, abs=1e-6)
    assert best.split()[0] == shown.classes[0][0]


def test_every_figure_of_the_body_has_its_interval(card, judged):
    folder, text = judged.evaluation_folder, body(card)
    test = json.loads((folder / "test.json").read_text())

    def share(value):
        return f"{100 * value:.2f} %"

    def both(ends):
        return f"{100 * ends[0]:.2f} to {100 * ends[1]:.2f} %"

    accuracy = f"**Test accuracy {share(test['accuracy'])}** (95 % interval "
    assert accuracy + both(test["accuracy_interval"]) in text
    error = f"calibration error is {share(test['expected_calibration_error'])} (95 % interval "
    assert error + both(test["expected_calibration_error_interval"]) in text
    row = test["per_class"][3]
    right = round(row["recall"] * row["support"])
    ends = proportion_confint(right, row["support"], method="wilson")
    cells = [row["class"], f"{row['support']}", share(row["recall"]), both(ends)]
    assert f"| {' | '.join(cells)} |" in text
    robustness = json.loads((folder / "robustness.json").read_text())
    corrupted = robustness["corruptions"]
    stated = (
        f"{share(corrupted['accuracy'])} (95 % interval {both(corrupted['accuracy_interval'])})"
    )
    assert f"**Corrupted images**: {stated}" in text
    attacked = robustness["attacks"]["scores"][0]
    assert (
        f"| {attacked['epsilon']:g} | {share(attacked['accuracy'])} | "
        f"{both(attacked['accuracy_interval'])} |"
    ) in text
    worst = min(corrupted["scores"], key=lambda one: sum(one["accuracy"]))
    assert f"The worst: {worst['corruption'].replace('_', ' ')} " in text


def test_a_shipped_config_is_repeated_by_a_command_with_its_differences(copy):
    wanted = ["seed=3", "data.augment=[]", "train.schedule={kind: cosine}", "train.ema=0.99"]
    settings = config.load("smoke", wanted)
    with runs.changing(copy, copy.config_file):
        copy.config_file.write_text(config.dump(settings))
    words = shlex.split(block(body(cifarnet.write_model_card(copy)), "sh"))
    assert words[:4] == ["cifarnet", "train", "--config", "smoke"]
    assert words[4::2] == ["-o"] * len(words[5::2])
    assert config.load("smoke", words[5::2]) == settings


def test_the_tracker_of_the_author_is_not_in_the_card(copy):
    settings = config.load("smoke", ["train.mlflow=sqlite:////home/ada/mlflow.db"])
    with runs.changing(copy, copy.config_file):
        copy.config_file.write_text(config.dump(settings))
    card = cifarnet.write_model_card(copy)
    assert block(body(card), "sh") == "cifarnet train --config smoke"
    assert "/home/ada" not in text_of(card) + card.files[2].read_text()


def test_another_config_is_in_the_card(card, judged, tmp_path):
    (tmp_path / "config.yaml").write_text(block(body(card), "yaml"))
    assert config.load(tmp_path / "config.yaml") == config.load(judged.config_file)


def test_explanations_benchmark_and_audit_are_stated_as_recorded(evaluated):
    about = EvaluationSource(weights_sha256=runs.weights_digest(evaluated))
    gain = Gain(
        over="random maps",
        deletion=0.25,
        deletion_interval=[0.125, 0.375],
        insertion=-0.5,
        insertion_interval=[-0.75, -0.25],
    )
    checks = MethodChecks(
        images=7, deletion=0.1, insertion=0.9, gains=[gain], randomized=None, randomized_images=0
    )
    explained = Explanation(
        method="occlusion",
        images=[],
        unreadable=[],
        checks=checks,
        verdict="worse | than chance",
        classes=[],
        about=about,
    )
    speed = Speed(
        batch_size=64,
        calls=9,
        median_milliseconds=1.5,
        p90_milliseconds=2.25,
        images_per_second=42666.7,
    )
    artifact = BenchmarkedArtifact(
        name="onnx_int8",
        path="/secret/model.onnx",
        bytes=1,
        accuracy=None,
        agreement=1.0,
        runtime="ONNX Runtime",
        assumed=[],
        threads=2,
        peak_memory_bytes=3_000_000,
        speed=[speed],
    )
    benchmark = Benchmark(
        machine=MachineRecord(processor="Z80", cores=1),
        versions={},
        images=1,
        split="validation",
        data="",
        artifacts=[artifact],
    )
    audit = Audit(
        data="/secret",
        classes=[],
        splits=[],
        leaks=3,
        exact_duplicates=1,
        near_duplicates=2,
        conflicting_labels=1,
        one_color=4,
        unreadable=None,
        class_ratio=1.5,
        missing_classes=0,
        overlaps=[],
        rule="",
        duplicates=[],
    )
    folder = evaluated.evaluation_folder
    documents.write(folder / "explanations" / "occlusion" / "explain.json", explained)
    documents.write(evaluated.path / "benchmark.json", benchmark)
    documents.write(folder / "audit.json", audit)
    card = cifarnet.write_model_card(evaluated)
    assert card.notes == () and "/secret" not in text_of(card)
    for line in (
        "| occlusion | random maps | +0.250 | +0.125 to +0.375 | -0.500 | -0.750 to -0.250 | 7 |",
        r"- occlusion: worse \| than chance",
        r"| onnx\_int8 | ONNX Runtime | 2 | 64 | 1.5 | 2.25 | 42,667 | 3 |",
        "Measured on Z80, 1 core.",
        "- 3 validation and test images with a duplicate in a split before;",
        "- 1 exact and 2 near duplicates of an earlier image, 1 of them with another class;",
        "- 4 images of one color;",
        "- 1.50 times as many training images in the largest class as in the smallest.",
    ):
        assert f"\n{line}\n" in body(card), line


# --- what stays text ------------------------------------------------------------------


def test_hostile_class_names_stay_text_and_no_path_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("CIFARNET_HOME", str(tmp_path / "home"))
    fill(tmp_path / "<b>photos", dict.fromkeys(HOSTILE, 12))
    settings = config.parse(
        {
            "data": {
                "source": "directory",
                "path": str(tmp_path / "<b>photos"),
                "image_size": 8,
                "validation_fraction": 0.25,
            },
            "model": {"layers": ["Flatten", {"Dense": {"units": len(HOSTILE)}}]},
            "train": {"epochs": 1, "batch_size": 8, "learning_rate": 0.01, "precision": "float32"},
        }
    )
    run = cifarnet.train(settings, tmp_path / "runs", callbacks=[])
    cifarnet.evaluate(run, callbacks=[])
    card = cifarnet.write_model_card(run)
    for published in (card.files[0], card.files[2]):
        assert str(tmp_path) not in published.read_text(encoding="utf-8")
    assert "path: FOLDER" in block(body(card), "yaml")
    names = run.read_record().data.classes
    assert sorted(names) == sorted(HOSTILE)
    assign = ast.parse(block(body(card), "python")).body[3]
    assert ast.literal_eval(assign.value) == names
    tokens = GITHUB.parse(body(card))
    inside = [token for token in tokens if token.type == "inline"]
    allowed = {"text", "code_inline", "strong_open", "strong_close", "softbreak"}
    children = [child for token in inside for child in token.children]
    assert {child.type for child in children} <= allowed | {"link_open", "link_close"}
    links = [child.attrs["href"] for child in children if child.type == "link_open"]
    assert links == ["report.html"]
    assert "html_block" not in {token.type for token in tokens}
    cells = ["".join(child.content for child in token.children) for token in inside]
    tested = json.loads((run.evaluation_folder / "test.json").read_text())["per_class"]
    assert {one["class"] for one in tested if one["support"]} <= set(cells)
    result = load(card).data.eval_results[0]
    assert (result.dataset_type, result.dataset_name) == (
        "imagefolder",
        f"<b>photos, {len(HOSTILE)} classes of images",
    )


def test_a_hostile_name_stays_text_in_the_metadata(evaluated):
    edit(evaluated, evaluated.record_file, lambda record: record.update(name="a: [b\n---\n# x"))
    card = cifarnet.write_model_card(evaluated)
    assert load(card).data.model_name == r"a: [b\x0a---\x0a# x"


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_is_the_content_of_a_cell(text):
    """But for blanks at its ends, which Markdown drops."""
    tokens = GITHUB.parse(f"| a |\n|---|\n| {markdown.escape(text)} |\n")
    (cell,) = [token for token in tokens if token.type == "inline"][1:]
    assert {child.type for child in cell.children} <= {"text"}
    assert "".join(x.content for x in cell.children) == printable(text).strip()


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("http://x.org", r"http\://x.org"),
        ("WWW.x.org", r"WWW\.x.org"),
        ("me@x.org", r"me\@x.org"),
        ("CIFAR-10, 2.5 % (a: b)", "CIFAR-10, 2.5 % (a: b)"),
    ],
)
def test_nothing_becomes_a_link(text, escaped):
    assert markdown.escape(text) == escaped


def test_a_fence_is_longer_than_those_inside():
    code = "a\n````\nb"
    tokens = GITHUB.parse(f"{markdown.fenced(code, 'python')}\n\n<x>")
    assert [(token.type, token.content.strip()) for token in tokens if token.content] == [
        ("fence", code),
        ("html_block", "<x>"),
    ]


# --- the folder -----------------------------------------------------------------------


def test_the_folder_has_the_network_and_the_page_of_the_run(copy):
    copy.update_record(command="cifarnet train --config /home/ada/secret.yaml")
    assert "/home/ada" in cifarnet.report(copy).read_text()
    card = cifarnet.write_model_card(copy)
    assert sorted(card.folder.iterdir()) == sorted(card.files)
    assert [path.name for path in card.files] == ["README.md", "model.keras", "report.html"]
    assert card.files[1].read_bytes() == copy.model_file.read_bytes()
    page = card.files[2].read_text()
    assert "/home/ada" not in page and "How to repeat this run" in page
    assert "[report.html](report.html)" in body(card)
    assert [one for one in runs.verify(copy) if one.right is False] == []
    recorded = copy.read_record().files
    assert {f"exports/hub/{path.name}" for path in card.files} <= set(recorded)
    assert runs.exports(copy) == []


def test_a_damaged_record_is_noted_and_not_in_the_card(evaluated):
    (evaluated.evaluation_folder / "robustness.json").write_text("{")
    card = cifarnet.write_model_card(evaluated)
    (note,) = card.notes
    assert "robustness.json" in note
    assert "## Robustness" not in body(card) and "## Calibration" in body(card)


def test_a_card_that_cannot_be_written_leaves_the_old_one(copy):
    card = cifarnet.write_model_card(copy, license="mit")
    before = {path: path.read_bytes() for path in card.folder.iterdir()}
    copy.config_file.write_text("name: [")
    with pytest.raises(ConfigError, match=r"config\.yaml"):
        cifarnet.write_model_card(copy)
    assert {path: path.read_bytes() for path in card.folder.iterdir()} == before
    assert [path.name for path in copy.exports_folder.iterdir()] == ["hub"]
    with copy.model_file.open("ab") as file:
        file.write(b"x")
    with pytest.raises(ArtifactError, match=r"model\.keras is damaged"):
        cifarnet.write_model_card(copy)
    assert {path: path.read_bytes() for path in card.folder.iterdir()} == before


def test_the_command_writes_a_card_alone(copy, tmp_path):
    name = copy.path.name
    done = command("export", name, "--runs", ".", "--card", "--json", cwd=tmp_path)
    (card,) = json.loads(done.stdout)
    assert (card["name"], card["license"]) == ("hub", None)
    assert [path.name for path in copy.exports_folder.iterdir()] == ["hub"]
    assert f"in {name}/exports/hub: README.md, model.keras, report.html\n" in done.stderr
    assert "license: none stated; --license ID states one" in done.stderr
    assert f"Next: hf upload USER/NAME {name}/exports/hub\n" in done.stderr


def test_the_command_refuses_a_license_before_it_works(copy, tmp_path):
    name = copy.path.name
    command("export", name, "--runs", ".", "--license", "mit", cwd=tmp_path, code=2)
    options = ("--card", "--format", "keras", "--license", "MIT")
    done = command("export", name, "--runs", ".", *options, cwd=tmp_path, code=1)
    assert "received 'MIT'" in done.stderr
    assert not copy.exports_folder.exists()


@pytest.mark.slow
def test_a_card_lists_the_files_that_the_same_command_wrote(copy, tmp_path):
    options = ("--format", "keras", "--card", "--license", "mit", "--json")
    done = command("export", copy.path.name, "--runs", ".", *options, cwd=tmp_path)
    exported, card = json.loads(done.stdout)
    assert (exported["name"], card["name"], card["license"]) == ("keras", "hub", "mit")
    text = (copy.exports_folder / "hub" / "README.md").read_text()
    assert re.search(r"^\| keras \| Keras [\d.]+ \|", text, re.M)
