"""What a run will take, extrapolated from a sample of its tracks."""
