"""The interface of all decoders: blocks of float32 samples from any position."""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from schemas.tracks import AudioInfo

BLOCK_FRAMES = 1 << 14
"""Frames decoded at a time; bounds memory for tracks of any length."""


class UndecodableError(Exception):
    """A decoder cannot decode the file; the message is a short reason without the file's name.

    Parameters
    ----------
    reason : str
        The message.
    final : bool
        Whether other decoders must not try, because they would decode noise.
    """

    def __init__(self, reason: str, *, final: bool = False) -> None:
        super().__init__(reason)
        self.final = final


class Decoder(Protocol):
    """An open track.

    Attributes
    ----------
    info : AudioInfo
        The facts that the container states; the duration is NaN if it states none.
    opening : ndarray of float32, shape (channels, n)
        The first samples, if decoding is lossless; else empty.
    seeks : bool
        Whether a later sample is reached without decoding all before it.
    """

    info: AudioInfo
    opening: NDArray[np.float32]
    seeks: bool

    def blocks(self, start: int) -> Iterator[NDArray[np.float32]]:
        """Yield samples at the track's own rate, from sample `start` to the end or the first damage.

        Yields
        ------
        ndarray of float32, shape (channels, n)
            Full scale ±1, damaged float samples unchanged; the channel count may change within the track.

        Raises
        ------
        UndecodableError
            If `start` cannot be reached.
        """
        ...

    def close(self) -> None:
        """Free the decoder; the file stays open."""
        ...


def reason_of(error: Exception) -> str:
    """Return libsndfile's or FFmpeg's own description of `error`."""
    words = getattr(error, "error_string", None) or getattr(error, "strerror", None) or str(error)
    return str(words).rstrip(".")
