"""TensorFlow and Keras, imported in one place with the settings that cifarnet needs.

Every module takes them from here: `from cifarnet.backend import keras, tf`. The environment is
changed when this module is first imported, not by `import cifarnet`.
"""

from __future__ import annotations

import os
import sys

from cifarnet import system
from cifarnet.errors import BackendError

_wanted = os.environ.setdefault("KERAS_BACKEND", "tensorflow")
if _wanted != "tensorflow":
    raise BackendError(
        f"cifarnet needs Keras on TensorFlow, received KERAS_BACKEND={_wanted}. Unset it, or set "
        "it to tensorflow, before Python starts."
    )
# TensorFlow enables oneDNN's kernels on some processors only. `scripts/compare_training.py` with
# TF_ENABLE_ONEDNN_OPTS=0 measures the difference.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

# Keras imports these where they are installed, for parts of it that are not used here; it takes
# as long as importing TensorFlow. They are hidden meanwhile.
_hidden = [name for name in ("matplotlib", "pandas", "sklearn") if name not in sys.modules]
# Start-up notices come from C++ before any logging is set up, so no setting turns them off.
with system.quiet():
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

__all__ = ["initialize_devices", "keras", "tf"]


def initialize_devices() -> None:
    """Initialize TensorFlow's devices now, without their notices.

    Not done on import: a process that forks afterwards would inherit a runtime without its threads.
    """
    with system.quiet():
        tf.config.list_logical_devices()
