"""Calibrates and measures the model ``audioset``."""
