"""Runs with stored predictions, written without a training."""

import zlib

import numpy as np
import pytest

from cifarnet import config, evaluation, runs
from cifarnet.runs import RunRecord, documents
from cifarnet.runs.results import EvaluationSource, evaluation_stem

CLASSES = ("ant", "bee", "cow")


@pytest.fixture
def store(tmp_path, monkeypatch):
    """Return a function that writes a finished run with an evaluation, and returns the run."""
    monkeypatch.setenv("CIFARNET_RUNS", str(tmp_path / "runs"))

    def write(
        predicted,
        labels,
        *overrides: str,
        classes=CLASSES,
        status: str = "finished",
        tta: str = "none",
        evaluated: bool = True,
        **about: str,
    ) -> runs.Run:
        settings = config.load("article", overrides)
        record = RunRecord(name=settings.name, status=status, seed=settings.seed)
        run = runs.create(settings.name, None, {"config.yaml": config.dump(settings)}, record)
        run.model_file.write_bytes(run.path.name.encode())
        with runs.lock(run), runs.changing(run, run.model_file):
            pass
        if not evaluated:
            return run
        # Confidences that tell apart runs with the same decisions.
        jitter = np.random.default_rng(zlib.crc32(run.path.name.encode())).random(len(labels)) / 10
        probabilities = np.full((len(labels), len(classes)), 0.1 / (len(classes) - 1), np.float32)
        probabilities[np.arange(len(labels)), predicted] = 0.9 - jitter
        source = {
            "split": "test",
            "tta": tta,
            "digest": "d" * 64,
            "weights_sha256": runs.weights_digest(run),
            **about,
        }
        found = evaluation.compute_metrics(probabilities, np.asarray(labels), classes)
        stem = evaluation_stem(source["split"], tta)
        folder = run.evaluation_folder
        with runs.lock(run), runs.changing(run, folder):
            documents.write(
                folder / f"{stem}.json", found.replace(about=EvaluationSource(**source))
            )
            arrays = {"probabilities": probabilities, "labels": np.asarray(labels)}
            runs.write_arrays(folder / f"{stem}-predictions.npz", arrays)
        return run

    return write
