"""Compaction: merge small parts and swap them in atomically."""
