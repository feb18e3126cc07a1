"""Trends: shares of genres among the labelled tracks, and what rises and falls."""
