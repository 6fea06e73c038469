"""Serve a network over HTTP: the Open Inference Protocol, TensorFlow Serving's, and image files."""

from cifarnet.serving.run import serve

__all__ = ["serve"]
