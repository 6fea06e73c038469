"""ONNX files, run by ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from cifarnet import system
from cifarnet.errors import ArtifactError
from cifarnet.predictors.base import MAX_BYTES, RuntimeModel, read_metadata
from cifarnet.predictors.outputs import choose

# Key of cifarnet's entry in the file's metadata.
METADATA = "cifarnet"
_DTYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
}


def load(
    path: Path,
    output_name: str | None = None,
    threads: int | None = None,
    content: bytes | None = None,
) -> RuntimeModel:
    """Load an ONNX file with one input.

    Args:
        output_name: of the output to read, if there are several.
        threads: of the runtime; None: one per core.
        content: of the file, where it is inside another one at `path`.

    Raises:
        ArtifactError: damaged, or with another kind of input, or with weights in a file that is not
            in its folder.
    """
    try:
        session = onnxruntime.InferenceSession(
            _content(path) if content is None else content,
            _options(threads),
            providers=["CPUExecutionProvider"],
        )
        about = session.get_modelmeta().custom_metadata_map.get(METADATA, "{}")
        metadata = read_metadata(about)
        outputs = session.get_outputs()
        names = [one.name for one in outputs]
        output = names[choose(names, [one.shape for one in outputs], output_name)]
    except Exception as error:
        text = " ".join(str(error).split())
        raise ArtifactError(f"{path} cannot be loaded: {text[:300]}") from error
    inputs = session.get_inputs()
    if len(inputs) != 1 or inputs[0].type not in _DTYPES:
        raise ArtifactError(
            f"{path}: expected one input of {', '.join(_DTYPES)}, received "
            f"{', '.join(f'{i.name}: {i.type}' for i in inputs)}"
        )
    name = inputs[0].name

    def run(images: Any) -> Any:
        return session.run([output], {name: images})[0]

    return RuntimeModel(
        runtime=f"ONNX Runtime {onnxruntime.__version__}",
        run=run,
        shape=tuple(d if isinstance(d, int) else None for d in inputs[0].shape),
        dtype=_DTYPES[inputs[0].type],
        metadata=metadata,
    )


def _options(threads: int | None) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or system.usable_cores()
    if threads == 1:  # else the thread that waits for work keeps its core busy
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4  # errors are raised as well
    return options


def _content(path: Path) -> bytes:
    """Return a file's bytes, with the weights that it has in other files of its folder.

    ONNX Runtime would look for them in the working directory.

    Raises:
        ValueError: they are elsewhere, or larger than `MAX_BYTES`.
    """
    content = path.read_bytes()
    # The key by which a tensor names a file, in the ONNX specification of external data.
    if b"location" not in content:
        return content
    import onnx

    model = onnx.ModelProto.FromString(content)
    external = onnx.TensorProto.EXTERNAL
    elsewhere = [tensor for tensor in _tensors(model) if tensor.data_location == external]
    left = MAX_BYTES - len(content)
    for tensor in elsewhere:
        entries = {entry.key: entry.value for entry in tensor.external_data}
        data = _external(path, entries, left)
        left -= len(data)
        tensor.raw_data = data
        tensor.data_location = onnx.TensorProto.DEFAULT
        del tensor.external_data[:]
    return bytes(model.SerializeToString()) if elsewhere else content


def _tensors(message: Any) -> list[Any]:
    """Return the tensors in a message of ONNX and all its parts."""
    if message.DESCRIPTOR.name == "TensorProto":
        return [message]
    found = []
    for field, value in message.ListFields():
        if field.message_type is not None:
            parts = [value] if hasattr(value, "DESCRIPTOR") else value
            found += [tensor for part in parts for tensor in _tensors(part)]
    return found


def _external(path: Path, entries: dict[str, str], limit: int) -> bytes:
    """Read the part of a file that a tensor names.

    Raises:
        ValueError: the file is not in the folder of the model, too short or too large.
    """
    location = entries.get("location", "")
    folder = path.parent.resolve()
    file = (folder / location).resolve()
    if Path(location).is_absolute() or ".." in Path(location).parts or folder not in file.parents:
        raise ValueError(
            f"its weights are in {location!r}, which is not in its folder; copy both into one"
        )
    if not file.is_file():
        raise ValueError(f"its weights are in {location}, which is missing; copy it to {folder}")
    offset = int(entries.get("offset", 0))
    length = int(entries.get("length", file.stat().st_size - offset))
    if length > limit:
        raise ValueError(f"it has more than {MAX_BYTES:,} bytes with its weights in {location}")
    with file.open("rb") as stream:
        stream.seek(offset)
        data = stream.read(max(length, 0))
    if len(data) != length:
        raise ValueError(f"{location} is shorter than the weights it should have; copy it again")
    return data
