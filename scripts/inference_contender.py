"""One contender of `compare_inference.py`, in a process of its own.

    python scripts/inference_contender.py onnx float32 configs/article.yaml FOLDER

It loads the network that `compare_inference.write` wrote into FOLDER, predicts one image, and then
obeys lines `COUNT BATCH` on standard input: it predicts COUNT images, BATCH per call, and answers
with the seconds as one line of JSON. Every contender takes raw pixels and gives probabilities.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from pytorch_contender import pytorch_predict

from cifarnet import config as configs
from cifarnet import data, predictors, system

# Batch sizes that are compared.
BATCHES = (1, 32, 500)
# uint8 [N, S, S, 3], batch size -> float32 [N, classes]
Predict = Callable[[np.ndarray, int], np.ndarray]


def main(name: str, precision: str, config: str, folder: str) -> None:
    """Answer with probabilities of a few images, then with the seconds of each line."""
    settings = configs.load(Path(config))
    pixels = np.asarray(data.load(settings.data, settings.seed).train.pixels[:5_000])
    predict = contender(name, precision, settings, Path(folder))
    answer({"probabilities": predict(pixels[:8], 1).tolist()})
    for line in sys.stdin:
        count, batch = map(int, line.split())
        start = time.perf_counter()
        predict(pixels[:count], batch)
        answer({"seconds": time.perf_counter() - start, "bytes": system.peak_memory()})


def answer(document: dict[str, Any]) -> None:
    print(json.dumps(document), flush=True)


def contender(name: str, precision: str, config: configs.Config, folder: Path) -> Predict:
    """Return the predict function of a contender in a precision."""
    if name in ("onnx", "litert"):
        return artifact(folder / f"{name}-{precision}")
    if name in ("pytorch", "pytorch compiled"):
        return pytorch_predict(config, folder, precision, name)
    model = keras_model(precision, config, folder)
    return {"keras": keras_predict, "cifarnet": cifarnet_predict}[name](model)


def artifact(folder: Path) -> Predict:
    """Return the predict function of an export, one predictor for each batch size."""
    (path,) = folder.iterdir()
    return in_batches({batch: predictors.load(path, batch) for batch in BATCHES})


def in_batches(by_size: dict[int, predictors.Predictor]) -> Predict:
    def predict(pixels: np.ndarray, batch: int) -> np.ndarray:
        starts = range(0, len(pixels), batch)
        return np.concatenate([by_size[batch](pixels[at : at + batch]) for at in starts])

    return predict


def keras_model(precision: str, config: configs.Config, folder: Path) -> Any:
    """Return the stock Keras model in a precision, logits out."""
    from cifarnet import models
    from cifarnet.backend import default_settings, keras

    with default_settings():
        stored = keras.models.load_model(folder / "model.keras", compile=False)
        if precision == "float32":
            return stored
        mean, std = np.load(folder / "statistics.npy").tolist()
        size, classes = config.data.image_size, stored.output_shape[1]
        model = models.build(config.model, size, classes, mean, std, precision=precision)
        model.set_weights(stored.get_weights())
        return model


def cifarnet_predict(model: Any) -> Predict:
    """The predictor of Keras files."""
    from cifarnet.predictors import keras_file

    return in_batches({batch: keras_file.from_model(model, batch) for batch in BATCHES})


def keras_predict(model: Any) -> Predict:
    """`predict` of Keras, on float32 pixels that are converted outside of the time."""
    import keras

    whole = keras.Model(model.input, keras.layers.Softmax(dtype="float32")(model.output))
    converted: dict[int, np.ndarray] = {}

    def predict(pixels: np.ndarray, batch: int) -> np.ndarray:
        if len(pixels) not in converted:  # in the first turn, which is not counted
            converted[len(pixels)] = pixels.astype(np.float32)
        values: np.ndarray = whole.predict(converted[len(pixels)], batch_size=batch, verbose=0)
        return values

    return predict


if __name__ == "__main__":
    main(*sys.argv[1:])
