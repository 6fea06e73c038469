"""Artifacts side by side, each in its own process."""

import itertools
import json
import shutil

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from helpers.commands import cifarnet
from PIL import Image

from cifarnet import (
    artifacts,
    benchmarking,
    config,
    evaluation,
    exporters,
    models,
    predictors,
    training,
)
from cifarnet.benchmarking import ModelFile
from cifarnet.callbacks import Callback
from cifarnet.cli.benchmark import benchmark
from cifarnet.data import Images
from cifarnet.errors import ArtifactError, ConfigError
from cifarnet.runs import Benchmark, documents
from cifarnet.runs.benchmarks import BenchmarkedArtifact, Speed

CLASSES = tuple("abcdefghij")
LOGITS = predictors.RUN_PREPROCESSING


def network(seed: int) -> keras.Model:
    keras.utils.set_random_seed(seed)
    layers = [{"Conv2D": {"filters": 4, "kernel_size": 3, "strides": 4}}, "Flatten"]
    settings = config.ModelConfig(layers=[*layers, {"Dense": {"units": 10}}])
    return models.build(settings, 32, 10, (120.0,) * 3, (60.0,) * 3)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two files of networks, and their top-1 classes of `pixels()`."""
    folder, found = tmp_path_factory.mktemp("models"), []
    for seed in (1, 2):
        path = folder / f"{seed}.keras"
        models.save(network(seed), path)
        top = predictors.load(path, preprocessing=predictors.RUN_PREPROCESSING)(pixels()).argmax(
            axis=1
        )
        found.append((path, top))
    return found


def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), np.uint8)


def test_figures_are_those_of_the_artifacts(files):
    (first, top), (_, other) = files
    labels = top.copy()
    labels[:10] = (top[:10] + 1) % 10  # the first artifact is wrong on a quarter
    given = [ModelFile(path.stem, path, predictors.RUN_PREPROCESSING) for path, _ in files]
    stages: list[str] = []

    class Stages(Callback):
        def on_stage(self, what):
            stages.append(what)

    one, two = benchmarking.compare(given, Images(pixels(), labels), CLASSES, [1, 8], Stages())
    assert stages == ["measuring 1", "measuring 2"]
    assert (one.accuracy, one.agreement) == (0.75, 1.0)
    assert two.accuracy == np.mean(other == labels)
    assert two.agreement == np.mean(other == top)
    assert one.bytes == first.stat().st_size
    assert one.runtime == f"Keras {keras.__version__}"
    # A process with TensorFlow takes some hundred megabytes, far less than a machine has.
    assert 1e8 < one.peak_memory_bytes < 3e9
    for speed, size in zip(two.speed, (1, 8), strict=True):
        assert speed.batch_size == size
        assert speed.calls >= 30
        assert 0 < speed.median_milliseconds <= speed.p90_milliseconds
        rate = 1000 * size / speed.median_milliseconds
        assert speed.images_per_second == pytest.approx(rate, rel=0.01)


def test_latency_is_of_the_calls_alone():
    """On a simulated clock: 5 calls to warm up, then 45 of 1, 2, ..., 45 ms."""
    now, calls = [0.0], [0]

    def predict(batch):
        assert len(batch) == 4
        calls[0] += 1
        now[0] += 10.0 if calls[0] <= 5 else (calls[0] - 5) / 1000
        return batch

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(benchmarking.time, "perf_counter", lambda: now[0])
        speed = benchmarking._time(predict, pixels(), 4)
    assert sum(range(1, 45)) < 1000 <= sum(range(1, 46))
    assert speed.calls == 45
    assert speed.median_milliseconds == 23.0
    assert speed.p90_milliseconds == pytest.approx(40.6)


def test_thirty_calls_at_least_are_timed_each_of_other_images(monkeypatch):
    now, seen = [0.0], []

    def predict(batch):
        now[0] += 2.0
        seen.append(batch)
        return batch

    monkeypatch.setattr(benchmarking.time, "perf_counter", lambda: now[0])
    speed = benchmarking._time(predict, pixels(), 16)
    assert (speed.batch_size, speed.calls, len(seen)) == (16, 30, 35)
    assert (speed.median_milliseconds, speed.images_per_second) == (2000.0, 8.0)
    images = pixels()
    for call, batch in enumerate(seen):
        np.testing.assert_array_equal(batch, images[(16 * call + np.arange(16)) % 40])


@pytest.mark.parametrize(
    ("held_out", "classes", "accuracy"), [(True, 10, 0.75), (False, 10, None), (True, 9, None)]
)
def test_one_artifacts_record(held_out, classes, accuracy, files, monkeypatch):
    path, top = files[0]
    labels = top.copy()
    labels[:10] = (top[:10] + 1) % 10
    ticks = itertools.count()
    monkeypatch.setattr(benchmarking.time, "perf_counter", lambda: float(next(ticks)))
    file = ModelFile("one", path, predictors.RUN_PREPROCESSING, held_out)
    record, found = benchmarking._measure(file, pixels(), labels, CLASSES[:classes], (2, 8))
    np.testing.assert_array_equal(found, top)
    assert (record.accuracy, record.agreement, record.name) == (accuracy, 1.0, "one")
    assert (record.bytes, record.assumed) == (path.stat().st_size, [])
    assert [one.batch_size for one in record.speed] == [2, 8]
    assert [one.images_per_second for one in record.speed] == [2.0, 8.0]


def test_the_size_of_a_folder_is_that_of_its_files(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "a").write_bytes(bytes(10))
    (tmp_path / "inner" / "b").write_bytes(bytes(5))
    assert benchmarking._size(tmp_path) == 15
    assert benchmarking._size(tmp_path / "a") == 10


def test_a_file_that_is_no_model_is_refused_by_its_process(tmp_path):
    (tmp_path / "bad.keras").write_bytes(b"nothing")
    with pytest.raises(ArtifactError, match=r"bad\.keras cannot be loaded"):
        benchmarking.compare(
            [ModelFile("bad", tmp_path / "bad.keras")],
            Images(pixels(), np.zeros(40)),
            CLASSES,
            [1],
            Callback(),
        )


def test_the_table_keeps_long_names_and_numbers_whole(tmp_path, monkeypatch):
    name = "a-network-whose-name-is-longer-than-a-terminal-is-wide-" + "x" * 50 + ".onnx"
    speed = Speed(
        batch_size=64,
        calls=30,
        median_milliseconds=1234.5,
        p90_milliseconds=2345.6,
        images_per_second=123456.7,
    )
    artifacts = [
        BenchmarkedArtifact(
            name=one,
            path=one,
            bytes=12_345_000,
            accuracy=0.5,
            agreement=1.0,
            runtime="x",
            assumed=[],
            threads=2,
            peak_memory_bytes=1_234_000_000,
            speed=[speed],
        )
        for one in ("model.keras", name)
    ]
    record = Benchmark(
        machine={}, versions={}, images=9, split="train", data="x", artifacts=artifacts
    )
    record = documents.write(tmp_path / "benchmark.json", record)

    def measured(*_, callbacks, **__):
        for callback in callbacks:
            callback.on_result(record)
        return record

    monkeypatch.setattr(benchmarking, "benchmark", measured)
    done = CliRunner().invoke(benchmark, ["x"])
    assert done.exit_code == 0, done.output
    lines = [line.split() for line in done.output.splitlines()]
    numbers = ["50.00", "100.00", "12,345", "1,234", "64", "1234.50", "2345.60", "123,457"]
    assert ["model.keras", *numbers] in lines and [name, *numbers] in lines


def test_the_command_compares_a_run_and_its_exports(tmp_path):
    settings = {
        "data": {"source": "synthetic", "limit": 300, "validation_fraction": 0.2},
        "model": {"layers": ["Flatten", {"Dense": {"units": 10}}]},
        "train": {"epochs": 1, "batch_size": 50, "learning_rate": 0.01},
    }
    (tmp_path / "small.yaml").write_text(json.dumps(settings))
    run = training.train(config.load(tmp_path / "small.yaml"), tmp_path / "runs", callbacks=[])
    exporters.export(run, formats=["keras"], callbacks=[])
    done = cifarnet("benchmark", "latest", "--batch-size", "2", "--json", cwd=tmp_path)
    document = json.loads(done.stdout)
    assert [one["name"] for one in document["artifacts"]] == ["model.keras", "keras"]
    assert [one["agreement"] for one in document["artifacts"]] == [1.0, 1.0]
    assert (document["split"], document["images"]) == ("validation", 60)
    record = run.read_record()
    # The run's accuracy is measured in the precision of the training.
    expected = pytest.approx(record.validation_accuracy, abs=0.02)
    assert document["artifacts"][0]["accuracy"] == expected
    stored = json.loads((run.path / "benchmark.json").read_text())
    assert stored["artifacts"] == document["artifacts"]
    with Image.open(run.plots_folder / "benchmark.png") as picture:
        assert picture.size[0] > 500


def test_a_wrong_batch_size_is_refused():
    wrong = CliRunner().invoke(benchmark, ["latest", "--batch-size", "0"])
    assert wrong.exit_code == 2
    assert "expected numbers from 1 to 5000 such as 1,64" in " ".join(wrong.output.split())


@pytest.mark.parametrize("sizes", [[], [0], [1, 5001]])
def test_batch_sizes_out_of_range_are_refused(sizes):
    with pytest.raises(ConfigError, match="batch_sizes: expected numbers from 1 to 5000"):
        benchmarking.benchmark("latest", batch_sizes=sizes, callbacks=[])
    with pytest.raises(ConfigError, match="nothing to benchmark"):
        benchmarking.benchmark(callbacks=[])


@pytest.fixture(scope="module")
def two_seeds(tmp_path_factory):
    """Runs of one small config with the seeds 0 and 1, each on its own validation split."""
    place = tmp_path_factory.mktemp("seeds")
    settings = {
        "data": {"source": "synthetic", "limit": 300, "validation_fraction": 0.2},
        "model": {"layers": ["Flatten", {"Dense": {"units": 10}}]},
        "train": {"epochs": 1, "batch_size": 50, "learning_rate": 0.01, "precision": "float32"},
    }
    return [
        training.train(config.parse({**settings, "seed": seed}), place / "runs", callbacks=[])
        for seed in (0, 1)
    ]


def test_files_of_the_same_split_count_as_held_out(two_seeds, tmp_path):
    exporters.export(two_seeds[0], formats=["keras"], callbacks=[])
    lone = tmp_path / "lone.keras"
    shutil.copy(two_seeds[0].model_file, lone)
    first, second, outside = (artifacts.resolve(one) for one in (*two_seeds, lone))
    stated = predictors.Preprocessing("0-1")

    def listed(target, basis):
        return [
            (one.name, one.path, one.preprocessing, one.held_out)
            for one in benchmarking._files(target, basis, stated)
        ]

    export = first.path.parent / "exports" / "keras" / "model.keras"
    own = predictors.RUN_PREPROCESSING
    assert listed(first, first) == [
        ("model.keras", first.path, own, True),
        ("keras", export, None, True),
    ]
    assert [known for *_, known in listed(first, second)] == [False, False]
    assert listed(outside, first) == [("lone.keras", lone, stated, False)]
    assert listed(outside, outside) == [("lone.keras", lone, stated, True)]
    of_run = artifacts.resolve(export)
    assert [(name, path) for name, path, *_ in listed(of_run, first)] == [("keras", export)]
    # The record is in the run, or beside a file.
    assert benchmarking._file(first, None) == two_seeds[0].path / "benchmark.json"
    assert benchmarking._file(of_run, None) == export.with_name("model.keras.benchmark.json")
    assert benchmarking._file(outside, None) == tmp_path / "lone.keras.benchmark.json"
    assert benchmarking._file(first, tmp_path) == tmp_path / "benchmark.json"
    dataset, split = benchmarking._dataset(first, None, False, Callback())
    assert (split, len(dataset.validation.labels)) == ("validation", 60)
    assert dataset.digests() == two_seeds[0].read_record().data.digests


def test_files_that_may_know_the_images_have_no_accuracy(two_seeds, tmp_path):
    first, second = two_seeds
    lone = tmp_path / "lone.keras"
    shutil.copy(first.model_file, lone)
    found = benchmarking.benchmark(
        first, second, lone, batch_sizes=[1], preprocessing=LOGITS, callbacks=[]
    )
    assert found.split == "validation"
    own, *_, other, foreign = (one for one in found.artifacts if one.name.endswith(".keras"))
    assert own.accuracy is not None
    assert other.accuracy is None and foreign.accuracy is None
    assert foreign.agreement == 1.0
    assert benchmarking.picture(found).is_file()


def test_without_a_run_files_are_measured_on_test_images(two_seeds, tmp_path):
    lone = tmp_path / "lone.keras"
    shutil.copy(two_seeds[0].model_file, lone)
    found = benchmarking.benchmark(
        lone,
        batch_sizes=[1],
        preprocessing=LOGITS,
        callbacks=[],
        overrides=["data.source=synthetic"],
    )
    assert found.split == "test"
    # Its own process alone runs for a second per batch size.
    assert found.cost.wall_seconds > 1 and found.cost.processor_seconds > 0
    expected = evaluation.evaluate(two_seeds[0], callbacks=[])
    assert found.artifacts[0].accuracy == pytest.approx(expected.accuracy, abs=0.002)
    assert expected.cost.processor_seconds > 0


def test_another_number_of_classes_gives_no_accuracy(tmp_path):
    layers = [keras.Input((32, 32, 3)), keras.layers.Flatten(), keras.layers.Dense(7)]
    path = tmp_path / "seven.keras"
    keras.Sequential(layers).save(path)
    labels = np.zeros(40, np.uint8)
    files = [ModelFile("seven", path, LOGITS)]
    (found,) = benchmarking.compare(files, Images(pixels(), labels), CLASSES, [1], Callback())
    assert found.accuracy is None


def test_classes_of_another_order_are_put_in_order(tmp_path):
    plain, named = tmp_path / "plain.keras", tmp_path / "named.keras"
    models.save(network(1), plain)
    about = {"classes": list(reversed(CLASSES)), "output": {"what": "logits"}}
    models.save(network(1), named, about)
    top = predictors.load(plain, preprocessing=LOGITS)(pixels()).argmax(axis=1)
    files = [ModelFile("plain", plain, LOGITS), ModelFile("named", named)]
    labels = (9 - top).astype(np.uint8)
    measured = benchmarking.compare(files, Images(pixels(), labels), CLASSES, [1], Callback())
    assert measured[1].accuracy == 1.0
    assert measured[0].accuracy == measured[1].agreement == np.mean(top == labels)
