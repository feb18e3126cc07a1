"""Plots of a track as matplotlib figures, and the track view that they are drawn from.

Examples
--------
>>> import earmark
>>> segment = earmark.plots.view_track("song.wav").segment(0)
>>> figure = earmark.plots.plot_spectrogram(segment.y, 22050, scale="log")
>>> figure.savefig("spectrogram.png")
"""

from pipeline.plots.track_plots import (
    plot_chroma,
    plot_genre_probabilities,
    plot_harmonic_percussive,
    plot_log_mel,
    plot_spectral_shape,
    plot_spectrogram,
    plot_tempo,
    plot_waveform,
    plot_zero_crossings,
    spectrogram_db,
)
from pipeline.plots.track_view import SegmentView, TrackView, segment_probabilities, view_track

__all__ = [
    "SegmentView",
    "TrackView",
    "plot_chroma",
    "plot_genre_probabilities",
    "plot_harmonic_percussive",
    "plot_log_mel",
    "plot_spectral_shape",
    "plot_spectrogram",
    "plot_tempo",
    "plot_waveform",
    "plot_zero_crossings",
    "segment_probabilities",
    "spectrogram_db",
    "view_track",
]
