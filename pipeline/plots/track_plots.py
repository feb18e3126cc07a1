"""Plots of a track, for a notebook and for ``earmark plot``.

    from IPython.display import Audio, display
    from pipeline.plots.track_plots import plot_spectrogram, plot_waveform
    from pipeline.plots.track_view import view_track

    segment = view_track("song.mp3").segment(0)
    display(Audio(segment.y, rate=22050))
    display(plot_waveform(segment.y, 22050), plot_spectrogram(segment.y, 22050, scale="log"))

Every function returns a matplotlib figure, or draws into a given one (such as a `SubFigure`). The curves
match the tables, because the functions that compute the descriptors also compute the curves.
"""

from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from pipeline.audio.features.descriptors import check_samples
from pipeline.plots.figures import BLUE, GRAY, GREEN, ORANGE, new_figure, place_axes
from pipeline.plots.fonts import choose_fonts
from pipeline.plots.plot_elements import (
    NAME_PT,
    draw_image,
    draw_legend,
    draw_log_mel,
    draw_scale,
    draw_waveform,
    fit_name,
    frame_times,
    set_title,
    thin_columns,
)
from schemas.errors import MisuseError
from schemas.features import FeatureSpec

if TYPE_CHECKING:
    from matplotlib.figure import FigureBase

Samples = NDArray[np.float32]
Scale = Literal["linear", "log"]
Into: TypeAlias = "FigureBase | None"

TOP_HZ = 10_000.0
"""Upper end of the frequency axis of spectrograms."""
LOWEST_HZ = 32.0
"""Lower end of logarithmic frequency axes."""
RANGE_DB = 80.0
AMIN = 1e-5
"""Smallest magnitude before taking the logarithm, as in ``librosa.amplitude_to_db``."""
_LOG_ROWS = 480
_DARK_TEXT_FROM = 0.44
"""Probability above which black has more contrast than white to the color map viridis."""


def plot_waveform(y: Samples, sr: float, *, start_s: float = 0.0, into: Into = None) -> Any:
    """Plot the samples over time; each pixel column shows the range of its samples.

    Parameters
    ----------
    y : ndarray of float32, shape (n,)
        Mono audio, full scale ±1.
    sr : float
        Sample rate, Hz.
    start_s : float
        Start of the audio in its track, seconds; shifts the time axis.
    into : matplotlib.figure.FigureBase, optional
        The figure to draw into; a new one by default. All functions in this module take it.

    Returns
    -------
    matplotlib.figure.FigureBase
        The new figure, or `into`.

    Raises
    ------
    ValueError
        If `y` is not one-dimensional, is empty, is not of a floating-point type, or has a NaN or infinite
        sample; if `sr` is below 1,000. All functions of samples in this module raise it.
    """
    y = check_samples(y, sr)
    figure, axes = _new_axes(into, "Waveform", 2.0)
    draw_waveform(axes, y, sr, start_s, BLUE)
    axes.set_ylabel("amplitude (±1)")
    return _finish_time_axis(figure, axes, y, sr, start_s)


def plot_spectrogram(
    y: Samples,
    sr: float,
    *,
    scale: Scale = "linear",
    start_s: float = 0.0,
    into: Into = None,
) -> Any:
    """Plot the magnitude spectrogram in dB below its maximum, from 0 (``log``: 32 Hz) to 10 kHz.

    The values equal ``librosa.amplitude_to_db(abs(librosa.stft(y, pad_mode="reflect")), ref=np.max)``.
    Parameters other than `scale` are those of `plot_waveform`.

    Raises
    ------
    MisuseError
        If `scale` is neither ``linear`` nor ``log``.
    """
    if scale not in get_args(Scale):
        raise MisuseError(f"the scale of a spectrogram is {' or '.join(get_args(Scale))}, not {scale!r}")
    freqs, S_db = spectrogram_db(y, sr)
    figure, axes = _new_axes(into, f"Spectrogram, {scale} frequency axis", 2.8)
    top = min(TOP_HZ, sr / 2)
    if scale == "linear":
        rows, low, high = S_db[freqs <= top], 0.0, top / 1000
        axes.set_ylabel("kHz")
    else:
        wanted = np.geomspace(LOWEST_HZ, top, _LOG_ROWS)
        rows, low, high = S_db[np.rint(wanted / freqs[1]).astype(int)], np.log2(LOWEST_HZ), np.log2(top)
        octaves = np.arange(np.ceil(low), high)
        axes.set_yticks(octaves, [f"{2**octave:g}" for octave in octaves])
        axes.set_ylabel("Hz")
    draw_image(axes, thin_columns(rows), (start_s, start_s + len(y) / sr, low, high), (-RANGE_DB, 0))
    draw_scale(axes, "magma", f"−{RANGE_DB:.0f}", "0 dB")
    return _finish_time_axis(figure, axes, y, sr, start_s)


def spectrogram_db(y: Samples, sr: float) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Return the frequencies in Hz, shape (1025,), and the magnitudes in dB, shape (1025, n_frames).

    Silence has no maximum to refer to; all its values are at the floor.
    """
    from pipeline.audio.features.stft import fft_frequencies, stft_blocks

    S = np.concatenate([np.abs(D) for _, D in stft_blocks(check_samples(y, sr), 64)]).T
    largest = float(S.max())
    if largest <= AMIN:
        return fft_frequencies(sr), np.full(S.shape, -RANGE_DB, np.float32)
    S_db = 20 * np.log10(np.maximum(S, AMIN) / largest)
    return fft_frequencies(sr), np.maximum(S_db, S_db.max() - RANGE_DB).astype(np.float32)


def plot_log_mel(
    levels: NDArray[np.uint8],
    range_db: float,
    spec: FeatureSpec,
    *,
    start_s: float = 0.0,
    into: Into = None,
) -> Any:
    """Plot a log-mel spectrogram as the model reads it.

    Parameters
    ----------
    levels : ndarray of uint8, shape (n_mels, n_frames)
        Log-mel levels as stored in the features table.
    range_db : float
        dB between level 0 and level 255.
    spec : FeatureSpec
        The spec that the log-mel was computed with.
    start_s, into
        See `plot_waveform`.
    """
    figure, axes = _new_axes(into, "Log-mel spectrogram, as the model sees it", 2.8)
    S_db = (levels.astype(np.float32) / 255 - 1) * range_db
    draw_log_mel(axes, S_db, spec, start_s, (-max(range_db, 1.0), 0.0))
    draw_scale(axes, "magma", f"−{max(range_db, 1.0):.0f}", "0 dB")
    place_axes(figure)
    return figure


def plot_spectral_shape(y: Samples, sr: float, *, start_s: float = 0.0, into: Into = None) -> Any:
    """Plot the spectral centroid and the rolloff (85 %) in Hz over the waveform; see `plot_waveform`."""
    from pipeline.audio.features.hpss import separate
    from pipeline.audio.features.spectral_shape import spectral_shape

    y = check_samples(y, sr)
    figure, axes = _new_axes(into, "Spectral centroid and rolloff over the waveform", 2.4)
    centroid, _, rolloff = spectral_shape(separate(y)[1], sr)
    behind = axes.twinx()
    draw_waveform(behind, y, sr, start_s, GRAY, alpha=0.35)
    behind.set_yticks([])
    for name, values, color, style in (("rolloff", rolloff, ORANGE, "--"), ("centroid", centroid, BLUE, "-")):
        times = frame_times(values, sr, start_s)
        axes.plot(times, values / 1000, color=color, linestyle=style, linewidth=1, label=name)
    axes.set_zorder(behind.get_zorder() + 1)
    axes.patch.set_visible(False)
    axes.set_ylabel("kHz")
    axes.set_ylim(0, None)
    draw_legend(axes)
    return _finish_time_axis(figure, axes, y, sr, start_s)


def plot_chroma(y: Samples, sr: float, *, start_s: float = 0.0, into: Into = None) -> Any:
    """Plot the power in the twelve pitch classes, relative to the audio's own tuning; see `plot_waveform`."""
    from pipeline.audio.features.chroma import chroma, estimate_tuning, find_peaks
    from pipeline.audio.features.hpss import separate

    y = check_samples(y, sr)
    figure, axes = _new_axes(into, "Chroma", 2.4)
    power = np.square(separate(y)[1])
    tuning = estimate_tuning(find_peaks(power, sr))
    values = chroma(power, sr, tuning).T
    draw_image(axes, thin_columns(values), (start_s, start_s + len(y) / sr, -0.5, 11.5), (0, 1))
    axes.set_yticks(range(0, 12, 2), ("C", "D", "E", "F♯", "G♯", "A♯"))
    axes.set_ylabel(f"tuned {100 * tuning:+z.0f} cents")
    draw_scale(axes, "magma", "0", "1, the strongest")
    return _finish_time_axis(figure, axes, y, sr, start_s)


def plot_zero_crossings(y: Samples, sr: float, *, start_s: float = 0.0, into: Into = None) -> Any:
    """Plot the zero-crossing rate, and the crossings in the loudest 10 ms; see `plot_waveform`."""
    from pipeline.audio.features.spectral_shape import SILENCE, rms, zero_crossing_rate

    y = check_samples(y, sr)
    figure = new_figure(3.6) if into is None else into
    over, zoom = figure.subplots(2, 1)
    rate = zero_crossing_rate(y)
    over.plot(frame_times(rate, sr, start_s), rate, color=BLUE, linewidth=1)
    over.set_title("Zero crossing rate", loc="left", fontsize=10)
    over.set_ylabel("share of samples")
    over.set_xlim(start_s, start_s + len(y) / sr)
    n_shown = int(sr // 100)
    first = int(np.clip(np.argmax(rms(y)) * 512, 0, max(len(y) - n_shown, 0)))
    part = y[first : first + n_shown]
    times = 1000 * np.arange(len(part)) / sr
    (crossings,) = np.nonzero((part[1:] < -SILENCE) != (part[:-1] < -SILENCE))
    zoom.plot(times, part, color=GRAY, linewidth=1, marker=".", markersize=3)
    zoom.axhline(0, color=GRAY, linewidth=0.5)
    zoom.plot(times[crossings], np.zeros(len(crossings)), "o", color=ORANGE, markersize=5)
    zoom.set_title(
        f"{len(crossings)} crossings in 10 ms from {start_s + first / sr:.2f} s", loc="left", fontsize=10
    )
    zoom.set_xlabel("ms")
    place_axes(figure, n_rows=2)
    return figure


def plot_harmonic_percussive(y: Samples, sr: float, *, start_s: float = 0.0, into: Into = None) -> Any:
    """Plot the waveforms of the harmonic and the percussive component; see `plot_waveform`."""
    from pipeline.audio.features.hpss import separate

    y = check_samples(y, sr)
    figure, axes = _new_axes(into, "Harmonic and percussive parts", 2.4)
    harmonic = separate(y)[0]
    for name, part, color in (("harmonic", harmonic, BLUE), ("percussive", y - harmonic, ORANGE)):
        draw_waveform(axes, part, sr, start_s, color, alpha=0.6, label=name)
    draw_legend(axes)
    axes.set_ylabel("amplitude (±1)")
    return _finish_time_axis(figure, axes, y, sr, start_s)


def plot_tempo(y: Samples, sr: float, *, start_s: float = 0.0, into: Into = None) -> Any:
    """Plot the onset strength, with the estimated tempo in the title; see `plot_waveform`."""
    from pipeline.audio.features.hpss import separate
    from pipeline.audio.features.mfcc import mel_db
    from pipeline.audio.features.tempo import onset_strength, tempo

    y = check_samples(y, sr)
    onsets = onset_strength(mel_db(np.square(separate(y)[1]), sr))
    bpm = tempo(onsets, sr)
    title = f"Onset strength, tempo {bpm:.1f} BPM" if bpm else "Onset strength, no tempo"
    figure, axes = _new_axes(into, title, 2.0)
    axes.plot(frame_times(onsets, sr, start_s), onsets, color=GREEN, linewidth=1)
    axes.set_ylabel("dB")
    return _finish_time_axis(figure, axes, y, sr, start_s)


def plot_genre_probabilities(
    probabilities: NDArray[np.float64],
    genres: tuple[str, ...],
    spans: list[tuple[float, float]],
    *,
    duration_s: float,
    into: Into = None,
) -> Any:
    """Plot the calibrated probability of each genre for each segment over the whole track.

    Parameters
    ----------
    probabilities : ndarray of float64, shape (n_segments, n_genres)
        Rows sum to 1.
    genres : tuple of str
        Names of the columns.
    spans : list of (float, float)
        Start and length of each segment, seconds.
    duration_s : float
        Length of the track, seconds.
    """
    figure, axes = _new_axes(into, "Probability of each genre, by segment", 2.8)
    for row, (start_s, length_s) in zip(probabilities, spans, strict=True):
        extent = (start_s, start_s + length_s, -0.5, len(genres) - 0.5)
        axes.imshow(
            row[:, np.newaxis], aspect="auto", origin="lower", extent=extent, cmap="viridis", vmin=0, vmax=1
        )
        for i in np.flatnonzero(row >= 0.05):
            color = "#000000" if row[i] > _DARK_TEXT_FROM else "#ffffff"
            axes.text(
                start_s + length_s / 2, i, f"{row[i]:.2f}", color=color, ha="center", va="center", fontsize=8
            )
    draw_scale(axes, "viridis", "0", "1")
    n_lines = max(1, round(12 / len(genres)))
    names = [fit_name(axes, name, n_lines) for name in genres]
    families = choose_fonts("".join(genres))[0]
    axes.set_yticks(range(len(genres)), names, fontsize=NAME_PT, parse_math=False, family=families)
    axes.set_xlim(0, duration_s)
    axes.set_xlabel("s in the track")
    place_axes(figure)
    return figure


def _new_axes(into: Into, title: str, height_in: float) -> tuple[Any, Any]:
    figure = new_figure(height_in) if into is None else into
    axes = figure.subplots()
    set_title(axes, title)
    return figure, axes


def _finish_time_axis(figure: Any, axes: Any, y: Samples, sr: float, start_s: float) -> Any:
    axes.set_xlim(start_s, start_s + len(y) / sr)
    axes.set_xlabel("s")
    place_axes(figure)
    return figure
