"""Audits of images: duplicates, leakage between splits, unusable images, doubtful labels."""

from cifarnet.auditing.run import audit, files

__all__ = ["audit", "files"]
