"""Excerpts: the segments of a track, read by seeking or, in damaged audio, by decoding all of it."""

from collections.abc import Callable
from contextlib import closing
from functools import partial

import numpy as np
import soxr
from numpy.typing import NDArray

from pipeline.audio.decode.decoders import Decoder, UndecodableError
from pipeline.audio.decode.downmix import Downmix, first_frames, join, mix_excerpt
from pipeline.audio.decode.offset import without_offset
from pipeline.audio.decode.placement import (
    PROBE_S,
    Excerpt,
    Levels,
    probe_starts,
    replace_silent,
    segment_starts,
)
from pipeline.audio.decode.silence import loudness
from schemas.features import FeatureSpec

SLACK_S = 0.1
"""An excerpt that is short by no more than this is complete: containers count packets, not samples."""


def seek_segments(decoder: Decoder, spec: FeatureSpec) -> list[Excerpt]:
    """Read the segments by seeking; return none if the container promises audio that does not decode."""

    def read(starts: list[float]) -> list[Excerpt]:
        return [_seek_excerpt(decoder, start_s, spec) for start_s in starts]

    duration_s = decoder.info.duration_s
    try:
        excerpts = read(segment_starts(duration_s, spec))
        return replace_silent(excerpts, duration_s, spec, lambda: _probe_levels(decoder, spec), read)
    except UndecodableError:
        return []


def _seek_excerpt(decoder: Decoder, start_s: float, spec: FeatureSpec) -> Excerpt:
    """Read the excerpt that starts there; UndecodableError if it is too short."""
    rate = decoder.info.sample_rate
    expected_s = min(spec.segment_s, decoder.info.duration_s - start_s)
    y = read_mono(decoder, round(start_s * rate), round(expected_s * rate))
    if len(y) / rate < expected_s - SLACK_S:
        raise UndecodableError("it ends too early")
    return start_s, resample(without_offset(y, rate), rate, spec.sample_rate)


def read_mono(decoder: Decoder, start: int, n_samples: int) -> NDArray[np.float32]:
    """Return the mono mix of `n_samples` from sample `start` on; UndecodableError if it cannot be reached."""
    return mix_excerpt(lambda: first_frames(decoder.blocks(start), n_samples), decoder.info.sample_rate)


def _probe_levels(decoder: Decoder, spec: FeatureSpec) -> Levels:
    """Measure the level of the track on a grid, by seeking; UndecodableError if it ends before."""
    if not decoder.seeks:
        return _walk_levels(decoder, spec)
    rate = decoder.info.sample_rate
    times_s = probe_starts(decoder.info.duration_s)
    db = []
    for start_s in times_s:
        y = read_mono(decoder, round(start_s * rate), round(PROBE_S * rate))
        if not len(y):
            raise UndecodableError("it ends too early")
        db.append(_level(y, rate, spec))
    return Levels(np.array(times_s), np.array(db), times_s[1] - times_s[0])


def walk_segments(open_decoder: Callable[[], Decoder], duration_s: float, spec: FeatureSpec) -> list[Excerpt]:
    """Read the segments of damaged audio, in which seeking may fail, by decoding all of it."""

    def read(starts: list[float]) -> list[Excerpt]:
        with closing(open_decoder()) as decoder:
            downmixes = [Downmix(decoder.info.sample_rate) for _ in starts]
            excerpts = _walk_excerpts(decoder, starts, downmixes, spec)
        signs = [downmix.signs() for downmix in downmixes]
        if not any(signs):
            return excerpts
        with closing(open_decoder()) as decoder:
            downmixes = [Downmix(decoder.info.sample_rate, each) for each in signs]
            return _walk_excerpts(decoder, starts, downmixes, spec)

    def measure() -> Levels:
        with closing(open_decoder()) as decoder:
            return _walk_levels(decoder, spec)

    return replace_silent(read(segment_starts(duration_s, spec)), duration_s, spec, measure, read)


def _walk_excerpts(
    decoder: Decoder, starts: list[float], downmixes: list[Downmix], spec: FeatureSpec
) -> list[Excerpt]:
    rate = decoder.info.sample_rate
    n_samples = round(spec.segment_s * rate)
    taken: list[list[NDArray[np.float32]]] = [[] for _ in starts]
    position = 0
    for block in decoder.blocks(0):
        for pieces, downmix, start_s in zip(taken, downmixes, starts, strict=True):
            first = max(round(start_s * rate) - position, 0)
            last = round(start_s * rate) + n_samples - position
            if first < block.shape[1] and last > 0:
                pieces.append(downmix.mono(block[:, first:last]))
        position += block.shape[1]
    return [
        (start_s, resample(without_offset(join(pieces), rate), rate, spec.sample_rate))
        for start_s, pieces in zip(starts, taken, strict=True)
        if pieces
    ]


def _walk_levels(decoder: Decoder, spec: FeatureSpec) -> Levels:
    """Measure the level of the whole track, probe after probe."""
    rate = decoder.info.sample_rate
    width = round(PROBE_S * rate)
    db = []
    rest = np.empty(0, np.float32)
    for block in decoder.blocks(0):
        rest = join((rest, mix_excerpt(partial(iter, (block,)), rate)))
        while len(rest) >= width:
            db.append(_level(rest[:width], rate, spec))
            rest = rest[width:]
    times_s = [width * number / rate for number in range(len(db))]
    return Levels(np.array(times_s), np.array(db), PROBE_S)


def _level(y: NDArray[np.float32], rate: int, spec: FeatureSpec) -> float:
    """Return the level of mono audio as a segment has it: mixing and resampling attenuate noise."""
    return loudness(resample(y, rate, spec.sample_rate), spec.sample_rate) if y.any() else -np.inf


def resample(y: NDArray[np.float32], rate: int, sample_rate: int) -> NDArray[np.float32]:
    """Return `y` at `sample_rate` (soxr HQ): exactly ``round(len(y) * sample_rate / rate)`` samples."""
    if rate == sample_rate:
        return y
    n_samples = round(len(y) * sample_rate / rate)
    resampled: NDArray[np.float32] = soxr.resample(y, rate, sample_rate, quality="HQ")[:n_samples]
    return np.pad(resampled, (0, n_samples - len(resampled))) if len(resampled) < n_samples else resampled
