"""The network: the layer list of a config as a `keras.Model`, and that model made fast."""

from cifarnet.models import fast, replicas
from cifarnet.models.builder import POLICIES, build
from cifarnet.models.files import METADATA, describe, save
from cifarnet.models.sizes import at_size, check_sizes
from cifarnet.models.summary import LayerSummary, summarize, summary, total_macs

__all__ = [
    "METADATA",
    "POLICIES",
    "LayerSummary",
    "at_size",
    "build",
    "check_sizes",
    "describe",
    "fast",
    "replicas",
    "save",
    "summarize",
    "summary",
    "total_macs",
]
