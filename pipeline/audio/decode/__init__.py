"""Decoding: excerpts of audio files and their tags, whatever the format and the damage."""
