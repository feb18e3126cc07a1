"""Placement of a track's segments, and of replacements for silent ones."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pipeline.audio.decode.silence import FLOOR_DB, is_silent, loudness
from schemas.features import FeatureSpec

Excerpt = tuple[float, NDArray[np.float32]]
"""Start in seconds, and mono samples at the features' sample rate."""

PROBE_S = 0.5
"""Length that is decoded to measure the level at a position."""

PROBE_STEP_S = 5.0
"""Smallest distance of probes: sound of this length is found in a track of up to 20 minutes."""

MAX_PROBES = 240
"""Bounds the search in long tracks."""

ABOVE_NOISE_DB = 3.0
"""A position counts as sound if it is louder by this than the loudest second of the silent segments."""

_ROUNDS = 3
"""Searches, each for something louder than everything that turned out to be noise."""

_MIN_SHARE = 1 / 3
"""Segments go to sound of at least this fraction of their length or, if all is shorter, to the longest."""


@dataclass(frozen=True, slots=True)
class Levels:
    """The level of a track over time.

    Attributes
    ----------
    times_s : ndarray of float64, shape (n,)
        Where each level was measured, ascending, seconds.
    db : ndarray of float64, shape (n,)
        Levels of the mono mix at the features' sample rate, dBFS; -inf for digital silence.
    step_s : float
        Approximate distance of measurements, seconds.
    """

    times_s: NDArray[np.float64]
    db: NDArray[np.float64]
    step_s: float


@dataclass(frozen=True, slots=True)
class _Span:
    """A stretch of a track and how much of it is sound, seconds."""

    first_s: float
    last_s: float
    sound_s: float


def segment_starts(duration_s: float, spec: FeatureSpec) -> list[float]:
    """Return where the segments of a track start, in seconds.

    There are as many segments as fit without overlap, at least one and at most ``spec.max_segments``. The
    track is divided into that many equal parts, and each segment lies in the middle of its part, rounded down
    to a tenth of a second: intros and endings count less, and the segment of 30.01 s of audio starts at 0.
    """
    n_segments = max(1, min(spec.max_segments, int(duration_s / spec.segment_s + 1e-9)))
    part_s = duration_s / n_segments
    lead_s = max(part_s - spec.segment_s, 0.0) / 2
    return [math.floor((i * part_s + lead_s) * 10 + 1e-6) / 10 for i in range(n_segments)]


def probe_starts(duration_s: float) -> list[float]:
    """Return evenly spaced positions at which to measure the level of a track, in seconds."""
    last_s = max(duration_s - PROBE_S, 0.0)
    n_steps = min(max(math.ceil(last_s / PROBE_STEP_S), 1), MAX_PROBES - 1)
    return [last_s * i / n_steps for i in range(n_steps + 1)]


def replace_silent(
    excerpts: list[Excerpt],
    duration_s: float,
    spec: FeatureSpec,
    measure: Callable[[], Levels],
    read: Callable[[list[float]], list[Excerpt]],
) -> list[Excerpt]:
    """Replace the silent segments of a track by others that are not silent, where there are any.

    Segments with sound stay. The others move, without overlap, to where the track is louder. Those that
    cannot be replaced stay too, unless a replacement overlaps them.

    Parameters
    ----------
    excerpts : list of (float, ndarray of float32)
        The segments as `segment_starts` places them.
    duration_s : float
        Length of the track, seconds.
    spec : FeatureSpec
        Length and sample rate of the segments.
    measure : callable
        Measures the track's level; called only if a segment is silent.
    read : callable
        Reads the segments at the given starts, leaving out those beyond the end of damaged audio.
    """
    sr = spec.sample_rate
    silent = [excerpt for excerpt in excerpts if is_silent(excerpt[1], sr)]
    if not silent or duration_s < spec.segment_s + PROBE_S:
        return excerpts
    levels = measure()
    kept = [excerpt for excerpt in excerpts if not any(excerpt is other for other in silent)]
    noise_db, rejected = FLOOR_DB, silent
    for _ in range(_ROUNDS):
        n_missing = len(excerpts) - len(kept)
        noise_db = max(noise_db, *(_loudest_db(y, sr) + ABOVE_NOISE_DB for _, y in rejected))
        levels = _without_sound(levels, [(start_s, len(y) / sr) for start_s, y in rejected])
        starts = _place(levels, noise_db, duration_s, [start_s for start_s, _ in kept], n_missing, spec)
        found = read(starts) if starts else []
        rejected = [excerpt for excerpt in found if is_silent(excerpt[1], sr)]
        kept += [excerpt for excerpt in found if not any(excerpt is other for other in rejected)]
        if not rejected or len(kept) == len(excerpts):
            break
    taken = [start_s for start_s, _ in kept]
    left = [one for one in silent if all(abs(one[0] - start_s) >= spec.segment_s for start_s in taken)]
    return sorted(kept + left[: len(excerpts) - len(kept)], key=lambda excerpt: excerpt[0])


def _without_sound(levels: Levels, stretches: Sequence[tuple[float, float]]) -> Levels:
    """Add that stretches (start, length in seconds) are silent: two probes may lie around one."""
    ends_s = [end_s for start_s, length_s in stretches for end_s in (start_s, start_s + length_s - PROBE_S)]
    times_s = np.concatenate([levels.times_s, ends_s])
    order = np.argsort(times_s, kind="stable")
    db = np.concatenate([levels.db, np.full(len(ends_s), -np.inf)])
    return Levels(times_s[order], db[order], levels.step_s)


def _loudest_db(y: NDArray[np.float32], sr: int) -> float:
    return max(loudness(y[first : first + sr], sr) for first in range(0, len(y), sr))


def _place(
    levels: Levels,
    noise_db: float,
    duration_s: float,
    kept: Sequence[float],
    n_segments: int,
    spec: FeatureSpec,
) -> list[float]:
    """Return up to `n_segments` starts where the track is louder than the noise, beside the kept segments."""
    length_s = spec.segment_s
    edges = [0.0, *(edge for start_s in sorted(kept) for edge in (start_s, start_s + length_s)), duration_s]
    starts: list[float] = []
    gaps = [gap for gap in zip(edges[::2], edges[1::2], strict=True) if gap[1] - gap[0] >= length_s - 1e-6]
    spans = {gap: _sounding_spans(levels, noise_db, gap, length_s) for gap in gaps}
    every = [span for found in spans.values() for span in found]
    least_s = length_s * _MIN_SHARE
    if not any(span.sound_s >= least_s for span in every) and not kept:
        least_s = max((span.sound_s for span in every), default=0.0)
    usable = {gap: [span for span in found if span.sound_s >= least_s] for gap, found in spans.items()}
    shares = _share_out(n_segments, usable, length_s)
    for gap in gaps:
        wanted = [start for span in usable[gap] for start in _spread(span, shares.get(span, 0), length_s)]
        starts += _side_by_side(wanted, gap, length_s)
    return starts


def _sounding_spans(
    levels: Levels, noise_db: float, gap: tuple[float, float], length_s: float
) -> list[_Span]:
    """Return the stretches of sound in a gap, joining those that one segment can cover together."""
    inside = (levels.times_s >= gap[0] - 1e-6) & (levels.times_s + PROBE_S <= gap[1] + 1e-6)
    sounding = np.concatenate(([False], inside & (levels.db > noise_db), [False]))
    first, last = np.flatnonzero(np.diff(sounding.astype(np.int8))).reshape(-1, 2).T
    spans: list[_Span] = []
    for start_s, end_s in zip(levels.times_s[first], levels.times_s[last - 1] + PROBE_S, strict=True):
        # Sound begins and ends between two probes: add half a step at either end.
        sound_s = float(end_s - start_s) + min(levels.step_s, PROBE_STEP_S)
        if spans and end_s - spans[-1].first_s <= length_s:
            spans[-1] = _Span(spans[-1].first_s, float(end_s), spans[-1].sound_s + sound_s)
        else:
            spans.append(_Span(float(start_s), float(end_s), sound_s))
    return spans


def _share_out(
    n_segments: int, spans: dict[tuple[float, float], list[_Span]], length_s: float
) -> dict[_Span, int]:
    """Allocate segments to stretches of sound in proportion to length (D'Hondt), as far as they fit."""
    shares: dict[_Span, int] = {}
    room = {gap: int((gap[1] - gap[0]) / length_s + 1e-9) for gap in spans}
    for _ in range(n_segments):
        open_to = [
            (span.sound_s / (shares.get(span, 0) + 1), -span.first_s, gap, span)
            for gap, found in spans.items()
            for span in found
            if room[gap] and shares.get(span, 0) < max(1, int(span.sound_s / length_s))
        ]
        if not open_to:
            break
        *_, gap, span = max(open_to, key=lambda choice: choice[:2])
        shares[span] = shares.get(span, 0) + 1
        room[gap] -= 1
    return shares


def _spread(span: _Span, n: int, length_s: float) -> list[float]:
    """Return the starts of `n` segments, each centered in an equal part of the stretch."""
    part_s = (span.last_s - span.first_s) / max(n, 1)
    return [span.first_s + (i + 0.5) * part_s - length_s / 2 for i in range(n)]


def _side_by_side(starts: list[float], gap: tuple[float, float], length_s: float) -> list[float]:
    """Move starts apart and into the gap, rounded down to tenths of a second where they still fit."""
    placed: list[float] = []
    for start_s in sorted(starts):
        placed.append(max(start_s, placed[-1] + length_s if placed else gap[0]))
    last_s = gap[1] - length_s
    for i in reversed(range(len(placed))):
        placed[i] = min(placed[i], last_s)
        last_s = placed[i] - length_s
    rounded = [math.floor(start_s * 10 + 1e-6) / 10 for start_s in placed]
    apart = all(b - a >= length_s - 1e-6 for a, b in pairwise(rounded))
    return rounded if apart and (not rounded or rounded[0] >= gap[0] - 1e-6) else placed
