"""Real encoders for the tests: libsndfile's and FFmpeg's, from float samples to a file's bytes."""

import io
import tempfile
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np
import soundfile as sf
from numpy.typing import NDArray

SOUNDFILE = {
    "wav": ("WAV", "PCM_16"),
    "wav24": ("WAV", "PCM_24"),
    "wav8": ("WAV", "PCM_U8"),
    "wavfloat": ("WAV", "FLOAT"),
    "wavdouble": ("WAV", "DOUBLE"),
    "wavulaw": ("WAV", "ULAW"),
    "wavex": ("WAVEX", "PCM_16"),
    "rf64": ("RF64", "PCM_16"),
    "w64": ("W64", "PCM_16"),
    "caf": ("CAF", "PCM_16"),
    "aiff": ("AIFF", "PCM_16"),
    "au": ("AU", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "flac24": ("FLAC", "PCM_24"),
    "vorbis": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
}
"""libsndfile's container and codec."""

FFMPEG = {
    "m4a": ("ipod", "aac", "fltp"),
    "adts": ("adts", "aac", "fltp"),
    "latm": ("latm", "aac", "fltp"),
    "alac": ("ipod", "alac", "s16p"),
    "wma": ("asf", "wmav2", "fltp"),
    "webm": ("webm", "libopus", "flt"),
    "ac3": ("ac3", "ac3", "fltp"),
    "eac3": ("eac3", "eac3", "fltp"),
    "wavpack": ("wv", "wavpack", "s16p"),
    "tta": ("tta", "tta", "s16"),
    "mp3cbr": ("mp3", "libmp3lame", "fltp"),
    "mp2": ("mp2", "mp2", "s16"),
    "oggflac": ("ogg", "flac", "s16"),
    "oggopus": ("ogg", "libopus", "flt"),
    "mka": ("matroska", "aac", "fltp"),
    "mkaflac": ("matroska", "flac", "s16"),
    "mkamp3": ("matroska", "libmp3lame", "fltp"),
    "mpegts": ("mpegts", "mp2", "s16"),
    "tsaac": ("mpegts", "aac", "fltp"),
    "mov": ("mov", "alac", "s16p"),
    "3gp": ("3gp", "aac", "fltp"),
    "avi": ("avi", "libmp3lame", "fltp"),
    "flv": ("flv", "aac", "fltp"),
    "voc": ("voc", "pcm_s16le", "s16"),
    "amr": ("amr", "libopencore_amrnb", "s16"),
    "ra": ("rm", "real_144", "s16"),
    "spdif": ("spdif", "ac3", "fltp"),
    "spdifmp2": ("spdif", "mp2", "s16"),
}
"""FFmpeg's container, codec and sample format."""

FORMS = ("wav", "aiff", "au", "flac", "vorbis", "opus", "mp3", "m4a", "adts", "alac", "wma", "webm")
"""The formats that catalogs are made of."""

LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}


def encode(y: NDArray[np.float32], rate: int, form: str, /, **options: str) -> bytes:
    """Return the bytes of `y`, shape (n,) or (n, channels), in one of the forms above.

    `options` go to FFmpeg's muxer, such as ``movflags="faststart"``; tags are the encoder's own.
    """
    y = y[:, np.newaxis] if y.ndim == 1 else y
    if form in SOUNDFILE:
        container, subtype = SOUNDFILE[form]
        file = io.BytesIO()
        with sf.SoundFile(file, "w", rate, y.shape[1], subtype=subtype, format=container) as sound:
            for first in range(0, len(y), 1 << 14):  # libsndfile's Opus encoder overflows its stack on more
                sound.write(y[first : first + (1 << 14)])
        return file.getvalue()
    with tempfile.TemporaryDirectory() as folder:  # FFmpeg opens the file again to put an index first
        path = Path(folder) / "track"
        _encode_ffmpeg(path, y, rate, form, options)
        return path.read_bytes()


def _encode_ffmpeg(path: Path, y: NDArray[np.float32], rate: int, form: str, options: dict[str, str]) -> None:
    container, codec, sample_format = FFMPEG[form]
    with av.open(path, "w", format=container, container_options=options) as output:
        stream = output.add_stream(codec, rate=rate, layout=LAYOUTS[y.shape[1]])
        assert isinstance(stream, av.AudioStream)
        stream.format = sample_format
        if codec in ("aac", "wmav2", "libopus"):
            stream.bit_rate = 96_000 * y.shape[1]
        if form == "mp3cbr":
            stream.bit_rate = 320_000
        output.mux(stream.encode(_frame(y, rate, sample_format)))
        output.mux(stream.encode(None))


def _frame(y: NDArray[np.float32], rate: int, sample_format: str) -> av.AudioFrame:
    """Return `y` as one frame; FFmpeg's encoders cut it to their size."""
    planar = sample_format.endswith("p")
    samples = y.T if planar else y.reshape(1, -1)
    if sample_format.startswith("s16"):
        samples = np.clip(np.round(samples * 32767), -32768, 32767).astype(np.int16)
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), sample_format, LAYOUTS[y.shape[1]])
    frame.sample_rate = rate
    frame.pts = 0
    frame.time_base = Fraction(1, rate)
    return frame


def sweep(rate: int, duration_s: float, channels: int = 1) -> NDArray[np.float32]:
    """Return a logarithmic sweep from 100 Hz to 3 kHz at half of full scale, the same in each channel."""
    t = np.arange(round(rate * duration_s)) / rate
    octaves = np.log(30.0)
    y = 0.5 * np.sin(2 * np.pi * 100.0 * duration_s / octaves * (np.exp(t / duration_s * octaves) - 1))
    return np.repeat(y[:, np.newaxis], channels, axis=1).astype(np.float32)


@cache
def noisy_sweeps() -> dict[str, bytes]:
    """Return twelve seconds of a sweep, with noise that makes frames of a usual size, in each of `FORMS`.

    Opus and webm play them at 48 kHz, faster; m4a and alac have their index first, as shops deliver them.
    """
    y = sweep(44100, 12.0, 2)
    y += np.random.default_rng(0).normal(0, 0.02, y.shape).astype(np.float32)
    return {
        form: encode(
            y,
            48000 if form in ("opus", "webm") else 44100,
            form,
            **({"movflags": "faststart"} if form in ("m4a", "alac") else {}),
        )
        for form in FORMS
    }
