"""Fuzzing: real files, broken at random, through everything that reads a track."""
