"""The descriptors as the tables' makers computed them: plain librosa, one call a feature."""

import warnings

import librosa
import numpy as np
from numpy.typing import NDArray


def descriptors(y: NDArray[np.float32], sr: int = 22050) -> NDArray[np.float64]:
    """Return the 57 values, with the edge handling (``pad_mode``) that was librosa's default then."""
    with warnings.catch_warnings():
        # Signals shorter than a window, silence without a pitch: librosa warns, and goes on.
        warnings.simplefilter("ignore", UserWarning)
        onsets = librosa.onset.onset_strength(y=y, sr=sr, aggregate=np.median, pad_mode="reflect")
        tempo, _ = librosa.beat.beat_track(onset_envelope=onsets, sr=sr)
        series = [
            librosa.feature.chroma_stft(y=y, sr=sr, pad_mode="reflect"),
            librosa.feature.rms(y=y, pad_mode="reflect"),
            librosa.feature.spectral_centroid(y=y, sr=sr, pad_mode="reflect"),
            librosa.feature.spectral_bandwidth(y=y, sr=sr, pad_mode="reflect"),
            librosa.feature.spectral_rolloff(y=y, sr=sr, pad_mode="reflect"),
            librosa.feature.zero_crossing_rate(y),
            *librosa.effects.hpss(y, pad_mode="reflect"),
        ]
        mfcc = librosa.feature.mfcc(y=y, sr=sr, pad_mode="reflect")
    pairs = [value for x in series for value in (x.mean(), x.var())]
    return np.array(
        [*pairs, np.asarray(tempo).item(), *(value for x in mfcc for value in (x.mean(), x.var()))],
        np.float64,
    )
