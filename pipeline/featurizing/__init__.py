"""Featurizing: log-mels and the 57 descriptors, equal to librosa's numbers."""
