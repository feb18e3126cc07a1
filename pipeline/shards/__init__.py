"""Shards: tracks become parts of features, and those parts of labels; every failure becomes a row."""
