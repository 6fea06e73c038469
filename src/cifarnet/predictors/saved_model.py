"""SavedModel folders, run by TensorFlow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from cifarnet.errors import ArtifactError
from cifarnet.predictors.predictor import Network

# Where TensorFlow Serving, too, looks for what is not the model's own.
METADATA = Path("assets.extra") / "cifarnet.json"
# Operations that touch files or run Python: nothing that classifies images needs them.
_REFUSED = {
    "EagerPyFunc",
    "MatchingFiles",
    "PyFunc",
    "PyFuncStateless",
    "ReadFile",
    "WriteFile",
    "PrintV2",
    "LoadLibrary",
}


def load(path: Path) -> Network:
    """A SavedModel's network, by its signature `serving_default`.

    Raises:
        ArtifactError: damaged, with operations that touch files, or of another form.
    """
    try:
        refused = _operations(path) & _REFUSED
        if refused:
            raise ArtifactError(f"operations that are not safe: {', '.join(sorted(refused))}")
        loaded = tf.saved_model.load(str(path))
        signature = loaded.signatures["serving_default"]
        ((key, spec),) = signature.structured_input_signature[1].items()
        (output,) = signature.structured_outputs
    except Exception as error:
        text = " ".join(str(error).split())
        raise ArtifactError(f"{path} cannot be loaded: {text[:300]}") from None

    def run(images: Any) -> Any:
        return signature(**{key: tf.constant(images)})[output].numpy()

    run.model = loaded  # type: ignore[attr-defined]  # its variables live as long as it does
    return Network(
        runtime=f"TensorFlow {tf.__version__}",
        run=run,
        shape=tuple(spec.shape.as_list()),
        dtype=spec.dtype.as_numpy_dtype,
        metadata=_metadata(path),
    )


def _operations(path: Path) -> set[str]:
    """The names of all operations in the graph and its functions."""
    content = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    graphs = [meta.graph_def for meta in content.meta_graphs]
    functions = [function for graph in graphs for function in graph.library.function]
    return {node.op for graph in graphs for node in graph.node} | {
        node.op for function in functions for node in function.node_def
    }


def _metadata(path: Path) -> dict[str, Any]:
    file = path / METADATA
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}
