"""Shards: tracks to parts of features, and those to parts of labels, with every failure in its row."""
