"""The standard metadata of LiteRT files: normalization of the input, names of the classes.

A flatbuffer in the file's metadata describes the tensors, by `metadata_schema.fbs` of TensorFlow
Lite Support, file identifier M001. The files that it names are in a zip archive at the end.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field

import flatbuffers
from flatbuffers import number_types
from flatbuffers.table import Table

from cifarnet.predictors.base import MAX_BYTES
from cifarnet.predictors.preprocessing import Preprocessing

_NAME = b"TFLITE_METADATA"

# Positions of the fields of the schema's tables that are read here.
_MODEL_SUBGRAPHS = 3
_SUBGRAPH_INPUTS, _SUBGRAPH_OUTPUTS = 2, 3
_TENSOR_PROCESS_UNITS, _TENSOR_FILES = 4, 6
_UNIT_KIND, _UNIT_OPTIONS = 0, 1
_NORMALIZATION_MEAN, _NORMALIZATION_STD = 0, 1
_FILE_NAME, _FILE_KIND = 0, 2
# Members of its enumerations.
_NORMALIZATION = 1
_AXIS_LABELS = 2


@dataclass(frozen=True)
class Standard:
    """What the standard metadata says of the input and the classes."""

    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    classes: tuple[str, ...] = ()


def read(content: bytes, entries: Mapping[bytes, bytes], output: int) -> Standard:
    """Read the standard metadata of a LiteRT file; damaged, it is as if there were none.

    Args:
        content: the file.
        entries: of its metadata, by name.
        output: position of the output to read.
    """
    try:
        return _read(content, entries[_NAME], output) if _NAME in entries else Standard()
    except Exception:  # each of its parts raises its own
        return Standard()


def _read(content: bytes, buffer: bytes, output: int) -> Standard:
    start = flatbuffers.encode.Get(flatbuffers.packer.uoffset, buffer, 0)
    subgraphs = _tables(Table(buffer, start), _MODEL_SUBGRAPHS)
    if not subgraphs:
        return Standard()
    inputs = _tables(subgraphs[0], _SUBGRAPH_INPUTS)
    outputs = _tables(subgraphs[0], _SUBGRAPH_OUTPUTS)
    preprocessing = _preprocessing(inputs[0]) if inputs else Preprocessing()
    classes = _classes(outputs[output], content) if output < len(outputs) else ()
    return Standard(preprocessing, classes)


def _preprocessing(tensor: Table) -> Preprocessing:
    """Return the normalization of an input: mean and std of pixels 0-255, of one or 3 channels."""
    for unit in _tables(tensor, _TENSOR_PROCESS_UNITS):
        kind = _slot(unit, _UNIT_KIND)
        if kind and unit.Get(number_types.Uint8Flags, kind + unit.Pos) == _NORMALIZATION:
            options = Table(unit.Bytes, 0)
            unit.Union(options, _slot(unit, _UNIT_OPTIONS))
            mean, std = (_floats(options, at) for at in (_NORMALIZATION_MEAN, _NORMALIZATION_STD))
            if mean and std:
                return Preprocessing("0-255", _three(mean), _three(std))
    return Preprocessing()


def _three(values: list[float]) -> tuple[float, float, float]:
    red, green, blue = values * 3 if len(values) == 1 else values
    return red, green, blue


def _classes(tensor: Table, content: bytes) -> tuple[str, ...]:
    """Return the lines of the first file of labels of an output."""
    for file in _tables(tensor, _TENSOR_FILES):
        kind = _slot(file, _FILE_KIND)
        if kind and file.Get(number_types.Int8Flags, kind + file.Pos) == _AXIS_LABELS:
            name = file.String(_slot(file, _FILE_NAME) + file.Pos).decode("utf-8")
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                if archive.getinfo(name).file_size > MAX_BYTES:
                    raise ValueError(f"{name} unpacks to more than {MAX_BYTES:,} bytes")
                text = archive.read(name).decode("utf-8")
            return tuple(line.strip() for line in text.splitlines() if line.strip())
    return ()


def _slot(table: Table, field: int) -> int:
    """Return where a field of a table is, from the table's position; 0 if it is absent."""
    return int(table.Offset(4 + 2 * field))


def _tables(table: Table, field: int) -> list[Table]:
    """Return the tables of a field that is a vector of them."""
    return [Table(table.Bytes, table.Indirect(place)) for place in _places(table, field)]


def _floats(table: Table, field: int) -> list[float]:
    places = _places(table, field)
    return [float(table.Get(number_types.Float32Flags, place)) for place in places]


def _places(table: Table, field: int) -> range:
    """Return where the items of 4 bytes of a vector are; empty if the field is absent."""
    offset = _slot(table, field)
    if not offset:
        return range(0)
    start = table.Vector(offset)
    return range(start, start + 4 * table.VectorLen(offset), 4)
