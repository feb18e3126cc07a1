"""Audio: files decoded, and turned into features."""
