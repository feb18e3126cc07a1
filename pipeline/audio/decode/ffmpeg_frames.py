"""Converts FFmpeg's frames to blocks at one sample rate in which every sample keeps its position."""

from collections.abc import Iterator
from fractions import Fraction
from itertools import chain, groupby, islice
from typing import Any

import av
import numpy as np
import soxr
from numpy.typing import NDArray

from pipeline.audio.decode.decoders import BLOCK_FRAMES

MAX_CHANNELS = 64
"""FFmpeg converts no more; a header that claims more is broken."""

PLANES = 8
"""PyAV crashes on a frame with this many sample pointers or more."""

MIN_CHANGE_FRAMES = 5
"""Fewer frames than this at another sample rate are damage, not part of the recording."""

MAX_RATIO = 64
"""Sample rates farther apart than this do not belong to one recording, and take memory to convert."""

SILENT_FRAMES = 1 << 20
"""Length of the blocks of a gap: they take no memory, and a wrong timestamp can make a gap of a day."""

JITTER_TICKS = 3
"""Timestamps in milliseconds are off by this much even in undamaged files."""


def steady_blocks(
    frames: Iterator[av.AudioFrame], rate: int, ticks_per_s: float, room: float, jitter_s: float = 0.0
) -> Iterator[NDArray[np.float32]]:
    """Yield the samples of `frames` in blocks; NumPy calls for each frame would cost half the decoding.

    If the stream continues at another sample rate, it is resampled. If timestamps show that frames are
    missing because of damage, silence replaces them, so that what follows keeps its position.

    Parameters
    ----------
    frames : iterator of av.AudioFrame
        Frames of one stream, in order.
    rate : int
        Sample rate of the blocks.
    ticks_per_s : float
        Resolution of the frames' timestamps.
    room : float
        Samples to the end of the track; timestamps beyond it are wrong.
    jitter_s : float
        Error of the timestamps in undamaged files, seconds.

    Yields
    ------
    ndarray of float32, shape (channels, n)
        Full scale ±1; the channel count may change within the stream.
    """
    gaps = _Gaps(ticks_per_s, rate, jitter_s)
    for (frame_rate, channels, _), alike in groupby(frames, key=_kind):
        if channels > MAX_CHANNELS or not frame_rate:
            continue
        if frame_rate != rate:
            opening = list(islice(alike, MIN_CHANGE_FRAMES))
            if len(opening) < MIN_CHANGE_FRAMES or not _is_convertible(frame_rate, rate):
                continue
            alike = chain(opening, alike)
        # A FIFO for each kind: given a frame of another kind, PyAV's crashes.
        pipe = _Pipe(frame_rate, rate, channels)
        for frame in alike:
            missing = gaps.before(frame)
            if missing and missing <= room - pipe.n_samples:
                yield pipe.finish()
                yield from silence(channels, missing)
                room -= pipe.n_samples + missing
                pipe = _Pipe(frame_rate, rate, channels)
            if (block := pipe.write(frame)) is not None:
                yield block
        yield pipe.finish()
        room -= pipe.n_samples


class _Gaps:
    """Detects missing samples between frames, from their timestamps."""

    def __init__(self, ticks_per_s: float, rate: int, jitter_s: float) -> None:
        self._ticks_per_sample = ticks_per_s / rate
        self._rate = rate
        self._jitter = max(JITTER_TICKS, jitter_s * ticks_per_s)
        self._expected: float | None = None

    def before(self, frame: av.AudioFrame) -> int:
        """Return how many samples are missing between the previous frame and this one, mostly 0."""
        expected, pts = self._expected, frame.pts
        if pts is not None and pts == expected and frame.sample_rate == self._rate:
            self._expected = pts + frame.samples * self._ticks_per_sample
            return 0
        length = frame.samples * self._ticks_per_sample
        if frame.sample_rate != self._rate:  # raw streams keep counting at the rate that they began with
            self._expected = None
        elif pts is not None:
            self._expected = pts + length
            if expected is not None and pts - expected > max(length / 2, self._jitter):
                return round((pts - expected) / self._ticks_per_sample)
        elif expected is not None:
            self._expected = expected + length
        return 0


class _Pipe:
    """Converts frames of one kind to blocks at the track's rate."""

    def __init__(self, frame_rate: int, rate: int, channels: int) -> None:
        self.n_samples = 0
        self._channels = channels
        self._fifo = av.AudioFifo()
        self._resampler = (
            None
            if frame_rate == rate
            else soxr.ResampleStream(frame_rate, rate, channels, dtype="float32", quality="HQ")
        )

    def write(self, frame: av.AudioFrame) -> NDArray[np.float32] | None:
        """Add a frame; return a block when there are enough samples for one."""
        # Samples are only counted: after damage, a frame may come with another time base.
        frame.pts, frame.time_base = None, Fraction(1, frame.sample_rate)
        self._fifo.write(frame)
        return self._read(last=False) if self._fifo.samples >= BLOCK_FRAMES else None

    def finish(self) -> NDArray[np.float32]:
        """Return the remaining samples."""
        return self._read(last=True)

    def _read(self, last: bool) -> NDArray[np.float32]:
        frame = self._fifo.read()
        y = np.empty((self._channels, 0), np.float32) if frame is None else to_float(frame)
        if self._resampler is not None:
            y = self._resampler.resample_chunk(np.ascontiguousarray(y.T), last=last).T
        self.n_samples += y.shape[1]
        return y


def without_lead(blocks: Iterator[NDArray[np.float32]], lead: int) -> Iterator[NDArray[np.float32]]:
    """Yield `blocks` without their first `lead` samples."""
    for block in blocks:
        if lead < block.shape[1]:
            yield block[:, lead:]
        lead = max(lead - block.shape[1], 0)


def to_float(frame: av.AudioFrame) -> NDArray[np.float32]:
    """Return a frame's samples as float32 of shape (channels, n), full scale ±1."""
    channels = frame.layout.nb_channels
    if frame.format.is_planar and channels >= PLANES:
        (frame,) = av.AudioResampler(frame.format.packed).resample(frame)
    samples: NDArray[Any] = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(-1, channels).T
    if samples.dtype.kind == "f":
        return samples.astype(np.float32, copy=False)
    if samples.dtype == np.uint8:
        return (samples.astype(np.float32) - np.float32(128)) / np.float32(128)
    return samples.astype(np.float32) / np.float32(-float(np.iinfo(samples.dtype).min))


def silence(channels: int, n_samples: int) -> Iterator[NDArray[np.float32]]:
    """Yield `n_samples` zeros, in blocks that are read-only views of a single one."""
    for first in range(0, n_samples, SILENT_FRAMES):
        yield np.broadcast_to(np.float32(0), (channels, min(SILENT_FRAMES, n_samples - first)))


def _kind(frame: av.AudioFrame) -> tuple[int, int, str]:
    return frame.sample_rate, frame.layout.nb_channels, frame.format.name


def _is_convertible(frame_rate: int, rate: int) -> bool:
    return rate <= frame_rate * MAX_RATIO and frame_rate <= rate * MAX_RATIO
