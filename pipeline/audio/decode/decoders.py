"""Decoders: what libsndfile and FFmpeg are to this package, float32 blocks from any position."""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from schemas.tracks import AudioInfo

BLOCK_FRAMES = 1 << 14
"""Frames decoded at a time: what bounds memory, whatever the length of the track."""


class UndecodableError(Exception):
    """The decoder makes no audio of the file; the message is a short reason without the file's name.

    Parameters
    ----------
    reason : str
        The message.
    final : bool
        Whether no other decoder shall try, as where it would decode to noise.
    """

    def __init__(self, reason: str, *, final: bool = False) -> None:
        super().__init__(reason)
        self.final = final


class Decoder(Protocol):
    """An open track.

    Attributes
    ----------
    info : AudioInfo
        What the container says; the duration is NaN where it does not say.
    opening : ndarray of float32, shape (channels, n)
        The first samples, where they are exactly those that were encoded; else none.
    """

    info: AudioInfo
    opening: NDArray[np.float32]

    def blocks(self, start: int) -> Iterator[NDArray[np.float32]]:
        """Yield what decodes at the track's own rate, from sample `start` to the end or the first damage.

        Yields
        ------
        ndarray of float32, shape (channels, n)
            Full scale ±1, damaged float samples as they are; the channel count may change on the way.

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
    """Return libsndfile's or FFmpeg's own words for `error`."""
    words = getattr(error, "error_string", None) or getattr(error, "strerror", None) or str(error)
    return str(words).rstrip(".")
