"""Trends: shares of genres among the labeled tracks, and what rises and falls."""
