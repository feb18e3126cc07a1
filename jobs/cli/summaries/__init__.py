"""Summaries: what a command prints of what it did."""
