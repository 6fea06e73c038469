"""Write a network as a `.keras` file that says what it takes and gives."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from cifarnet import runs, system
from cifarnet.backend import keras
from cifarnet.config import DataConfig

# A `.keras` file is a zip archive; this member of it is cifarnet's.
METADATA = "cifarnet.json"


def describe(
    run: str, data: DataConfig, size: int, classes: Sequence[str], gives: str
) -> dict[str, object]:
    """Return what cifarnet stores inside a model file, JSON-able.

    Args:
        run: name of the run that trained the network.
        data: what it was trained on; of a folder, `test_fraction` says which images are not known.
        size: side of its images, pixels.
        classes: names, in the order of the outputs.
        gives: `logits` or `probabilities`.
    """
    return {
        "cifarnet": system.versions()["cifarnet"],
        "run": run,
        "data": {
            "source": data.source,
            "test_fraction": data.test_fraction if data.source == "directory" else None,
        },
        "classes": list(classes),
        "input": {"name": "pixels", "shape": ["N", size, size, 3], "what": "RGB, 0-255"},
        "output": {
            "name": gives,
            "shape": ["N", len(classes)],
            "what": f"{gives}, in the order of `classes`",
        },
    }


def save(model: keras.Model, path: Path, metadata: Mapping[str, object] | None = None) -> None:
    """Write a `.keras` file atomically, with what `describe` returns inside.

    Raises:
        RunError: it cannot be written.
    """
    with runs.beside(path) as temporary:
        model.save(temporary)
        if metadata is not None:
            with zipfile.ZipFile(temporary, "a") as archive:
                archive.writestr(METADATA, json.dumps(metadata))
