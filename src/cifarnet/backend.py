"""TensorFlow and Keras, imported in one place with the settings that cifarnet needs.

Every module takes them from here: `from cifarnet.backend import keras, tf`. The environment is
changed when this module is first imported, not by `import cifarnet`.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from cifarnet import system
from cifarnet.errors import BackendError

_wanted = os.environ.setdefault("KERAS_BACKEND", "tensorflow")
if _wanted != "tensorflow":
    raise BackendError(
        f"cifarnet needs Keras on TensorFlow, received KERAS_BACKEND={_wanted}. Unset it, or set "
        "it to tensorflow, before Python starts."
    )
# TensorFlow enables oneDNN's kernels by itself on some processors only, when it is imported.
# `scripts/compare_steps.py` with TF_ENABLE_ONEDNN_OPTS=0 measures the difference.
_came_first = "tensorflow" in sys.modules
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

# Keras imports these where they are installed, for parts of it that are not used here; it takes
# as long as importing TensorFlow. They are hidden meanwhile.
_hidden = [name for name in ("matplotlib", "pandas", "sklearn") if name not in sys.modules]
# Start-up notices come from C++ before any logging is set up, so no setting turns them off.
with system.quiet(), system.lenient():
    sys.modules.update(dict.fromkeys(_hidden))  # type: ignore[arg-type]
    try:
        import keras
        import tensorflow as tf
    finally:
        for _name in _hidden:
            del sys.modules[_name]

if keras.config.backend() != "tensorflow":
    raise BackendError(
        f"cifarnet needs Keras on TensorFlow, received Keras on {keras.config.backend()}, imported "
        "before cifarnet. Set KERAS_BACKEND=tensorflow before Python starts."
    )

# Keras takes these from ~/.keras/keras.json, and a session may set others.
_SETTINGS = {
    "floatx": "float32",
    "epsilon": 1e-7,
    "image_data_format": "channels_last",
    "dtype_policy": "float32",
}

__all__ = [
    "coordinate",
    "default_settings",
    "initialize_devices",
    "is_initialized",
    "keras",
    "lacks_onednn",
    "tf",
]


@contextmanager
def default_settings() -> Iterator[None]:
    """Give Keras its default settings, and put the user's back afterwards; also a decorator.

    They matter while layers are made, called or traced. Python's and NumPy's random generators,
    which Keras seeds and draws from, continue afterwards as if nothing was drawn.
    """
    before = {name: getattr(keras.config, name)() for name in _SETTINGS}
    drawn = random.getstate(), np.random.get_state()
    try:
        _set(_SETTINGS)
        with system.lenient():
            yield
    finally:
        _set(before)
        random.setstate(drawn[0])
        np.random.set_state(drawn[1])


def _set(settings: Mapping[str, object]) -> None:
    for name, value in settings.items():
        getattr(keras.config, f"set_{name}")(value)


def initialize_devices() -> None:
    """Initialize TensorFlow's devices now, without their notices.

    Not done on import: a process that forks afterwards would inherit a runtime without its threads.
    """
    with system.quiet():
        tf.config.list_logical_devices()


def lacks_onednn() -> bool:
    """Return whether TensorFlow, imported before this module, has oneDNN off by its own choice."""
    wanted_off = os.environ.get("TF_ENABLE_ONEDNN_OPTS", "").lower() in ("0", "false")
    could = sys.platform != "darwin"  # builds for macOS have no oneDNN
    return _came_first and could and not wanted_off and system.uses_onednn() is False


def is_initialized() -> bool:
    """Return whether TensorFlow's devices are in use, which its public API does not say."""
    from tensorflow.python.eager import context

    return context.context()._initialized


def coordinate(workers: int, register_seconds: float, heartbeat_seconds: float) -> None:
    """Set the time limits of TensorFlow's coordination of workers, which its public API leaves out.

    Before devices are initialized. The first worker leads.

    Args:
        workers: number of processes.
        register_seconds: after which a worker that has not come is given up.
        heartbeat_seconds: after which a worker that is silent is given up.
    """
    from tensorflow.python.eager import context

    job = context.coordination_config_pb2.CoordinatedJob(name="worker", num_tasks=workers)
    context.context().configure_coordination_service(
        service_type="standalone",
        service_leader="/job:worker/replica:0/task:0",
        cluster_register_timeout_in_ms=int(1000 * register_seconds),
        heartbeat_timeout_in_ms=int(1000 * heartbeat_seconds),
        coordinated_jobs=[job],
    )
