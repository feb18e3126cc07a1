"""Summaries: what each command prints about its result."""
