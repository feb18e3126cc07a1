"""Decoding: excerpts of audio files of any format, damaged or not."""
