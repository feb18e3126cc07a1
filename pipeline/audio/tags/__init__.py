"""Tagging: what files say of themselves, read within bounds, and genres written without harm."""
