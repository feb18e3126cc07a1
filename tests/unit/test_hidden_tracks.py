"""Tracks with long silence: segments move to the music, and those with music stay where they were."""

import io
from collections.abc import Callable, Iterator
from itertools import pairwise

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.audio.decode.audio import read_segments
from pipeline.audio.decode.excerpts import resample
from pipeline.audio.decode.ffmpeg import FfmpegDecoder
from pipeline.audio.decode.placement import MAX_PROBES, probe_starts, segment_starts
from pipeline.audio.decode.silence import is_silent
from pipeline.demo.synthesis import synthesize
from schemas.features import FeatureSpec
from tests.encoders import encode

pytestmark = pytest.mark.slow

SR = 22050
SPEC = FeatureSpec()
Nothing = Callable[[float], NDArray[np.float32]]
MUSIC = np.asarray(synthesize("jazz", seed=[3], duration_s=100, sr=SR).mean(axis=1), np.float32)


def music(duration_s: float) -> NDArray[np.float32]:
    return MUSIC[: round(duration_s * SR)]


def silence(duration_s: float) -> NDArray[np.float32]:
    return np.zeros(round(duration_s * SR), np.float32)


def dither(duration_s: float) -> NDArray[np.float32]:
    levels = np.random.default_rng(0).integers(-1, 2, round(duration_s * SR))
    return (levels / 32768).astype(np.float32)


def hiss(duration_s: float) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(0, 1e-3, round(duration_s * SR)).astype(np.float32)


def sounding(data: bytes) -> tuple[float, list[float]]:
    """Duration of a track and the starts of its segments that are not silent; checks what always holds."""
    info, segments = read_segments(io.BytesIO(data), "track", SPEC)
    starts = [start_s for start_s, _ in segments]
    assert len(starts) <= len(segment_starts(info.duration_s, SPEC))
    assert all(later - earlier >= SPEC.segment_s - 1e-6 for earlier, later in pairwise(starts))
    for start_s, y in segments:
        assert 0 <= start_s <= info.duration_s - len(y) / SR + 0.1
        assert len(y) == round(SPEC.segment_s * SR)
    return info.duration_s, [start_s for start_s, y in segments if not is_silent(y, SR)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("gap", "form"),
    [
        *((gap, "wav") for gap in (silence, dither, hiss)),
        *((silence, form) for form in ("flac", "mp3")),
        pytest.param(hiss, "m4a", marks=pytest.mark.thorough),
    ],
)
def test_a_hidden_piece_is_found(gap: Nothing, form: str) -> None:
    """Fails: a song followed by ten silent minutes and a hidden track has no genre."""
    data = encode(np.concatenate((music(60), gap(600), music(100))), SR, form)
    _, starts = sounding(data)
    assert len(starts) == 3
    assert [start_s < 31 for start_s in starts] == [True, False, False]
    assert all(start_s > 658 for start_s in starts[1:])


def test_a_hidden_piece_of_a_damaged_file_is_found() -> None:
    """Fails: a track in which seeking fails, all of which is decoded, has no genre."""
    y = np.concatenate((music(60), silence(300), music(100), music(100)))
    data = encode(y, SR, "flac")
    duration_s, starts = sounding(data[: len(data) * 3 // 5])
    assert 440 < duration_s < 470
    assert len(starts) == 3
    assert all(start_s < 31 or start_s > 355 for start_s in starts)


@pytest.mark.parametrize(
    ("parts", "from_s", "to_s"),
    [
        ((silence(700), music(10), silence(490)), 700, 710),
        ((hiss(703), music(10), hiss(487)), 703, 713),
        ((music(8), silence(592)), 0, 8),
        ((silence(592), music(8)), 592, 600),
        ((music(8), silence(51)), 0, 8),
        ((dither(300), 0.01 * music(40), dither(300)), 300, 340),
        ((hiss(100), silence(290), music(12), silence(100)), 390, 402),
    ],
    ids=["short", "short in hiss", "at the start", "at the end", "one segment", "quiet", "after hiss"],
)
def test_little_music_is_found(parts: tuple[NDArray[np.float32], ...], from_s: float, to_s: float) -> None:
    """Fails: an interlude between long rests has no genre, or the noise around it is labeled."""
    _, starts = sounding(encode(np.concatenate(parts), SR, "wav"))
    assert len(starts) == 1
    assert starts[0] <= from_s + 5
    assert starts[0] + SPEC.segment_s >= min(to_s, from_s + SPEC.segment_s - 5)


def test_a_pause_that_the_search_passes_over_is_left_all_the_same() -> None:
    """Fails: in an hour, levels are measured every 15 s, and the segment in a shorter pause stays there."""
    sr = 8000
    hour = np.resize(music(90)[:: SR // sr], 3600 * sr)
    hour[1794 * sr : 1806 * sr] = 0
    data = encode(hour, sr, "wav")
    _, segments = read_segments(io.BytesIO(data), "track", FeatureSpec(segment_s=10, sample_rate=sr))
    assert [is_silent(y, sr) for _, y in segments] == [False] * 3
    assert [start_s for start_s, _ in segments][::2] == [595, 2995]


@pytest.mark.parametrize(("sr", "n_channels"), [(SR, 2), (SR, 6), (2 * SR, 1), (2 * SR, 2)])
def test_noise_that_the_mono_mix_attenuates_is_not_taken_for_sound(sr: int, n_channels: int) -> None:
    """Fails: the channels of a tape have a hiss of their own, louder than in the mix, and it is labeled."""
    noise = np.random.default_rng(0).normal(0, 1e-3, (400 * sr, n_channels)).astype(np.float32)
    y = np.repeat(resample(music(60), SR, sr)[:, np.newaxis], n_channels, axis=1)
    _, starts = sounding(encode(np.concatenate((y, noise, y)), sr, "wav"))
    assert len(starts) == 3
    assert all(start_s <= 30 or start_s >= 460 for start_s in starts)


def test_music_before_silence_is_found_in_a_file_that_ends_too_early() -> None:
    """Fails: the levels of a cut download cannot be measured by seeking, and its music gets no label."""
    y = np.concatenate((music(60), silence(600), music(90), music(90)))
    data = encode(y, SR, "flac")
    duration_s, starts = sounding(data[: len(data) * 3 // 5])
    assert 660 < duration_s < 800
    assert len(starts) == 3
    assert starts[0] < 31


def test_a_format_without_seeks_is_not_decoded_again_for_each_level(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails: a concert as AC-3 with one pause takes minutes, and fails for taking longer than its time."""
    opened: list[FfmpegDecoder] = []
    open_again = FfmpegDecoder._reopen

    def reopen(self: FfmpegDecoder) -> Iterator[av.AudioFrame]:
        opened.append(self)
        return open_again(self)

    monkeypatch.setattr(FfmpegDecoder, "_reopen", reopen)
    sr = 32000
    y = np.concatenate((music(60), silence(300), music(90)))
    duration_s, starts = sounding(encode(resample(y, SR, sr), sr, "ac3"))
    assert duration_s == pytest.approx(450, abs=0.1)
    assert len(starts) == 3
    assert len(opened) < 10


def test_segments_with_music_stay_where_they_are() -> None:
    """Fails: one silent segment moves the others, and their stored features no longer compare."""
    y = np.concatenate((music(70), silence(70), music(70)))
    _, starts = sounding(encode(y, SR, "wav"))
    assert starts == [20.0, 130.0, 160.0]  # the middle one of 20, 90 and 160 was silent


@pytest.mark.parametrize("nothing", [silence, dither, hiss])
def test_a_silent_track_keeps_its_segments(nothing: Nothing) -> None:
    """Fails: a silent track has other segments in each release, or none."""
    _, segments = read_segments(io.BytesIO(encode(nothing(200), SR, "wav")), "track", SPEC)
    assert [start_s for start_s, _ in segments] == segment_starts(200, SPEC)


def test_the_search_is_bounded() -> None:
    """Fails: a silent recording of a day takes longer than the rest of its shard."""
    for duration_s in (31.0, 600.0, 86_400.0, 1e7):
        probes = probe_starts(duration_s)
        assert 2 <= len(probes) <= MAX_PROBES
        assert probes[0] == 0
        assert probes[-1] < duration_s
