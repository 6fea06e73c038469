"""The network: the layer list of a config as a `keras.Model`, and that model made fast."""

from cifarnet.models import fast
from cifarnet.models.builder import build, save
from cifarnet.models.summary import LayerSummary, summarize, summary

__all__ = ["LayerSummary", "build", "fast", "save", "summarize", "summary"]
