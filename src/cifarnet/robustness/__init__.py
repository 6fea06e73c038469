"""Measure accuracy on corrupted, attacked and foreign images."""
