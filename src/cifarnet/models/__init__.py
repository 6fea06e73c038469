"""The network: a layer list from the config to a `keras.Model`."""

from cifarnet.models.builder import build, save, whiten
from cifarnet.models.summary import LayerSummary, summarize, summary

__all__ = ["LayerSummary", "build", "save", "summarize", "summary", "whiten"]
