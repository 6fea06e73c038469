"""One file a format, each proven in the runtime that will run it."""

from cifarnet.exporters.run import Target, run, targets

__all__ = ["Target", "run", "targets"]
