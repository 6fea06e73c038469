"""Serve a network over HTTP: the Open Inference Protocol, TensorFlow Serving's, and image files."""

from cifarnet.errors import ConfigError

try:
    from cifarnet.serving.run import serve
except ModuleNotFoundError as error:
    raise ConfigError(
        f"the server needs the package {error.name}; install it with: pip install 'cifarnet[serve]'"
    ) from error

__all__ = ["serve"]
