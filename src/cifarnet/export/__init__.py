"""One file a format, each proven in the runtime that will run it."""

from cifarnet.export.run import Target, run, targets

__all__ = ["Target", "run", "targets"]
