"""Export a trained network to other runtimes, and check each artifact in its own runtime."""

from cifarnet.exporters.formats import FORMATS
from cifarnet.exporters.hub import ModelCard, write_model_card
from cifarnet.exporters.run import export
from cifarnet.exporters.targets import Target, targets

__all__ = ["FORMATS", "ModelCard", "Target", "export", "targets", "write_model_card"]
