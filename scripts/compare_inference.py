"""Speed of prediction, side by side and like with like: Keras' `predict`, PyTorch and cifarnet.

    pip install '.[benchmark,onnx,litert]'
    python scripts/compare_inference.py --rounds 15
    python scripts/compare_inference.py --run latest --output figures.json

Each contender (`inference_contender.py` has them) is a process of its own. All have one network
with one set of weights, take raw pixels and give probabilities; they take turns, and ratios are
formed turn by turn. Those in float32 are compared with each other, and those in bfloat16; int8,
which PyTorch does not have here, with the fastest of PyTorch. bfloat16 is left out where
`precision: auto` does not choose it. PyTorch runs eagerly and compiled by `torch.compile`,
channels_last, with its weights in the precision.

Networks are those of two configs, with weights as drawn; images come one by one or many at once.
`--run` adds how many decisions of that run's network bfloat16 changes on the validation images, and
how fast it is.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import numpy as np
from compare_training import HERE, Process
from inference_contender import BATCHES
from pytorch_contender import torch_weights

from cifarnet import config as configs
from cifarnet import data, runs, system
from cifarnet.training.precision import choose

# Images per turn, by how many are computed at once.
COUNTS = dict(zip(BATCHES, (200, 1_000, 2_000), strict=True))
PYTORCH = ("pytorch", "pytorch compiled")
# By precision. Names with int8 are exports alone.
CONTENDERS: dict[str, tuple[str, ...]] = {
    "float32": ("keras", *PYTORCH, "cifarnet", "onnx", "litert"),
    "bfloat16": ("keras", *PYTORCH, "cifarnet"),
    "int8": ("onnx", "litert"),
}
# Probabilities of the same images may differ by this much; int8 and bfloat16 round.
TOLERANCES = {"float32": 1e-4, "bfloat16": 0.05, "int8": 0.1}
Speeds = dict[tuple[str, str], list[float]]  # (name, precision) -> images/s of each turn


@click.command()
@click.option("--rounds", default=5, show_default=True, help="Turns of each contender.")
@click.option("--run", help="A run whose decisions in bfloat16 are compared to float32.")
@click.option("--output", type=click.Path(path_type=Path), help="Also write the figures as JSON.")
def main(rounds: int, run: str | None, output: Path | None) -> None:
    """Compare, print, and perhaps write the figures."""
    if importlib.util.find_spec("torch") is None:
        raise click.ClickException(
            "PyTorch is missing; install it with: pip install '.[benchmark]'"
        )
    names = ("torch", "onnxruntime", "ai-edge-litert")
    others = {name: importlib.metadata.version(name) for name in names}
    document: dict[str, Any] = {
        "machine": asdict(system.describe()),
        "versions": {**system.versions(), **others},
    }
    halves_pay = choose().chosen == "bfloat16"
    chosen = ("float32", *(["bfloat16"] if halves_pay else []), "int8")
    for config in ("article", "airbench94"):
        document[config] = compare(config, chosen, rounds)
    if run is not None:
        document["bfloat16"] = halves(runs.open_run(run))
    if output is not None:
        output.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def compare(name: str, precisions: Sequence[str], rounds: int) -> dict[str, Any]:
    """All figures of one config's network, by batch size; prints them as they come."""
    path = HERE.parent / "configs" / f"{name}.yaml"
    with tempfile.TemporaryDirectory() as folder:
        write(configs.load(path), Path(folder))
        contenders = {
            (one, precision): Process("inference_contender.py", one, precision, path, folder)
            for precision in precisions
            for one in CONTENDERS[precision]
        }
        check({key: process.started["probabilities"] for key, process in contenders.items()})
        result = {}
        for batch, count in COUNTS.items():
            speeds = turns(contenders, batch, count, rounds)
            result[str(batch)] = figures(speeds)
            show(f"{name}, {batch} at once", result[str(batch)])
        for process in contenders.values():
            process.close()
    return result


def write(config: configs.Config, folder: Path) -> None:
    """Write the config's network, with weights as drawn: for Keras, for PyTorch, and exported."""
    from cifarnet import models
    from cifarnet.backend import default_settings, keras
    from cifarnet.exporters import formats

    dataset = data.load(config.data, config.seed)
    images = np.asarray(dataset.train.pixels[:5_000])
    statistics_ = dataset.mean, dataset.std
    size, classes = config.data.image_size, len(dataset.classes)
    with default_settings():
        keras.utils.set_random_seed(config.seed)
        model = models.build(config.model, size, classes, *statistics_, images=images)
        model.save(folder / "model.keras")
        np.save(folder / "statistics.npy", statistics_)
        np.savez(folder / "weights.npz", **torch_weights(model))  # type: ignore[arg-type]
        metadata = {"classes": list(dataset.classes)}
        for name in ("onnx", "litert"):
            for precision, quantization in (("float32", "none"), ("int8", "int8")):
                home = folder / f"{name}-{precision}"
                home.mkdir()
                formats.write(name, quantization, model, images[:500], metadata, home)  # type: ignore[arg-type]


def check(probabilities: dict[tuple[str, str], list[list[float]]]) -> None:
    """Check that all contenders compute one network.

    Raises:
        click.ClickException: one gives other probabilities than Keras in float32.
    """
    expected = np.asarray(probabilities["keras", "float32"])
    for (name, precision), rows in probabilities.items():
        most = np.abs(np.asarray(rows) - expected).max()
        if not most <= TOLERANCES[precision]:
            raise click.ClickException(f"{name} in {precision} is off by {most:.2g}")


def turns(
    contenders: dict[tuple[str, str], Process], batch: int, count: int, rounds: int
) -> Speeds:
    """Let the contenders predict in turns, every other time in the reverse order."""
    speeds: Speeds = {key: [] for key in contenders}
    for turn in range(-1, rounds):  # the first is thrown away: it traces and compiles
        keys = list(contenders) if turn % 2 == 0 else list(reversed(contenders))
        for key in keys:
            seconds = contenders[key].ask(f"{count} {batch}")["seconds"]
            if turn >= 0:
                speeds[key].append(count / seconds)
    return speeds


def figures(speeds: Speeds) -> dict[str, Any]:
    """Images/s of each contender, and its ratio to the fastest of PyTorch in its precision."""
    medians = {key: statistics.median(values) for key, values in speeds.items()}
    theirs = [key for key in speeds if key[0] in PYTORCH]
    ours = [key for key in speeds if key[0] not in ("keras", *PYTORCH)]
    rows = []
    for (name, precision), values in speeds.items():
        like = [key for key in theirs if key[1] == precision] or theirs
        rival = max(like, key=lambda key: medians[key])
        rows.append(
            {
                "contender": name,
                "precision": precision,
                "images_per_second": round(medians[name, precision], 1),
                "ratio_to_pytorch": ratio(values, speeds[rival]),
            }
        )
    best, rival = (max(keys, key=lambda key: medians[key]) for keys in (ours, theirs))
    return {
        "contenders": rows,
        "fastest": " ".join(best),
        "fastest_of_pytorch": " ".join(rival),
        "ratio_of_fastest": ratio(speeds[best], speeds[rival]),
    }


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, float]:
    """Return the median, lowest and highest ratio of the turns."""
    found = sorted(one / other for one, other in zip(ours, theirs, strict=True))
    middle = statistics.median(found)
    return {
        "median": round(middle, 2),
        "lowest": round(found[0], 2),
        "highest": round(found[-1], 2),
    }


def show(title: str, result: dict[str, Any]) -> None:
    print(f"{title}: images/s, ratio to the fastest of PyTorch in the same precision")
    for row in result["contenders"]:
        name, speed = f"{row['contender']} {row['precision']}", row["images_per_second"]
        print(f"  {name:26} {speed:10,.0f}   {spread(row['ratio_to_pytorch'])}")
    fastest = f"{result['fastest']} / {result['fastest_of_pytorch']}"
    print(f"  {fastest}: {spread(result['ratio_of_fastest'])}", flush=True)


def spread(found: dict[str, float]) -> str:
    return f"{found['median']:.2f} ({found['lowest']:.2f} to {found['highest']:.2f})"


def halves(run: runs.Run) -> dict[str, Any]:
    """What bfloat16 changes for a run's network on the validation images."""
    import keras

    from cifarnet import models
    from cifarnet.predictors import keras_file

    config = configs.load(run.config_file)
    dataset = data.load(config.data, config.seed)
    pixels = dataset.validation.pixels if len(dataset.validation.labels) else dataset.train.pixels
    weights = keras.models.load_model(run.model_file, compile=False).get_weights()
    answers, seconds = {}, {}
    for name in ("float32", "bfloat16"):
        model = models.build(
            config.model,
            config.data.image_size,
            len(dataset.classes),
            dataset.mean,
            dataset.std,
            precision=name,
        )
        model.set_weights(weights)
        predict = keras_file.from_model(model)
        predict(pixels[:500])
        start = time.perf_counter()
        answers[name] = predict(pixels[:5000])
        seconds[name] = time.perf_counter() - start
    changed = np.mean(answers["float32"].argmax(axis=1) != answers["bfloat16"].argmax(axis=1))
    most = np.abs(answers["float32"] - answers["bfloat16"]).max()
    print(
        f"bfloat16 changes {100 * changed:.2f} % of {len(answers['float32'])} decisions, a "
        f"probability by at most {most:.3f}, and takes {seconds['bfloat16']:.1f} s instead of "
        f"{seconds['float32']:.1f} s"
    )
    return {"changed": float(changed), "largest_difference": float(most), "seconds": seconds}


if __name__ == "__main__":
    main()
