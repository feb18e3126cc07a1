"""Purge: remove every trace of some tracks from the tables."""
