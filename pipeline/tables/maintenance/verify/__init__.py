"""Verification: every track is accounted for exactly once, and every part is intact."""
