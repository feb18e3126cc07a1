"""Decoding: excerpts of audio files, whatever the format and the damage."""
