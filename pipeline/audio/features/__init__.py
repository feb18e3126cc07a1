"""Features: log-mel spectrograms and the 57 descriptors."""
