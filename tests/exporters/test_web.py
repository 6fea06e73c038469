"""The web export: what is recorded of its proof in a browser, and what does not pass."""

import numpy as np
import pytest

import cifarnet
from cifarnet import exporters, predictors
from cifarnet.browser import chromium, runtime
from cifarnet.errors import ArtifactError, DataError, GateError
from cifarnet.exporters import web_format
from cifarnet.runs.results import BrowserRecord

pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def record(run):
    try:
        runtime.fetch()
    except DataError as error:
        pytest.skip(f"ONNX Runtime Web was not fetched: {error}")
    (written,) = exporters.export(run, ["web"], callbacks=[])
    return written


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), np.uint8)


def test_the_export_is_one_page_that_was_proven_in_chromium(record, run):
    assert record.path == run.exports_folder / "web" / "index.html"
    names = {one.name for one in record.path.parent.iterdir()}
    assert names - {"index.html.evaluation"} == {"export.json", "index.html"}
    assert record.bytes == record.path.stat().st_size < 6_000_000
    assert record.browser is not None
    if record.browser.images == 0:
        pytest.skip(f"the page was {record.browser.checked_by}")
    assert record.browser.images == record.parity.images + 66
    assert "ONNX Runtime Web 1.30.0" in record.browser.checked_by
    assert record.browser.max_difference < 5e-6


def test_evaluate_takes_the_page(record):
    found = cifarnet.evaluate(record.path, split="validation", callbacks=[])
    assert found.accuracy == record.parity.accuracy


def test_without_chromium_the_record_says_so(record, images, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    found = web_format.prove(record.path, images, predictors.load(record.path)(images))
    assert found.checked_by == "not run in a browser: no Chromium on the path"
    assert (found.images, found.max_difference) == (0, None)
    web_format.check(found)


def test_a_chromium_that_does_not_start_is_named(record, images, monkeypatch, tmp_path):
    program = tmp_path / "chromium"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = web_format.prove(record.path, images, predictors.load(record.path)(images))
    assert found.checked_by == (f"not run in a browser: {program} does not start: Chromium ended")


def test_other_probabilities_are_measured_and_fail(record, images):
    expected = predictors.load(record.path)(images)
    expected[3, 4] += 0.25
    found = web_format.prove(record.path, images, expected)
    if found.images == 0:
        pytest.skip(f"the page was {found.checked_by}")
    assert found.max_difference == pytest.approx(0.25, abs=1e-6)
    with pytest.raises(GateError, match=r"a probability differs from ONNX Runtime's by 0\.25"):
        web_format.check(found)
    with pytest.raises(GateError):
        web_format.check(BrowserRecord(checked_by="x", images=1, max_difference=None))


def test_a_page_that_fails_in_the_browser_is_an_error(record, images, tmp_path):
    broken = tmp_path / "index.html"
    broken.write_text(record.path.read_text().replace('id="runtime">H4sI', 'id="runtime">AAAA'))
    try:
        with chromium.opened(record.path):
            pass
    except chromium.NotStarted as error:
        pytest.skip(f"no page was opened in a browser: {error}")
    with pytest.raises(ArtifactError, match="the page does not run in Chromium"):
        web_format.prove(broken, images, np.zeros((5, 10), np.float32))
