"""Trends: genre shares among the labeled tracks, and which genres rise and fall."""
