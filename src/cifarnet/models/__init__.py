"""The network: a layer list from the config to a `keras.Model`."""

from cifarnet.models.builder import build, save, summary, whiten

__all__ = ["build", "save", "summary", "whiten"]
