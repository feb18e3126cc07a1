"""Fuzzing: run randomly damaged real files through everything that reads a track."""
