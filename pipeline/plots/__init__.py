"""Plots of tracks, and of the evidence for their labels."""
