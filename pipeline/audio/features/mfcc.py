"""Mel-frequency cepstral coefficients: the spectral envelope in decorrelated coefficients."""

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from pipeline.audio.features.log_mel import AMIN
from pipeline.audio.features.mel_bands import mel_filterbank
from pipeline.audio.features.stft import N_FFT

N_MELS = 128
"""Mel bands from which the coefficients are computed."""

N_MFCC = 20
"""Coefficients per frame."""

TOP_DB = 80.0
"""Floor of the log-mel spectrogram, dB below its maximum."""


def mel_db(S: NDArray[np.float32], sr: float) -> NDArray[np.float32]:
    """Return the log-mel spectrogram, as ``librosa.power_to_db(librosa.feature.melspectrogram(...))``.

    Parameters
    ----------
    S : ndarray of float32, shape (n, 1025)
        Power, a frame a row.
    sr : float
        Sample rate, Hz.

    Returns
    -------
    ndarray of float32, shape (128, n)
        dB relative to a power of 1, at least -100 and at most 80 below the maximum.
    """
    # With the operands in this order, BLAS sums as it does for librosa, to the last bit.
    mel = mel_filterbank(sr, N_FFT, N_MELS) @ S.T
    S_db: NDArray[np.float32] = 10.0 * np.log10(np.maximum(mel, np.float32(AMIN)))
    np.maximum(S_db, S_db.max() - np.float32(TOP_DB), out=S_db)
    return S_db


def mfcc(S_db: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the first 20 coefficients of each frame, as ``librosa.feature.mfcc``.

    Parameters
    ----------
    S_db : ndarray of float32, shape (128, n)
        As `mel_db` returns it.

    Returns
    -------
    ndarray of float32, shape (20, n)
        Orthonormal DCT-II of each frame's bands; the first coefficient is the frame's level.

    References
    ----------
    Davis and Mermelstein, "Comparison of parametric representations for monosyllabic word recognition",
    IEEE Transactions on Acoustics, Speech and Signal Processing 28(4), 1980.
    """
    coefficients: NDArray[np.float32] = scipy.fft.dct(S_db, axis=0, norm="ortho")[:N_MFCC]
    return coefficients
