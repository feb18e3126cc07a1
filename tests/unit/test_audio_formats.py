"""Files from real encoders become mono at 22,050 Hz, at the right position, level and length."""

import io
import itertools

import numpy as np
import pytest
import soxr
from numpy.typing import NDArray

from pipeline.audio.decode.audio import read_segments
from schemas.features import FeatureSpec
from tests.encoders import encode, sweep
from tests.matrix import each_value_once
from tests.whole_audio import open_audio

pytestmark = pytest.mark.slow

DURATION_S = 2.5
SPEC = FeatureSpec()

CODECS = {
    "wav": "wav",
    "wav24": "wav",
    "wav8": "wav",
    "wavfloat": "wav",
    "wavdouble": "wav",
    "wavulaw": "wav",
    "wavex": "wav",
    "rf64": "rf64",
    "w64": "w64",
    "caf": "caf",
    "aiff": "aiff",
    "au": "au",
    "flac": "flac",
    "flac24": "flac",
    "vorbis": "vorbis",
    "opus": "opus",
    "mp3": "mp3",
    "m4a": "aac",
    "adts": "aac",
    "alac": "alac",
    "wma": "wmav2",
    "webm": "opus",
    "wavpack": "wavpack",
}
LOSSLESS = {"wav", "wav24", "wavfloat", "wavdouble", "wavex", "rf64", "w64", "caf", "aiff", "au"} | {
    "flac",
    "flac24",
    "alac",
    "wavpack",
}
# Containers that do not say how much of the start is the encoder's delay: seconds the audio may be off.
DELAY_S = {"adts": 0.13, "wma": 0.07}
RATES = {
    "opus": (8000, 48000),
    "webm": (48000,),
    "mp3": (8000, 44100, 48000),
    "wma": (8000, 44100, 48000),
}
CHANNELS = {"mp3": (1, 2), "wma": (1, 2)}
VARIANTS = {"wav8", "wavdouble", "wavulaw", "wavex", "rf64", "w64", "caf", "flac24", "wavpack"}
CASES = [
    (form, rate, channels)
    for form in CODECS
    for rate, channels in itertools.product(
        RATES.get(form, (8000, 44100, 48000, 96000)), CHANNELS.get(form, (1, 2, 6))
    )
    if form not in VARIANTS or (rate, channels) == (44100, 2)
]


def lag(y: NDArray[np.float32], reference: NDArray[np.float32]) -> int:
    """Return by how many samples `y` is late (the peak of the cross-correlation)."""
    n_fft = 2 * max(len(y), len(reference))
    spectrum = np.fft.rfft(y, n_fft) * np.fft.rfft(reference, n_fft).conj()
    peak = int(np.argmax(np.fft.irfft(spectrum, n_fft)))
    return peak - n_fft if peak > n_fft // 2 else peak


@pytest.mark.parametrize(("form", "rate", "channels"), CASES)
def test_each_format_at_each_rate_and_channel_count(form: str, rate: int, channels: int) -> None:
    """Fails: labels of all files in that format come from shifted, truncated, quiet or wrong audio."""
    y = sweep(rate, DURATION_S, channels)
    info, segments = read_segments(io.BytesIO(encode(y, rate, form)), "track", SPEC)
    reference = soxr.resample(y[:, 0], rate, SPEC.sample_rate, quality="HQ")
    [(start_s, segment)] = segments

    decoded_rate = 48000 if form in ("opus", "webm") else rate
    assert (info.codec, info.sample_rate, info.channels) == (CODECS[form], decoded_rate, channels)
    assert start_s == 0
    assert segment.dtype == np.float32
    delay_s = DELAY_S.get(form, 0.0)
    assert (
        abs(len(segment) / SPEC.sample_rate - DURATION_S) <= (0 if form in LOSSLESS else 0.04) + 2 * delay_s
    )
    assert abs(lag(segment, reference)) <= 1 + delay_s * SPEC.sample_rate
    middle = slice(len(reference) // 4, len(reference) // 2)
    # Lossy encoders leave of the sixth channel, the subwoofer's, only the lowest notes.
    quietest = 5 / 6 if channels == 6 and form not in LOSSLESS else 1.0
    assert 0.95 * quietest <= np.std(segment[middle]) / np.std(reference[middle]) <= 1.05
    if form in LOSSLESS:
        # The mean of equal channels may round in the last bit, 16-bit samples in theirs.
        np.testing.assert_allclose(segment, reference, atol=1e-4)


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 32000, 44100, 48000, 96000, 192000])
def test_thirty_seconds_have_the_same_length_at_any_rate(rate: int) -> None:
    """Fails: segments of one feature set have log-mels of several widths, by the rate of the file."""
    y = np.zeros(30 * rate, np.float32)
    _, [(_, segment)] = read_segments(io.BytesIO(encode(y, rate, "wav")), "track", SPEC)
    assert len(segment) == 661_500


def test_channels_are_averaged() -> None:
    """Fails: an instrument panned to one side counts more, or two full-scale channels clip."""
    rng = np.random.default_rng(0)
    y = rng.uniform(-1, 1, (44100, 2)).astype(np.float32)
    with open_audio(io.BytesIO(encode(y, 44100, "wavfloat")), "track") as audio:
        mono = audio.read(0, 1)
    np.testing.assert_allclose(mono, y.mean(axis=1), atol=1e-7)


@pytest.mark.parametrize("channels", [7, 8, 16])
def test_any_number_of_channels_decodes(channels: int) -> None:
    """Fails: a track in 7.1 crashes its worker, and is quarantined and lost."""
    y = sweep(44100, DURATION_S, channels)
    info, [(_, segment)] = read_segments(io.BytesIO(encode(y, 44100, "vorbis")), "track", SPEC)
    reference = soxr.resample(y[:, 0], 44100, SPEC.sample_rate, quality="HQ")
    assert (info.codec, info.channels, len(segment)) == ("vorbis", channels, len(reference))
    assert np.corrcoef(segment, reference)[0, 1] > 0.99


def test_an_mp3_of_free_format() -> None:
    """Fails: mp3s above 320 kbit/s, as ``lame --freeformat`` writes them, are said to be no audio."""
    usual = encode(sweep(48000, 15, 2), 48000, "mp3cbr", id3v2_version="0", write_xing="0")
    frame_bytes = 960  # of 320 kbit/s at 48 kHz; any size is valid in free format
    assert len(usual) % frame_bytes == 0
    data = bytearray(usual)
    data[2::frame_bytes] = bytes(byte & 0xF for byte in data[2::frame_bytes])
    with open_audio(io.BytesIO(data), "free") as free, open_audio(io.BytesIO(usual), "usual") as audio:
        assert (free.info.codec, free.info.sample_rate, free.info.channels) == ("mp3", 48000, 2)
        assert free.info.duration_s == pytest.approx(15, abs=0.1)
        for start_s in (0, 3, 11):
            np.testing.assert_allclose(free.read(start_s, 0.4), audio.read(start_s, 0.4), atol=1e-3)


# The sweep's tones make an mp3 encoder borrow bits over many frames, what a careless seek gets wrong.
SEEK_TOLERANCE = {
    **dict.fromkeys(("m4a", "adts", "mka", "tsaac", "3gp", "flv", "ac3", "eac3"), 0.02),
    **dict.fromkeys(("mp2", "mpegts"), 1e-4),
    **dict.fromkeys(("webm", "oggopus"), 1e-3),
}
"""AAC and AC-3 leave noise to the decoder to make up; an Opus decoder converges; that of mp2 dithers."""


@pytest.mark.parametrize(
    ("form", "rate"),
    [
        *((form, 44100) for form in ("mka", "mkaflac", "mpegts", "tsaac", "mov", "3gp", "avi", "flv")),
        *((form, 44100) for form in ("oggflac", "eac3", "ac3", "tta", "mp2", "voc", "w64", "caf", "rf64")),
        ("oggopus", 48000),
        ("oggflac", 48000),
        ("amr", 8000),
        ("ra", 8000),
        ("wav", 44100),
        ("wav24", 44100),
        ("aiff", 44100),
        ("au", 44100),
        ("flac", 44100),
        ("mp3", 22050),
        ("mp3", 44100),
        ("vorbis", 44100),
        ("opus", 48000),
        ("m4a", 44100),
        ("adts", 44100),
        ("alac", 44100),
        ("wma", 44100),
        ("webm", 48000),
        ("wavpack", 44100),
    ],
)
def test_an_excerpt_is_a_slice_of_the_whole(form: str, rate: int) -> None:
    """Fails: segments of long tracks contain a decoder's start-up noise or come from another position."""
    data = encode(sweep(rate, 15, 1 if form in ("amr", "ra") else 2), rate, form)
    rng = np.random.default_rng(0)
    with open_audio(io.BytesIO(data), "track") as audio:
        whole = audio.read(0, 20)
        for start in [*rng.integers(0, 13 * rate, 20), 0, 1, rate]:
            excerpt = audio.read(start / rate, 0.4)
            expected = whole[start : start + round(0.4 * rate)]
            assert len(excerpt) == len(expected)
            np.testing.assert_allclose(
                excerpt, expected, atol=SEEK_TOLERANCE.get(form, 1e-6), err_msg=str(start)
            )


@pytest.mark.parametrize(
    ("form", "name"),
    each_value_once(
        ["wav", "flac", "mp3", "m4a", "wma", "vorbis"], ["track.mp3", "track.wav", "track", "track.m4a"]
    ),
)
def test_the_name_does_not_matter(form: str, name: str) -> None:
    """Fails: the many files with a wrong extension cannot be labeled."""
    data = encode(sweep(44100, 1.5, 2), 44100, form)
    file = io.BytesIO(data)
    file.name = name  # decoders look at this attribute of files on disk
    info, _ = read_segments(file, name, SPEC)
    assert info.codec == CODECS[form]
