"""Compaction: small parts merged, and swapped in atomically."""
