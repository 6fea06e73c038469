"""One file per format, each checked in the runtime that will run it."""

from cifarnet.exporters.run import Target, export, targets

__all__ = ["Target", "export", "targets"]
