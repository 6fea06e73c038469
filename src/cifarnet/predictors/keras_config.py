"""Configs of older Keras files, so that Keras 3 reads them where nothing changed but names."""

from __future__ import annotations

from typing import Any

# Keywords that layers of Keras 2 and early Keras 3 write and later ones lack, and the only values
# that change nothing when the network predicts. They were found by writing every layer with
# tf-keras 2.21 and loading it with Keras 3.15.
_NEUTRAL: dict[str, tuple[object, ...]] = {
    "groups": (1,),
    "time_major": (False,),
    "rng_type": ("stateful", "legacy_stateful", "stateless"),  # of augmentation
    "quantization_config": (None,),
}
_NEUTRAL_IN: dict[str, dict[str, tuple[object, ...]]] = {
    "SpatialDropout": {"trainable": (True, False), "noise_shape": (None,)},
    # The layer has initializers of its own, and loaded weights are not initialized.
    "SeparableConv": {"kernel_regularizer": (None,), "kernel_constraint": (None,)},
}


def simplify(config: Any) -> Any:
    """Return a model's config, as JSON values, without keywords that say nothing.

    Only keywords with a value that changes no prediction are left out: any other stays, so that
    Keras refuses the file.
    """
    if isinstance(config, list):
        return [simplify(item) for item in config]
    if not isinstance(config, dict):
        return config
    parts = {key: simplify(value) for key, value in config.items()}
    name, own = parts.get("class_name"), parts.get("config")
    if isinstance(name, str) and isinstance(own, dict):
        parts["config"] = _simplify_layer(name, own)
    if name == "Functional" and str(parts.get("module")).endswith(".engine.functional"):
        parts["module"] = "keras.src.models.functional"  # where Keras 3 has the class
    return parts


def _simplify_layer(name: str, config: dict[str, Any]) -> dict[str, Any]:
    neutral = dict(_NEUTRAL)
    for prefix, more in _NEUTRAL_IN.items():
        if name.startswith(prefix):
            neutral |= more
    left = {key: value for key, value in config.items() if not _is_in(value, neutral.get(key))}
    if name.startswith("SeparableConv"):
        left.pop("kernel_initializer", None)
    if name != "InputLayer" and (left.get("batch_input_shape") or [0])[0] is None:
        left.pop("batch_input_shape")  # the layer is built for its input
    axis = left.get("axis")
    if name == "BatchNormalization" and isinstance(axis, list) and len(axis) == 1:
        left["axis"] = axis[0]
    return left


def _is_in(value: object, values: tuple[object, ...] | None) -> bool:
    """Return whether a value is one of these, of the same type: 1 is not True."""
    return any(type(value) is type(one) and value == one for one in values or ())
