"""Which artifacts a list of formats and quantizations stands for."""

import pytest

from cifarnet.errors import ConfigError
from cifarnet.exporters.targets import Target, targets

pytest.importorskip("onnxruntime")
pytest.importorskip("ai_edge_litert")


def test_targets_are_formats_with_what_fits_them():
    found = targets(["keras", "litert", "c"], ["none", "int8"])
    assert [t.name for t in found] == ["keras", "litert", "litert-int8", "c"]
    with pytest.raises(ConfigError, match="onnx: expected quantization none or int8, received fl"):
        targets(["litert", "onnx"], ["float16"])
    with pytest.raises(ConfigError, match="c: expected quantization int8, received none"):
        targets(["c"], ["none"])
    # Of a config, where `quantize` is for all formats.
    found = targets(["c", "onnx"], ["none"], defaults=True)
    assert [(t.name, t.quantization) for t in found] == [("c", "int8"), ("onnx", "none")]
    with pytest.raises(ConfigError, match="onnx: expected quantization"):
        targets(["onnx"], ["float16"], defaults=True)


@pytest.mark.parametrize(
    ("names", "quantizations", "message"),
    [
        (["tflite"], ["none"], "formats: .* some of keras, savedmodel, onnx, litert, c, .* 'tfl"),
        ("onnx", ["none"], "formats: expected a list of .*, received 'onnx'"),
        (["onnx"], ["int4"], "quantize: .* some of none, float16, dynamic, int8, received 'int4'"),
    ],
)
def test_unknown_names_list_the_known_ones(names, quantizations, message):
    with pytest.raises(ConfigError, match=message):
        targets(names, quantizations)


def test_names_say_what_is_not_the_formats_default():
    assert Target("litert", "none").name == "litert"
    assert Target("litert", "float16").name == "litert-float16"
    assert Target("litert", "int8", pruned=True).name == "litert-int8-pruned"
    assert Target("c", "int8").name == "c"
    assert Target("c", "int8", pruned=True).name == "c-pruned"
    assert [one.pruned for one in targets(["keras", "onnx"], ["none"], pruned=True)] == [True] * 2
    assert [one.pruned for one in targets(["keras"], ["none"])] == [False]


def test_repeated_names_count_once_and_the_order_stays():
    found = targets(["onnx", "keras", "onnx"], ["int8", "none", "int8"])
    assert [one.name for one in found] == ["onnx", "onnx-int8", "keras"]
    with pytest.raises(ConfigError, match=r"quantize: expected a list of .*, received 'int8'"):
        targets(["onnx"], "int8")
