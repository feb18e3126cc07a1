"""Decoding with libsndfile: wav, aiff, au, flac and the like, whose samples are addressed by number."""

from collections.abc import Iterator

import numpy as np
import soundfile as sf
from numpy.typing import NDArray

from pipeline.audio.decode.decoders import BLOCK_FRAMES, UndecodableError, reason_of
from pipeline.audio.decode.source import Source
from schemas.tracks import AudioInfo

UNKNOWN_FRAMES = 1 << 40
"""libsndfile reports more frames than this for a stream of unknown length."""


class _Stream(sf.SoundFile):  # type: ignore[misc]  # soundfile has no types
    """A SoundFile that does not seek after each read to where it already is, which is slow in libFLAC."""

    def seekable(self) -> bool:
        return False


class SoundfileDecoder:
    """Decodes wav, aiff, au, flac and the like with libsndfile, exact to the sample.

    Parameters
    ----------
    source : Source
        The track.

    Raises
    ------
    UndecodableError
        If libsndfile does not support the format, or the header is broken.
    """

    def __init__(self, source: Source) -> None:
        source.seek(0)
        try:
            self._file = _Stream(source)
        except (RuntimeError, ValueError) as error:
            raise UndecodableError(reason_of(error)) from error
        compressed = self._file.subtype in ("VORBIS", "OPUS")
        codec = (self._file.subtype if compressed else self._file.format.removesuffix("EX")).lower()
        frames, rate = self._file.frames, self._file.samplerate
        duration_s = frames / rate if frames < UNKNOWN_FRAMES else float("nan")
        self.info = AudioInfo(codec, duration_s, rate, self._file.channels)
        self.opening, self.seeks = next(self._read(), np.empty((0, 0), np.float32)), True

    def blocks(self, start: int) -> Iterator[NDArray[np.float32]]:
        """Yield blocks from sample `start` on; UndecodableError if that cannot be reached."""
        try:
            if start == 0 and self.opening.size and self._file.tell() == self.opening.shape[1]:
                yield self.opening
            elif self._file.tell() != start:
                self._file.seek(start)
        except RuntimeError as error:
            raise UndecodableError(reason_of(error)) from error
        yield from self._read()

    def _read(self) -> Iterator[NDArray[np.float32]]:
        """Yield blocks from the current position."""
        while True:
            try:
                block = self._file.read(out=np.empty((BLOCK_FRAMES, self._file.channels), np.float32))
            except RuntimeError:
                return
            if not len(block):
                return
            yield block.T

    def close(self) -> None:
        """Free libsndfile's handle."""
        self._file.close()
