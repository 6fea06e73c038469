"""The page of a run, in a real browser, against its records."""

import base64
import io
import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from helpers import folders
from helpers.commands import cifarnet as command
from helpers.commands import execute
from PIL import Image

import cifarnet
from cifarnet import config, data, evaluation, runs, training
from cifarnet.comparison import compare
from cifarnet.errors import RunError
from cifarnet.reporting import page
from cifarnet.runs import Evaluation, RunRecord, documents
from cifarnet.runs.explanations import Explanation
from cifarnet.runs.results import EvaluationSource
from cifarnet.runs.robustness import (
    AttackRecord,
    AttackScore,
    CorruptionRecord,
    CorruptionScore,
    DetectionScore,
    Robustness,
    SeverityScore,
)
from cifarnet.statistics import wilson


@pytest.fixture(scope="session")
def run(seeds) -> runs.Run:
    """A run with every kind of record."""
    found = seeds[0]
    about = EvaluationSource(split="test", weights_sha256=runs.weights_digest(found))
    severities = [
        SeverityScore(severity=i, accuracy=0.5 - i / 50, confidence=0.6, calibration_error=i / 100)
        for i in range(6)
    ]
    record = Robustness(
        about=about,
        budget_seconds=None,
        seconds=1.0,
        corruptions=CorruptionRecord(
            images_from="generated",
            images=100,
            of=2000,
            chosen="all",
            seed=0,
            accuracy=0.4321,
            accuracy_interval=[0.41, 0.45],
            clean=severities[0],
            scores=[CorruptionScore(corruption="fog", accuracy=[0.5, 0.4, 0.3, 0.2, 0.1])],
            severities=severities[1:],
        ),
        attacks=AttackRecord(
            images=50,
            of=2000,
            chosen="all",
            seed=0,
            clean_accuracy=0.5,
            scores=[
                AttackScore(
                    epsilon=1.0,
                    accuracy=0.25,
                    accuracy_interval=[0.2, 0.3],
                    pgd=0.3,
                    apgd_dlr=0.26,
                    only_square=1,
                )
            ],
        ),
        out_of_distribution=[
            DetectionScore(
                against="noise",
                images=10,
                test_images=10,
                auroc=0.875,
                auroc_interval=[0.8, 0.9],
                confidence=0.5,
                test_confidence=0.6,
            )
        ],
    )
    documents.write(found.evaluation_folder / "robustness.json", record)
    compare(*seeds, callbacks=[], output=found.path.parent / "comparisons" / "one")
    page.write(found)
    return found


@pytest.fixture(scope="session")
def stored(run) -> Evaluation:
    return documents.read(run.evaluation_folder / "test.json", Evaluation)


@pytest.fixture(scope="session")
def probabilities(stored) -> np.ndarray:
    return runs.read_arrays(stored.predictions_file)["probabilities"]


@pytest.fixture
def shown(visit, run):
    return visit(run.report_file, viewport={"width": 1200, "height": 900})


# --- numbers --------------------------------------------------------------------------


def test_the_verdict_has_the_record_s_numbers(shown, stored):
    text = shown.inner_text(".verdict")
    low, high = stored.accuracy_interval
    assert f"{100 * stored.accuracy:.2f} % of 2,000 test images" in text
    assert f"95 % interval {100 * low:.2f} to {100 * high:.2f} %" in text
    assert "most frequent class gives 10.00 %" in text
    assert "shipped config" not in text  # those are for CIFAR-10


def test_the_table_of_classes_has_the_record_s_numbers_and_sorts(shown, stored):
    def rows():
        return [row.split("\t") for row in shown.inner_text(".sortable tbody").split("\n")]

    expected = []
    for i, one in enumerate(stored.per_class):
        low, high = wilson(stored.confusion_matrix[i][i], one.support)
        values = (f"{100 * x:.2f}" for x in (one.precision, one.f1))
        ends = f"{100 * low:.2f} to {100 * high:.2f}"
        expected.append([one.name, f"{100 * one.recall:.2f}", ends, *values, f"{one.support:,}"])
    assert rows() == expected
    button = shown.locator(".sortable th button").nth(1)
    button.focus()
    shown.keyboard.press("Enter")
    recalls = sorted(float(row[1]) for row in expected)
    assert [float(row[1]) for row in rows()] == recalls[::-1]
    assert button.locator("..").get_attribute("aria-sort") == "descending"
    shown.keyboard.press("Enter")
    assert [float(row[1]) for row in rows()] == recalls
    shown.locator(".sortable th button").first.click()
    assert [row[0] for row in rows()] == sorted(row[0] for row in expected)


def test_the_matrix_has_the_record_s_counts(shown, stored):
    cells = shown.locator(".matrix tbody tr").evaluate_all(
        "rows => rows.map(row => [...row.querySelectorAll('td')].map(x => Number(x.innerText)))"
    )
    assert cells == stored.confusion_matrix


def test_other_sections_have_their_records_numbers(shown, run, stored):
    text = shown.inner_text("main")
    assert f"calibration error is {100 * stored.expected_calibration_error:.2f} %" in text
    surest = stored.selective.accuracy_at_80_coverage
    assert f"{100 * surest:.2f} % right" in text
    assert "gets 43.21 % right (95 % interval 41.00 to 45.00 %)" in text
    assert "fog\t50.0\t50.0\t40.0\t30.0\t20.0\t10.0" in text
    assert "0.8750\t0.8000 to 0.9000" in text
    export = runs.exports(run)[0].parity
    assert f"{export.max_difference:.1e}\t{100 * export.agreement:.2f}" in text
    explained = documents.read(
        run.evaluation_folder / "explanations" / "occlusion" / "explain.json", Explanation
    )
    gain = explained.checks.gains[0]
    assert f"{gain.deletion:+.3f}" in text and explained.verdict in text
    accuracies = [
        documents.read(run.path.parent / name / "evaluation" / "test.json", Evaluation).accuracy
        for name in (one.path.name for one in runs.all_runs(run.path.parent))
    ]
    assert f"small\t2\t{100 * np.mean(accuracies):.2f} %" in text
    record = run.read_record()
    assert record.data.digests["test"] in text and record.files["model.keras"].sha256 in text


def test_charts_show_values_on_hover_and_by_keys(shown, run):
    rows = run.history_file.read_text().splitlines()
    names = rows[0].split(",")
    last = dict(zip(names, rows[-1].split(","), strict=True))
    chart = shown.locator("figure.chart").nth(1)
    box = chart.locator("svg").bounding_box()
    shown.mouse.move(box["x"] + box["width"] - 5, box["y"] + 50)
    expected = (
        f"epoch 2: training {100 * float(last['accuracy']):.2f} %, "
        f"validation {100 * float(last['validation_accuracy']):.2f} %"
    )
    assert chart.locator(".value").inner_text() == expected
    chart.locator("svg").focus()
    shown.keyboard.press("ArrowLeft")
    assert chart.locator(".value").inner_text().startswith("epoch 1: training")


# --- images ---------------------------------------------------------------------------


def test_a_cell_shows_its_images_and_an_image_its_probabilities(shown, run, stored, probabilities):
    dataset = data.load_recorded(run, config.load(run.config_file))
    labels, predicted = dataset.test.labels, probabilities.argmax(axis=1)
    counts = np.array(stored.confusion_matrix)
    np.fill_diagonal(counts, 0)
    true, said = np.unravel_index(counts.argmax(), counts.shape)
    inside = np.flatnonzero((labels == true) & (predicted == said))
    best = inside[np.argsort(-probabilities[inside, said], kind="stable")][:10]
    shown.click(f'.matrix button[data-true="{true}"][data-predicted="{said}"]')
    assert shown.inner_text("#shown") == (
        f"{len(best)} stored images of {counts.max()} in this cell"
    )
    tiles = shown.locator("#tiles li button")
    names = f"{dataset.classes[true]} as {dataset.classes[said]}"
    assert tiles.all_inner_texts() == [
        f"{names} {100 * probabilities[row, said]:.2f} %" for row in best
    ]
    for place in (0, len(best) - 1):
        seen = np.array(canvas(tiles.nth(place).locator("canvas")), dtype=float)
        # WebP is lossy, yet no other test image is nearer.
        distances = [np.abs(seen - pixels).mean() for pixels in dataset.test.pixels]
        assert np.argmin(distances) == best[place]
    tiles.first.focus()
    shown.keyboard.press("Enter")
    assert shown.inner_text("#image-title").startswith(f"test image {best[0]}: true")
    order = np.argsort(-probabilities[best[0]], kind="stable")
    shown_rows = shown.locator("#image-body tr").all_inner_texts()
    assert [row.split("\t")[0].strip() for row in shown_rows] == [dataset.classes[i] for i in order]
    seen = [float(re.findall(r"([\d.]+) %", row)[0]) for row in shown_rows]
    np.testing.assert_allclose(seen, 100 * probabilities[best[0], order], atol=0.0051)
    shown.keyboard.press("Escape")
    assert not shown.locator("#image").is_visible()


def canvas(locator) -> np.ndarray:
    locator.page.wait_for_function(
        "x => x.getContext('2d').getImageData(0, 0, x.width, x.height).data.some(v => v)",
        arg=locator.element_handle(),
    )
    url = locator.evaluate("x => x.toDataURL('image/png')")
    content = base64.b64decode(url.split(",")[1])
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def test_the_filter_counts_what_the_records_have(shown, stored, probabilities):
    rows = np.array(stored.sprite.rows)
    labels = runs.read_arrays(stored.predictions_file)["labels"][rows]
    predicted, highest = probabilities[rows].argmax(axis=1), probabilities[rows].max(axis=1)
    wrong = labels != predicted

    def count() -> int:
        return int(shown.inner_text("#shown").split()[0])

    assert count() == wrong.sum()
    shown.select_option("#filter [name=kind]", "")
    assert count() == len(rows)
    shown.fill("#filter [name=low]", "60")
    assert count() == (100 * highest.round(4) >= 60).sum()
    shown.select_option("#filter [name=true]", "2")
    assert count() == ((labels == 2) & (100 * highest.round(4) >= 60)).sum()
    shown.click("#filter [type=reset]")
    shown.wait_for_function(
        f"document.getElementById('shown').textContent.startsWith('{wrong.sum()} ')"
    )


def test_an_explained_image_shows_its_maps(shown, run):
    found = documents.read(
        run.evaluation_folder / "explanations" / "occlusion" / "explain.json", Explanation
    )
    arrays = runs.read_arrays(found.path.with_name("explanations.npz"))
    tiles = shown.locator(".explained li button")
    assert tiles.count() == len(found.images) == 5
    heat = canvas(tiles.first.locator("canvas").nth(1)).astype(float)
    values = arrays["predicted"][0] / np.abs(arrays["predicted"][0]).max()
    strength = 1 - heat[..., 1] / 255  # green is what both signs take away
    np.testing.assert_allclose(strength, np.abs(values), atol=0.01)
    assert (heat[..., 0] >= heat[..., 2]).reshape(-1)[values.reshape(-1) > 0.01].all()
    tiles.first.click()
    one = found.images[0]
    assert f"for true class {one.true}, {100 * one.true_probability:.2f} %" in shown.inner_text(
        "#image-body"
    )


# --- how it looks ---------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(visit, run, scheme):
    from axe_playwright_python.sync_playwright import Axe

    opened = visit(run.report_file, color_scheme=scheme, bypass_csp=True)
    opened.locator(".matrix button").first.click()
    for state in ("page", "dialog"):
        if state == "dialog":
            opened.locator("#tiles button").first.click()
        violations = Axe().run(opened).response["violations"]
        serious = [one for one in violations if one["impact"] in ("serious", "critical")]
        assert not serious, json.dumps(serious, indent=1)[:3000]
    dark = (
        opened.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
    )
    assert dark == (scheme == "dark")


def test_it_fits_a_phone_and_prints_without_controls(visit, run):
    narrow = visit(run.report_file, viewport={"width": 360, "height": 800})
    assert narrow.evaluate("document.documentElement.scrollWidth") == 360
    narrow.emulate_media(media="print")
    assert not narrow.locator("#filter").is_visible()
    assert narrow.locator("#tiles canvas").first.is_visible()
    assert narrow.pdf(print_background=False).startswith(b"%PDF")


# --- all kinds of runs ----------------------------------------------------------------


def test_hostile_names_of_classes_and_files_are_text(visit, tmp_path):
    names = ("<script>document.title = 'x'", "\"']]>&amp;", "<img src=x onerror=alert(1)>")
    folder = folders.fill(tmp_path / "<b>photos", dict.fromkeys(names, 12))
    settings = config.parse(
        {
            "name": "hostile",
            "data": {"source": "directory", "path": str(folder), "image_size": 8},
            "model": {"layers": ["Flatten", {"Dense": {"units": 3}}]},
            "train": {"epochs": 1, "batch_size": 4, "learning_rate": 0.01},
        }
    )
    run = training.train(settings, tmp_path / "runs", callbacks=[])
    cifarnet.evaluate(run, callbacks=[])
    image = next((folder / names[2]).iterdir())
    cifarnet.explain(run, [image], callbacks=[])
    opened = visit(run.report_file)
    assert opened.locator(".sortable tbody th").all_inner_texts() == sorted(names)
    assert opened.title().startswith(run.path.name)
    options = opened.locator("#filter [name=true] option").all_text_contents()
    assert options == ["any", *sorted(names)]
    opened.locator(".explained button").first.click()
    assert str(image) in opened.inner_text("#image-title")
    assert opened.locator("main img, main script").count() == 0


@pytest.mark.parametrize("classes", [2, 100])
def test_two_and_a_hundred_classes(visit, tmp_path, classes):
    rng = np.random.default_rng(classes)
    count = 4000
    labels = (np.arange(count) % classes).astype(np.uint8)
    pixels = rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    scores = rng.random((count, classes), dtype=np.float32)
    scores[np.arange(count), labels] += rng.random(count, dtype=np.float32)
    scores /= scores.sum(axis=1, keepdims=True)
    names = [f"class {i}" for i in range(classes)]
    run = runs.create("made", tmp_path, record=RunRecord(name="made", status="finished"))
    found, arrays = evaluation.measure(
        lambda _: scores, pixels, labels, names, EvaluationSource(split="test")
    )
    evaluation.write(found, arrays, run.evaluation_folder, "test")
    page.write(run)
    opened = visit(run.report_file)
    assert run.report_file.stat().st_size < (3 if classes > 2 else 1) * 1e6  # of noise images
    shown = min(classes, 30)  # those of the lowest recall
    assert opened.locator(".sortable tbody tr").count() == shown
    button = opened.locator(".matrix button").first
    said = int(button.inner_text())
    button.click()
    assert opened.inner_text("#shown").endswith(f"of {said} in this cell")
    assert opened.locator("#tiles li").count() == min(said, 4 if classes == 2 else 10)


def test_a_run_without_validation_images_or_evaluation_has_a_page(visit, small, tmp_path):
    settings = {**small, "data": {"source": "synthetic", "limit": 100, "validation_fraction": 0}}
    run = training.train(config.parse(settings), tmp_path, callbacks=[])
    opened = visit(run.report_file)
    assert opened.inner_text(".verdict") == (
        f"It was not evaluated on test images: cifarnet evaluate {run.path.name}"
    )
    headings = opened.locator("main h2").all_inner_texts()
    assert headings[0] == "Training" and "Classes" not in headings


# --- when it is written ---------------------------------------------------------------


def test_commands_name_the_page_and_one_that_cannot_be_written_costs_nothing(tmp_path, run):
    done = command("evaluate", run.path, "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["page"] == str(run.report_file)
    own = tmp_path / "own"
    shutil.copytree(run.path, own)
    (own / "report.html").unlink()
    (own / "report.html").mkdir()
    (own / "report.html" / "in the way").touch()
    done = execute("evaluate", own, "--json", cwd=tmp_path)
    assert done.returncode == 0
    assert "report.html was not written" in done.stderr
    assert "page" not in json.loads(done.stdout)


def test_records_of_older_weights_are_named_not_shown(tmp_path, run):
    own = runs.Run(tmp_path / "own")
    shutil.copytree(run.path, own.path)
    path = own.evaluation_folder / "test.json"
    older = documents.read(path, Evaluation)
    documents.write(path, older.replace(about=older.about.replace(weights_sha256="0" * 64)))
    (own.evaluation_folder / "robustness.json").write_text("{")
    text = cifarnet.report(own.path).read_text()
    assert "test.json is of older weights" in text
    assert "robustness.json" in text and "Robustness" not in text
    assert f"{100 * older.accuracy:.2f} %" not in text.split("<main>")[0]


def test_exports_of_older_weights_are_named_not_shown(copied):
    path = runs.exports(copied)[0].path.with_name("export.json")
    record = json.loads(path.read_text()) | {"weights_sha256": "0" * 64}
    path.write_text(json.dumps(record))
    text = cifarnet.report(copied.path).read_text()
    assert "exports/keras/model.keras is of older weights" in text
    assert "Exported files" not in text


@pytest.mark.parametrize(
    "values",
    [
        {"count": 0},
        {"classes": ["a"]},
        {"per_class": []},
        {"accuracy_interval": []},
        {"confusion_matrix": [[1], [1, 2]]},
    ],
)
def test_an_evaluation_that_contradicts_itself_is_named_not_shown(copied, values):
    path = copied.evaluation_folder / "test.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    text = cifarnet.report(copied.path).read_text()
    assert re.search(r"Not shown: cannot read \S+test.json", text) and "Classes</h2>" not in text


def test_reports_need_no_tensorflow(run):
    code = (
        "import sys, cifarnet; cifarnet.report(sys.argv[1]); "
        "assert not {'tensorflow', 'keras', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, run.path], check=True)


def test_the_page_of_all_runs_links_and_groups(visit, seeds, tmp_path):
    root = seeds[0].path.parent
    seeds[1].report_file.unlink(missing_ok=True)
    done = command("report", "--runs", root, "--json", cwd=tmp_path)
    index = root / "index.html"
    assert json.loads(done.stdout)["page"] == str(index)
    opened = visit(index)
    for run in seeds:
        link = opened.locator(f"a:text-is('{run.path.name}')").get_attribute("href")
        assert (root / link).samefile(run.report_file)
    accuracies = [
        documents.read(run.evaluation_folder / "test.json", Evaluation).accuracy for run in seeds
    ]
    mean, half = np.mean(accuracies), 12.7062 * np.std(accuracies, ddof=1) / 2**0.5  # t, 1 degree
    ends = f"{100 * (mean - half):.2f} to {100 * (mean + half):.2f} %"
    row = opened.locator("table").first.inner_text()
    assert f"small\t0, 1\t{100 * mean:.2f} %\t{ends}" in row


# --- what is in a run in other ways ---------------------------------------------------


@pytest.fixture
def copied(run, tmp_path) -> runs.Run:
    """A copy of the run, to change its files."""
    shutil.copytree(run.path, tmp_path / "copied")
    return runs.Run(tmp_path / "copied")


def test_images_are_shown_under_their_own_method(visit, copied):
    folder = copied.evaluation_folder / "explanations"
    shutil.copytree(folder / "occlusion", folder / "gradcam")
    record = documents.read(folder / "gradcam" / "explain.json", Explanation)
    documents.write(record.path, record.replace(method="gradcam"))
    (folder / "gradcam" / "explanations.npz").write_bytes(b"damaged")
    page.write(copied)
    opened = visit(copied.report_file)
    assert opened.locator("#explanations ~ h3").all_inner_texts() == ["Grad-CAM", "occlusion"]
    tiles = opened.locator(".explained")
    assert [tiles.nth(i).locator("li").count() for i in range(2)] == [0, 5]


def test_without_its_images_a_matrix_has_no_buttons(visit, copied):
    (copied.evaluation_folder / "test-images.webp").unlink()
    page.write(copied)
    opened = visit(copied.report_file)
    assert opened.locator(".matrix td span").count() == 100
    assert opened.locator(".matrix button, #filter").count() == 0
    assert "to see its images" not in opened.inner_text("main")


def test_images_of_another_split_are_not_called_test_images(visit, copied):
    path = copied.evaluation_folder / "test.json"
    record = documents.read(path, Evaluation)
    documents.write(path, record.replace(about=record.about.replace(split="validation")))
    page.write(copied)
    opened = visit(copied.report_file)
    explained = documents.read(
        copied.evaluation_folder / "explanations" / "occlusion" / "explain.json", Explanation
    )
    row = int(explained.images[0].image[5:-1])
    opened.evaluate(f"openImage(data.gallery.images.findIndex(([row]) => row === {row}))")
    assert opened.inner_text("#image-title").startswith(f"validation image {row}: true")
    assert opened.locator("#image-body figure").count() == 0


def test_a_training_that_diverged_has_the_curves_that_are_numbers(visit, copied):
    copied.history_file.write_text(
        "epoch,loss,accuracy,learning_rate\n1,nan,0.1,0.5\n2,inf,0.2,1e300\n"
    )
    page.write(copied)
    charts = visit(copied.report_file).locator("#training ~ .row figure")
    assert charts.locator("figcaption").all_inner_texts() == [
        "Accuracy by epoch",
        "Learning rate by epoch",
    ]
    assert charts.nth(0).locator(".means").inner_text().startswith("The share of images")


@pytest.mark.parametrize("text", ["epoch,loss\n1," + "9" * 200_000, "epoch,loss\ninf,1\n", "\0"])
def test_a_damaged_history_costs_the_curves_alone(copied, text):
    copied.history_file.write_text(text)
    page.write(copied)
    assert 'id="training"' not in copied.report_file.read_text()


def test_differences_to_a_shipped_config_have_a_line_each(copied, visit):
    page.write(copied)
    lines = visit(copied.report_file).locator("#repeat ~ pre").last.inner_text().splitlines()
    assert "data.source: 'cifar10' → 'synthetic'" in lines
    assert all(": " in line and " → " in line for line in lines) and len(lines) > 3


def test_the_page_of_all_runs_counts_a_repeated_training_once(visit, seeds, tmp_path):
    for name, run in zip("abc", (*seeds, seeds[0]), strict=True):
        shutil.copytree(run.path, tmp_path / name)
    path = tmp_path / "a" / "evaluation" / "test.json"
    record = documents.read(path, Evaluation)
    values = record.to_json() | {"confusion_matrix": [[10**9] * 10] * 10}
    shutil.copytree(tmp_path / "a", tmp_path / "inconsistent")
    other = tmp_path / "inconsistent" / "evaluation" / "test.json"
    other.write_text(json.dumps(values))
    (tmp_path / "inconsistent" / "report.html").unlink()
    opened = visit(cifarnet.report_runs(tmp_path))
    assert opened.locator("table").first.locator("tbody td").first.inner_text() == "0, 1"
    assert opened.locator("table").nth(1).locator("tbody tr").count() == 4
    assert opened.get_by_role("link", name="inconsistent").count() == 0


def test_the_page_of_all_runs_makes_no_folder(tmp_path):
    with pytest.raises(RunError, match="there is no folder of runs"):
        cifarnet.report_runs(tmp_path / "latest")
    assert not (tmp_path / "latest").exists()


def test_images_that_cannot_be_decoded_are_left_out(visit, copied):
    file = copied.evaluation_folder / "test-images.webp"
    file.write_bytes(file.read_bytes()[:200])
    page.write(copied)
    opened = visit(copied.report_file)
    assert opened.locator("#filter").count() == 0
    assert opened.locator(".matrix td").count() == 101


def test_a_run_without_a_model_says_how_to_continue(copied):
    copied.model_file.unlink()
    shutil.rmtree(copied.evaluation_folder)
    copied.update_record(status="interrupted")
    text = cifarnet.report(copied).read_text()
    assert f"interrupted: cifarnet train --resume {copied.path.name} continues it" in text


def test_a_comparison_is_on_the_pages_of_its_runs(seeds):
    for run in seeds:
        run.report_file.write_text("older")
    compare(*seeds, callbacks=[], output=seeds[0].path.parent / "comparisons" / "two")
    for run in seeds:
        assert ">Comparisons</h2>" in run.report_file.read_text()
