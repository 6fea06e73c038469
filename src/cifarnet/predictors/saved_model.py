"""SavedModel folders, run by TensorFlow."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from cifarnet.backend import initialize_devices, tf
from cifarnet.errors import ArtifactError
from cifarnet.predictors.base import Metadata, RuntimeModel, read_metadata
from cifarnet.predictors.outputs import choose

# The folder for files that the model itself does not load.
METADATA = Path("assets.extra") / "cifarnet.json"
# Operations that access files, the network or Python; no image classifier needs them.
_REFUSED = re.compile(
    "Dataset|Reader|File|PyFunc|Debug|Rpc|Print|Load|Save|Restore|Dump|Checkpoint"
)
# Operations by which every SavedModel reads and writes its own weights.
_WEIGHTS = {"MergeV2Checkpoints", "RestoreV2", "SaveV2", "ShardedFilename"}


def load(path: Path, output_name: str | None = None) -> RuntimeModel:
    """Load a SavedModel by its signature `serving_default`.

    Args:
        output_name: of the output to read, if there are several.

    Raises:
        ArtifactError: damaged, with operations that access files, or with another signature.
    """
    initialize_devices()
    try:
        _refuse(_operations(path) - _WEIGHTS)
        loaded = tf.saved_model.load(str(path))
        signature = loaded.signatures["serving_default"]
        graph = signature.graph.as_graph_def()
        _refuse(_operation_names([graph]))
        key, spec = _only_input(signature.structured_input_signature[1])
        found = signature.structured_outputs
        names = sorted(found)
        output = names[choose(names, [found[name].shape for name in names], output_name)]
        metadata = _metadata(path)
    except Exception as error:  # TensorFlow raises many kinds
        text = " ".join(str(error).split())
        raise ArtifactError(f"{path} cannot be loaded: {text[:300]}") from error

    def run(images: Any) -> Any:
        return signature(**{key: tf.constant(images)})[output].numpy()

    run.model_file = loaded  # type: ignore[attr-defined]  # its variables are freed with it
    return RuntimeModel(
        runtime=f"TensorFlow {tf.__version__}",
        run=run,
        shape=() if spec.shape.rank is None else tuple(spec.shape.as_list()),
        dtype=spec.dtype.as_numpy_dtype,
        metadata=metadata,
    )


def _only_input(specs: dict[str, Any]) -> tuple[str, Any]:
    if len(specs) != 1:
        raise ValueError(f"expected one input, received {', '.join(sorted(specs)) or 'none'}")
    return next(iter(specs.items()))


def _refuse(operations: set[str]) -> None:
    if refused := sorted(name for name in operations if _REFUSED.search(name)):
        raise ArtifactError(f"operations that are not safe: {', '.join(refused)}")


def _operations(path: Path) -> set[str]:
    """Return the names of all operations in the file's graphs and functions."""
    # After cifarnet.backend, which decides how TensorFlow starts.
    from tensorflow.core.protobuf import saved_model_pb2

    content = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    return _operation_names([meta.graph_def for meta in content.meta_graphs])


def _operation_names(graphs: list[Any]) -> set[str]:
    functions = [function for graph in graphs for function in graph.library.function]
    return {node.op for graph in graphs for node in graph.node} | {
        node.op for function in functions for node in function.node_def
    }


def _metadata(path: Path) -> Metadata:
    file = path / METADATA
    return read_metadata(file.read_bytes()) if file.is_file() else {}
