"""The command line as a user meets it: real subprocesses, exit codes, documents, files."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import cifarnet, execute
from PIL import Image

ROOT = Path(__file__).parents[2]
SMOKE = ROOT / "configs" / "smoke.yaml"
TINY = ["-o", "data.limit=500", "-o", "train.epochs=2", "-o", "train.precision=float32"]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder in which one tiny run was trained and evaluated."""
    folder = tmp_path_factory.mktemp("place")
    cifarnet("train", "--config", SMOKE, *TINY, cwd=folder)
    return folder


@pytest.fixture(scope="module")
def evaluated(place) -> dict:
    return json.loads(cifarnet("evaluate", "latest", "--json", cwd=place).stdout)


def only_run(place: Path) -> Path:
    (run,) = (place / "runs").glob("[!.]*")
    return run


# --- help -----------------------------------------------------------------------------


def commands() -> list[list[str]]:
    from cifarnet.cli import main

    found = []
    for name, command in main.commands.items():
        inner = getattr(command, "commands", None)
        found += [[name, other] for other in inner] if inner else [[name]]
    return found


@pytest.mark.parametrize("command", [[], *commands()], ids=" ".join)
def test_every_command_has_help_with_an_example(command, tmp_path):
    shown = cifarnet(*command, "--help", cwd=tmp_path).stdout
    assert "Example:" in shown
    example = shown.split("Example:")[1].split()
    assert example[: 1 + len(command)] == ["cifarnet", *command] or not command
    if command:
        assert "--json" in shown
        assert "--debug" in shown


def test_examples_name_real_files_and_commands():
    from cifarnet.cli import main

    known = {" ".join(command) for command in commands()}
    texts = [main.help or ""]
    for command in main.commands.values():
        texts += [
            command.help or "",
            *(c.help or "" for c in getattr(command, "commands", {}).values()),
        ]
    for line in re.findall(r"^ *cifarnet (.*)$", "\n".join(texts), re.MULTILINE):
        words = line.split()
        assert words[0] in known or " ".join(words[:2]) in known, line
        for name in re.findall(r"configs/\S+\.yaml", line):
            assert (ROOT / name).exists(), line


def test_a_file_whose_name_is_no_text_is_shown_all_the_same(place):
    name = os.fsdecode(b"\xff.png")
    Image.new("RGB", (32, 32)).save(place / "plain.png")
    (place / "plain.png").rename(place / name)
    shown = cifarnet("predict", "latest", name, cwd=place).stdout
    assert shown.startswith("\\udcff.png: ")


# --- train ----------------------------------------------------------------------------


def test_train_leaves_a_whole_run_directory(place):
    run = only_run(place)
    files = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    assert files >= {
        "config.yaml",
        "run.json",
        "history.csv",
        "log.txt",
        "model.keras",
        "plots/curves.png",
    }
    assert len([name for name in files if name.startswith("checkpoint/step-")]) in (1, 2)
    assert not [name for name in files if ".tmp." in name or ".old." in name]
    record = json.loads((run / "run.json").read_text())
    assert record["status"] == "finished"
    assert record["config_file"] == str(SMOKE)
    assert "train --config" in record["command"]


def test_train_prints_a_line_an_epoch_and_logs_it(tmp_path):
    shown = cifarnet("train", "--config", SMOKE, *TINY, cwd=tmp_path).stdout
    log = (only_run(tmp_path) / "log.txt").read_text()
    for text in (shown, log):
        assert "not CIFAR-10" in text
        assert [line.split()[0] for line in text.splitlines() if re.match(r" +\d+ ", line)] == [
            "1",
            "2",
        ]
    assert "Next: cifarnet evaluate runs/" in shown


def test_train_json_is_one_document_and_the_rest_goes_to_standard_error(tmp_path):
    done = cifarnet("train", "--config", SMOKE, *TINY, "--json", cwd=tmp_path)
    assert done.stderr.startswith("Training ")  # no notices of TensorFlow's before it
    document = json.loads(done.stdout)
    assert document["status"] == "finished"
    assert (tmp_path / document["run"] / "model.keras").exists()
    assert "val acc" in done.stderr


def test_ctrl_c_keeps_the_run_and_resume_ends_it(tmp_path):
    command = [sys.executable, "-m", "cifarnet", "train", "--config", str(SMOKE), *TINY]
    long = ["-o", "train.epochs=200", "-o", "train.schedule={kind: constant}"]
    process = subprocess.Popen(
        [*command, *long], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    for line in process.stdout:
        if re.match(r" +2 ", line):  # the second epoch is done
            process.send_signal(signal.SIGINT)
            break
    shown, errors = process.communicate()
    assert process.returncode == 130, errors
    assert "stopping after the current steps" in shown
    assert "cifarnet train --resume" in errors
    run = only_run(tmp_path)
    record = json.loads((run / "run.json").read_text())
    assert record["status"] == "interrupted"
    done = record["epochs_done"]
    shown = cifarnet("evaluate", "latest", "--split", "validation", cwd=tmp_path).stdout
    assert re.search(r"warning: .* not come to its end: interrupted after [\d.]+ epoch", shown)
    # The run's own config decides how far it goes; shorten it so that the test ends.
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace("epochs: 200.0", f"epochs: {int(done) + 3}"))
    shown = cifarnet("train", "--resume", "latest", cwd=tmp_path).stdout
    assert "Resuming" in shown
    record = json.loads((run / "run.json").read_text())
    assert record["status"] == "finished"
    assert record["epochs_done"] == int(done) + 3
    history = (run / "history.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in history[1:]] == [
        str(n + 1) for n in range(int(done) + 3)
    ]


def test_a_killed_run_is_listed_and_resumes_to_the_same_bits(tmp_path):
    import keras

    options = ["train", "--config", SMOKE, *TINY, "-o", "train.epochs=4"]
    command = [sys.executable, "-m", "cifarnet", *map(str, options)]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        if re.match(r" +2 ", line):  # the second epoch is done
            process.kill()
            break
    process.communicate()
    killed = only_run(tmp_path)
    (summary,) = json.loads(cifarnet("runs", "list", "--json", cwd=tmp_path).stdout)
    assert summary["status"] == "killed"
    cifarnet("train", "--resume", killed.name, cwd=tmp_path)
    whole = json.loads(cifarnet(*options, "--json", cwd=tmp_path).stdout)["run"]
    one, other = (
        keras.models.load_model(run / "model.keras") for run in (killed, tmp_path / whole)
    )
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not [path for path in killed.rglob("*.tmp") if path.is_file()]


def test_train_wants_a_config_or_a_run(tmp_path):
    assert "--config CONFIG or --resume RUN" in cifarnet("train", cwd=tmp_path, code=2).stderr
    both = ["--config", SMOKE, "--resume", "latest"]
    assert "either --config CONFIG" in cifarnet("train", *both, cwd=tmp_path, code=2).stderr


# --- errors ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["train.epoch=3"], ["train.epoch", "did you mean 'epochs'"]),
        (["train.epochs=many"], ["train.epochs", "valid number", "'many'"]),
        (["train.momentum=1.5"], ["train.momentum", "less than 1", "1.5"]),
        (["data.source=directory", "data.path=nowhere"], ["nowhere"]),
        (["model.layers=[Conv2]"], ["model.layers[0] (Conv2)", "did you mean"]),
        (["train.batch_size=100000"], ["100000", "training images"]),
    ],
    ids=lambda value: value[0],
)
def test_a_wrong_config_is_one_clear_error_and_writes_nothing(overrides, says, tmp_path):
    options = [text for override in overrides for text in ("-o", override)]
    done = cifarnet("train", "--config", SMOKE, *options, cwd=tmp_path, code=1)
    assert done.stderr.count("Error: ") == 1
    for text in says:
        assert text in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_config_or_key_that_is_given_as_something_else_is_told_how_to_give_it(tmp_path):
    for arguments, says in (
        (("article",), "extra argument (article). Did you mean --config article?"),
        ((tmp_path,), f"Did you mean --resume {tmp_path}?"),
        (("--config", "smoke", "seed=1"), "(seed=1). Did you mean -o seed=1?"),
        (("--config", "smoke", "article"), "extra argument (article)"),
        (("--lr", "0.1"), "Did you mean -o train.learning_rate=VALUE?"),
        (("--epochs", 3), "No such option '--epochs'. Did you mean -o train.epochs=VALUE?"),
        (("--batch-size=3",), "-o train.batch_size=VALUE or -o evaluate.batch_size=VALUE?"),
    ):
        done = cifarnet("train", *arguments, cwd=tmp_path, code=2)
        assert done.stderr.rstrip().endswith(says)


def test_errors_are_documents_under_json(tmp_path):
    done = cifarnet("runs", "show", "nope", "--json", cwd=tmp_path, code=1)
    document = json.loads(done.stdout)
    assert document["kind"] == "RunError"
    assert document["exit_code"] == 1
    assert "received 'nope'" in document["error"]


def test_debug_shows_where(tmp_path):
    command = [sys.executable, "-m", "cifarnet", "runs", "show", "nope", "--debug"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_debug_shows_the_chain_down_to_the_librarys_own_error(tmp_path):
    """Of Keras, and of the converter."""
    padding = "model.layers=[{Conv2D: {filters: 8, kernel_size: 3, padding: wrong}}]"
    done = execute("train", "--config", SMOKE, "-o", padding, "--debug", cwd=tmp_path)
    chained = "The above exception was the direct cause of the following exception"
    assert done.returncode == 1
    library, ours = done.stderr.split(chained)
    assert "/keras/" in library and "ValueError: The `padding` argument must be" in library
    assert "ModelError: model.layers[0] (Conv2D): The `padding` argument must be" in ours
    # LiteRT has no operation for it.
    scaled = (
        "model.layers=[{UpSampling2D: {interpolation: lanczos3}}, Flatten, {Dense: {units: 10}}]"
    )
    cifarnet("train", "--config", SMOKE, *TINY, "-o", scaled, cwd=tmp_path)
    done = execute("export", "latest", "--format", "litert", "--debug", cwd=tmp_path)
    assert done.returncode == 1
    library, child, ours = done.stderr.split(chained)  # it ran in a child process
    assert "ConverterError: Could not translate" in library
    assert "'tf.ScaleAndTranslate' op is neither a custom op nor a flex op" in library
    assert "ArtifactError: litert (none): 'tf.ScaleAndTranslate' op is neither" in child
    assert "ArtifactError: litert (none): 'tf.ScaleAndTranslate' op is neither" in ours
    assert "Error: litert (none)" in ours and "Leave this format out" in ours
    assert not list(only_run(tmp_path).glob("exports/litert*"))


def test_another_backend_of_keras_is_a_clear_error(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    command = [sys.executable, "-m", "cifarnet", "train", "--config", str(SMOKE)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: cifarnet needs Keras on TensorFlow, received KERAS_BACK")
    assert list(tmp_path.iterdir()) == []


# --- evaluate and predict -------------------------------------------------------------


def test_evaluate_measures_what_the_model_does(place, evaluated):
    import keras

    from cifarnet import config, data

    run = only_run(place)
    settings = config.load(run / "config.yaml")
    test = data.load(settings.data, settings.seed).test
    model = keras.models.load_model(run / "model.keras")
    logits = np.asarray(model(test.pixels.astype(np.float32)))
    assert evaluated["accuracy"] == pytest.approx(np.mean(np.argmax(logits, 1) == test.labels))
    assert evaluated["count"] == 2000
    names = {path.name for path in (run / "evaluation").iterdir()}
    assert names == {
        "test.json",
        "test-predictions.npz",
        "test-confusion.png",
        "test-reliability.png",
        "test-images.webp",
        "test-mistakes.png",
    }


def test_the_validation_images_are_those_training_saw(place):
    shown = cifarnet("evaluate", "latest", "--split", "validation", "--json", cwd=place).stdout
    document = json.loads(shown)
    record = json.loads((only_run(place) / "run.json").read_text())
    assert document["accuracy"] == pytest.approx(record["validation_accuracy"])
    assert document["about"]["digest"] == record["data"]["digests"]["validation"]


def test_a_lone_model_file_is_measured_on_the_test_set_only(place, tmp_path):
    lone = tmp_path / "lone.keras"
    lone.write_bytes((only_run(place) / "model.keras").read_bytes())
    done = cifarnet("evaluate", lone, "--split", "validation", cwd=tmp_path, code=1)
    assert "only a run knows its validation images" in done.stderr


@pytest.mark.parametrize(
    ("requirement", "code", "says"),
    [
        ("accuracy>=0.0", 0, ""),
        ("accuracy>=0.999", 3, "accuracy"),
        ("acuracy>=0.5", 1, "acuracy"),
        ("accuracy", 1, "accuracy>="),
    ],
)
def test_require_is_a_gate(place, requirement, code, says):
    done = cifarnet("evaluate", "latest", "--require", requirement, cwd=place, code=code)
    assert says in done.stderr


def test_predict_ranks_classes_of_files_and_folders(place, tmp_path):
    from cifarnet import config, data

    run = only_run(place)
    test = data.load_source(config.load(run / "config.yaml").data).test
    folder = tmp_path / "images"
    folder.mkdir()
    for i in range(3):
        Image.fromarray(test.pixels[i]).save(folder / f"{i}.png")
    Image.fromarray(test.pixels[0]).resize((64, 48)).save(tmp_path / "big.jpg")
    shown = cifarnet("predict", "latest", folder, tmp_path / "big.jpg", "--json", cwd=place).stdout
    document = json.loads(shown)
    names = [Path(one["image"]).name for one in document["images"]]
    assert names == ["0.png", "1.png", "2.png", "big.jpg"]
    assert document["unreadable"] == document["assumed"] == []
    import keras

    logits = np.asarray(keras.models.load_model(run / "model.keras")(test.pixels[:3] * 1.0))
    expected = np.exp(logits - logits.max(1, keepdims=True))
    expected /= expected.sum(1, keepdims=True)
    for one, row in zip(document["images"], expected, strict=False):
        values = [entry["probability"] for entry in one["classes"]]
        np.testing.assert_allclose(values, np.sort(row)[::-1][:3], atol=1e-5)


def test_predict_says_which_file_is_no_image(place, tmp_path):
    (tmp_path / "notes.png").write_text("not an image")
    done = cifarnet("predict", "latest", tmp_path / "notes.png", cwd=place, code=1)
    assert "notes.png" in done.stderr
    done = cifarnet("predict", "latest", tmp_path / "absent.png", cwd=place, code=1)
    assert "absent.png" in done.stderr
    done = cifarnet("predict", "absent.onnx", tmp_path / "notes.png", cwd=place, code=1)
    assert "received 'absent.onnx', and there is no such file. " in done.stderr


def test_predict_lists_what_it_cannot_read_after_the_rest(place, tmp_path):
    folder = tmp_path / "photos" / "inner"
    folder.mkdir(parents=True)
    Image.new("RGB", (32, 32)).save(folder / "good.png")
    (folder / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    images = [folder.parent, tmp_path / "absent.png"]
    shown = cifarnet("predict", "latest", *images, cwd=place).stdout.splitlines()
    assert shown[0].startswith(f"{folder / 'good.png'}: ")
    assert [line.split()[0] for line in shown[1:3]] == ["not", "not"]
    document = json.loads(cifarnet("predict", "latest", *images, "--json", cwd=place).stdout)
    assert [Path(one["image"]).name for one in document["images"]] == ["good.png"]
    unreadable = {Path(one["image"]).name: one["error"] for one in document["unreadable"]}
    assert set(unreadable) == {"bad.png", "absent.png"}
    assert "absent.png" in unreadable["absent.png"]


OWN = """
data: {source: directory, path: photos, image_size: 16, validation_fraction: 0.25}
model: {layers: [Flatten, {Dense: {units: 2}}]}
train: {epochs: 5, batch_size: 8, learning_rate: 0.01, precision: float32}
"""


def test_a_folder_of_own_images_is_trained_evaluated_and_predicted(tmp_path):
    random = np.random.default_rng(0)
    for name, low in (("dark", 0), ("light", 156)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(30):
            pixels = random.integers(low, low + 100, (20, 24, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{i}.png")
    (tmp_path / "own.yaml").write_text(OWN)
    cifarnet("train", "--config", "own.yaml", cwd=tmp_path)
    cifarnet("evaluate", "latest", "--require", "accuracy>=0.95", cwd=tmp_path)
    image = tmp_path / "photos" / "light" / "3.png"
    shown = cifarnet("predict", "latest", image, "--json", cwd=tmp_path).stdout
    (answer,) = json.loads(shown)["images"]
    assert answer["classes"][0]["class"] == "light"
    assert len(answer["classes"]) == 2


# --- runs, data, config ---------------------------------------------------------------


def test_runs_list_show_and_remove(tmp_path):
    assert "no runs in" in cifarnet("runs", "list", cwd=tmp_path).stdout
    cifarnet("train", "--config", SMOKE, *TINY, "-o", "name=mine", cwd=tmp_path)
    (summary,) = json.loads(cifarnet("runs", "list", "--json", cwd=tmp_path).stdout)
    assert summary["status"] == "finished"
    assert summary["name"].endswith("-mine")
    assert summary["name"] in cifarnet("runs", "list", cwd=tmp_path).stdout
    shown = cifarnet("runs", "show", summary["name"], cwd=tmp_path).stdout
    assert "all epochs done" in shown
    assert "model.keras" in shown
    kept = cifarnet("runs", "remove", "latest", cwd=tmp_path, code=1, input="n\n")
    assert "Delete" in kept.stderr
    assert only_run(tmp_path).exists()
    cifarnet("runs", "remove", "latest", "--yes", cwd=tmp_path)
    assert list((tmp_path / "runs").glob("[!.]*")) == []


def test_data_info_counts_what_the_config_asks_for(tmp_path):
    shown = cifarnet(
        "data", "info", "--config", SMOKE, "-o", "data.limit=100", "--json", cwd=tmp_path
    )
    document = json.loads(shown.stdout)
    per_class = document["splits"]["train"]["per_class"]
    assert set(per_class.values()) == {9}
    assert len(per_class) == 10


def test_data_fetch_and_verify_say_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("CIFARNET_HOME", str(tmp_path / "home"))
    done = cifarnet("data", "verify", cwd=tmp_path, code=1)
    assert "cifarnet data fetch" in done.stderr
    (tmp_path / "wrong.tar.gz").write_text("no archive")
    done = cifarnet("data", "fetch", "--path", "wrong.tar.gz", cwd=tmp_path, code=1)
    assert "wrong.tar.gz is not a whole archive" in done.stderr
    assert "expected cifar-10-binary.tar.gz, " in done.stderr
    assert not (tmp_path / "home" / "cifar10").exists()


def test_data_preview_draws_a_sheet(tmp_path):
    cifarnet("data", "preview", "--config", SMOKE, "--output", "sheet.png", cwd=tmp_path)
    picture = np.asarray(Image.open(tmp_path / "sheet.png").convert("RGB"))
    assert picture.shape[1] > 500
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 500


def test_config_show_is_whole_and_loads_again(tmp_path):
    shown = cifarnet("config", "show", SMOKE, "-o", "seed=7", cwd=tmp_path).stdout
    (tmp_path / "whole.yaml").write_text(shown)
    again = cifarnet("config", "show", "whole.yaml", cwd=tmp_path).stdout
    assert again == shown
    assert "seed: 7" in shown


def test_config_show_model_prints_the_layer_table(tmp_path):
    article = ROOT / "configs" / "article.yaml"
    shown = cifarnet("config", "show", article, "--model", cwd=tmp_path).stdout
    assert "167,562" in shown
    assert "30 x 30 x 32" in shown
    document = json.loads(
        cifarnet("config", "show", article, "--model", "--json", cwd=tmp_path).stdout
    )
    assert document["macs"] == 4_040_704


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda p: p.stem)
def test_config_check_accepts_every_shipped_config(path, tmp_path):
    assert "is valid" in cifarnet("config", "check", path, cwd=tmp_path).stdout


def test_config_schema_is_the_committed_one(tmp_path):
    shown = cifarnet("config", "schema", cwd=tmp_path).stdout
    assert json.loads(shown) == json.loads((ROOT / "configs" / "schema.json").read_text())
