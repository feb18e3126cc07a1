"""Verification: every track once, every part sound."""
