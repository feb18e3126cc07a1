"""Plots: drawings of tracks and of what carried their labels."""
