"""Plots of a track: a student compares them to the article's, a curator to what is heard."""

import itertools
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import pytest
import soundfile as sf
from matplotlib import get_data_path
from matplotlib.colors import to_rgb

from pipeline.audio.decode.audio import read_segments
from pipeline.audio.features.log_mel import log_mel
from pipeline.models.bundle import ModelBundle
from pipeline.plots import track_plots as plots
from pipeline.plots import track_view
from pipeline.plots.figures import new_figure, to_png, to_svg
from pipeline.plots.fonts import choose_fonts
from pipeline.plots.track_view import view_track
from schemas.errors import EmptyFileError, MisuseError, NotAFileError, NotFoundError, ReadError
from schemas.features import FeatureSpec

pytestmark = pytest.mark.usefixtures("librosa_alone")

SR = 22050
OF_SAMPLES = [
    plots.plot_waveform,
    plots.plot_spectrogram,
    plots.plot_spectral_shape,
    plots.plot_chroma,
    plots.plot_zero_crossings,
    plots.plot_harmonic_percussive,
    plots.plot_tempo,
]


def music(seconds: float = 5.0) -> Any:
    """Two tones, a click twice a second and a little noise."""
    rng = np.random.default_rng(0)
    t = np.arange(round(seconds * SR)) / SR
    y = 0.3 * np.sin(2 * np.pi * 220 * t) + 0.2 * np.sin(2 * np.pi * 1318.5 * t)
    y[:: SR // 2] += 0.4
    return (y + 0.01 * rng.standard_normal(len(t))).astype(np.float32)


def relative_luminance(color: Any) -> float:
    """As in the Web Content Accessibility Guidelines 2.2."""
    rgb = np.asarray(color)
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def line(figure: Any, label: str) -> Any:
    """The values of a labeled curve."""
    (found,) = [one for axes in figure.axes for one in axes.get_lines() if one.get_label() == label]
    return found.get_ydata()


@pytest.mark.slow
def test_the_spectrogram_is_librosas() -> None:
    """The picture would differ from the one in every tutorial."""
    y = music()
    freqs, S_db = plots.spectrogram_db(y, SR)
    S = np.abs(librosa.stft(y, pad_mode="reflect"))
    np.testing.assert_allclose(freqs, librosa.fft_frequencies(sr=SR))
    np.testing.assert_allclose(S_db, librosa.amplitude_to_db(S, ref=np.max, top_db=80), atol=2e-3)


@pytest.mark.slow
def test_the_curves_are_librosas() -> None:
    """The curves would not be those that the tables' means are means of."""
    y = music()
    figure = plots.plot_spectral_shape(y, SR)
    S = np.abs(librosa.stft(y, pad_mode="reflect"))
    centroid = librosa.feature.spectral_centroid(S=S, sr=SR)[0]
    rolloff = librosa.feature.spectral_rolloff(S=S, sr=SR)[0]
    np.testing.assert_allclose(1000 * line(figure, "centroid"), centroid, rtol=1e-4)
    np.testing.assert_allclose(1000 * line(figure, "rolloff"), rolloff, rtol=1e-4)
    crossings = plots.plot_zero_crossings(y, SR).axes[0].get_lines()[0].get_ydata()
    np.testing.assert_allclose(crossings, librosa.feature.zero_crossing_rate(y)[0], atol=1e-6)


def test_the_zoom_marks_every_crossing() -> None:
    """A student counts them."""
    zoom = plots.plot_zero_crossings(music(), SR).axes[1]
    part, _, marks = zoom.get_lines()
    (expected,) = np.nonzero(librosa.zero_crossings(part.get_ydata(), pad=False))
    assert len(expected) > 3
    np.testing.assert_allclose(marks.get_xdata(), 1000 * (expected - 1) / SR)
    assert zoom.get_title(loc="left").startswith(f"{len(expected)} crossings in 10 ms")


def test_the_log_mel_is_the_one_the_model_reads() -> None:
    """An explanation would be drawn over something else than what was explained."""
    spec = FeatureSpec()
    levels, range_db = log_mel(music(), spec)
    drawn = plots.plot_log_mel(levels, range_db, spec, start_s=7.0).axes[0].get_images()[0]
    np.testing.assert_allclose(drawn.get_array(), (levels / 255 - 1) * range_db, atol=1e-4)
    assert drawn.get_extent()[0] == 7.0
    assert drawn.get_extent()[1] == pytest.approx(12.0, abs=2 * spec.mel_hop / SR)


@pytest.mark.parametrize("draw", OF_SAMPLES)
@pytest.mark.parametrize(
    "y", [music(), np.zeros(SR, np.float32), music(1.0)[:1024]], ids=["music", "silence", "short"]
)
def test_every_plot_is_drawn_in_both_forms(draw: Callable[..., Any], y: Any) -> None:
    """A silent or very short track would be an error instead of a picture."""
    figure = draw(y, SR, start_s=3.0)
    assert to_png(figure).startswith(b"\x89PNG")
    svg = to_svg(figure).decode()
    assert "var(--ink)" in svg
    assert "prefers-color-scheme" in svg
    assert "#010203" not in svg


@pytest.mark.parametrize("draw", OF_SAMPLES)
@pytest.mark.parametrize("loudness", [1.0, 0.003, 0.0])
def test_nothing_is_cut_or_hidden(draw: Callable[..., Any], loudness: float) -> None:
    """The label of an axis would stand half outside the picture, or names over the curves that they name."""
    figure = draw(np.float32(loudness) * music(), SR, start_s=1000.0)
    figure.draw_without_rendering()
    legends = [axes.get_legend() for axes in figure.axes if axes.get_legend()]
    scales = [scale for axes in figure.axes for scale in axes.child_axes]
    texts = [text for axes in figure.axes for text in (axes.xaxis.label, axes.yaxis.label, axes._left_title)]
    for each in [text for text in texts if text.get_text()] + legends + scales:
        box = each.get_tightbbox()
        assert figure.bbox.padded(1).count_contains([box.min, box.max]) == 2, each
    for each in legends + scales:
        box = each.get_tightbbox()
        assert box.y0 >= each.axes.bbox.y0
        assert not any(box.overlaps(text.get_window_extent()) for text in texts if text.get_text())
    for legend in legends:
        assert legend.get_tightbbox().y0 >= legend.axes.bbox.y1 - 1, "it stands above the curves"


@pytest.mark.parametrize("draw", [*OF_SAMPLES, plots.spectrogram_db])
@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.zeros(0, np.float32), "mono"),
        (np.stack([music()] * 2), "mono"),
        ((music() * 32767).astype(np.int16), "floating-point"),
        (np.where(np.arange(SR) == 5, np.nan, music(1.0)), "NaN"),
    ],
    ids=["empty", "stereo", "int16", "nan"],
)
def test_samples_that_are_none_are_refused(draw: Callable[..., Any], y: Any, message: str) -> None:
    """Integers or a missing sample would give an empty or wrong picture, and stereo an error of NumPy."""
    with pytest.raises(ValueError, match=message):
        draw(y, SR)


def test_samples_of_other_types_are_drawn() -> None:
    """What another library has decoded would have to be converted first."""
    y = music(1.0)
    _, S_db = plots.spectrogram_db(y, SR)
    for same in (y.tolist(), y.astype(np.float64), np.repeat(y, 2)[::2]):
        np.testing.assert_array_equal(plots.spectrogram_db(same, SR)[1], S_db)


def test_a_sample_rate_may_be_a_float() -> None:
    """Rates that are computed, as of slowed music, would end in a TypeError about slices in one plot."""
    y = np.sin(np.arange(8000, dtype=np.float32))
    assert len(plots.plot_zero_crossings(y, 8000.0).axes) == 2
    for found, expected in zip(plots.spectrogram_db(y, 8000.0), plots.spectrogram_db(y, 8000), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_names_of_genres_fit_beside_the_plot() -> None:
    """Of long names of one's own genres, only the ends could be read; dollars ended in a ParseException."""
    for genres in (
        ("Traditional Irish Folk and Ceilidh", "W" * 150, "Ca$h & x_{$"),
        (*"abcdefghijklmnop", "M" * 99),
    ):
        p = np.full((2, len(genres)), 1 / len(genres))
        figure = plots.plot_genre_probabilities(p, genres, [(0, 10), (20, 10)], duration_s=30)
        figure.draw_without_rendering()
        labels = figure.axes[0].get_yticklabels()
        assert labels[0].get_text().split("\n")[0] == genres[0].split(" ")[0]
        boxes = [label.get_tightbbox() for label in labels]
        assert min(box.x0 for box in boxes) >= 0
        assert not any(lower.y1 > upper.y0 + 1 for lower, upper in itertools.pairwise(boxes))
    usual = ModelBundle.load("default").info.genres
    figure = plots.plot_genre_probabilities(np.full((1, 19), 1 / 19), usual, [(0, 10)], duration_s=10)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == list(usual)


@pytest.mark.filterwarnings("error")
def test_letters_are_drawn_in_a_font_that_has_them(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Japanese genres were boxes, with a warning for each letter, although a font for them was installed."""
    stix = f"{get_data_path()}/fonts/ttf/STIXGeneral.ttf"
    pictures = []
    for installed in ([], [stix], ["absent.ttf"]):
        monkeypatch.setattr("matplotlib.font_manager.findSystemFonts", lambda found=installed: found)
        choose_fonts.cache_clear()
        caplog.clear()
        figure = plots.plot_genre_probabilities(np.full((1, 2), 0.5), ("ᶁ⅊", "b"), [(0, 9)], duration_s=9)
        pictures.append(to_png(figure))
        to_svg(figure)
        boxes = [vars(record).get("fields", {}).get("letters") for record in caplog.records]
        assert boxes == ([] if installed == [stix] else ["ᶁ⅊"])
    choose_fonts.cache_clear()
    assert pictures[0] == pictures[2] != pictures[1]


def test_probabilities_can_be_read_on_their_colors() -> None:
    """White figures stood on middle shades with a contrast of 3.3; people with low vision need 4.5."""
    p = np.linspace(0.05, 1, 96)[:, np.newaxis]
    figure = plots.plot_genre_probabilities(p, ("jazz",), [(i, 1) for i in range(96)], duration_s=96)
    (axes,) = figure.axes
    assert len(axes.texts) == 96
    for text, image in zip(axes.texts, axes.images, strict=True):
        behind = image.to_rgba(image.get_array())[0, 0, :3]
        low, high = sorted((relative_luminance(to_rgb(text.get_color())), relative_luminance(behind)))
        assert (high + 0.05) / (low + 0.05) > 4.5, text


def test_curves_differ_in_more_than_color() -> None:
    """In a report that is printed in black, the rolloff could not be told from the centroid."""
    figure = plots.plot_spectral_shape(music(1.0), SR)
    styles = [curve.get_linestyle() for axes in figure.axes for curve in axes.get_lines()]
    assert sorted(styles) == ["-", "--"]


def test_an_unknown_scale_is_named() -> None:
    """Any other word than linear would be drawn as a logarithmic axis that is said to be something else."""
    scale: Any = "mel"
    with pytest.raises(MisuseError, match="linear or log, not 'mel'"):
        plots.plot_spectrogram(music(), SR, scale=scale)


def test_pictures_say_what_their_colors_mean() -> None:
    """A reader of a spectrogram could not tell 10 dB from 80."""
    levels, range_db = log_mel(music(), FeatureSpec())
    log_mels = plots.plot_log_mel(levels, range_db, FeatureSpec())
    for figure, low in ((plots.plot_spectrogram(music(), SR), 80.0), (log_mels, range_db)):
        (scale,) = figure.axes[0].child_axes
        assert [text.get_text() for text in scale.texts] == [f"−{low:.0f}", "0 dB"]


def test_silence_is_dark() -> None:
    """A spectrogram of nothing would look like the loudest noise there is."""
    _, S_db = plots.spectrogram_db(np.zeros(SR, np.float32), SR)
    assert (S_db == -plots.RANGE_DB).all()


def test_plots_can_be_put_into_one_figure() -> None:
    """A notebook could not lay them out."""
    figure = new_figure(4.0)
    first, second = figure.subfigures(2, 1, squeeze=False).ravel()
    plots.plot_waveform(music(), SR, into=first)
    plots.plot_spectrogram(music(), SR, scale="log", into=second)
    assert len(figure.axes) == 2


def test_a_notebook_shows_a_figure_as_a_picture() -> None:
    """Without pyplot, which teaches notebooks to show figures, a new one would print "Figure(990x220)"."""
    figure = plots.plot_waveform(music(), SR)
    assert figure._repr_png_() == to_png(figure)
    assert to_png(pickle.loads(pickle.dumps(figure))) == to_png(figure)  # noqa: S301 (our own)


def test_the_same_figure_is_the_same_picture() -> None:
    """The pictures in the README would change with every build."""
    assert to_svg(plots.plot_waveform(music(), SR)) == to_svg(plots.plot_waveform(music(), SR))


def test_a_track_is_seen_as_a_run_would_see_it(tmp_path: Path) -> None:
    """The picture would show other seconds than those that were labeled."""
    sf.write(tmp_path / "song.wav", music(100.0), SR)
    view = view_track(str(tmp_path / "song.wav"))
    assert [segment.start_s for segment in view.segments] == [1.6, 35.0, 68.3]
    levels, _ = log_mel(view.segments[1].y, view.spec)
    np.testing.assert_array_equal(view.segment(None).log_mel, levels)
    with pytest.raises(MisuseError, match="no segment 3; it has the segments 0 to 2"):
        view.segment(3)


def test_a_track_is_named_by_a_path_too(tmp_path: Path) -> None:
    """What labels a `Path` would not draw it."""
    sf.write(tmp_path / "song.wav", music(3.0), SR)
    assert view_track(tmp_path / "song.wav").uri == str(tmp_path / "song.wav")


def test_a_track_that_is_written_to_meanwhile_is_not_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Samples of two versions would be drawn as one track."""
    song = tmp_path / "song.wav"
    sf.write(song, music(3.0), SR)

    def read_and_write(*arguments: Any) -> Any:
        found = read_segments(*arguments)
        sf.write(song, music(2.0), SR)
        return found

    monkeypatch.setattr(track_view, "read_segments", read_and_write)
    with pytest.raises(ReadError, match="was written to while it was read"):
        view_track(song)


def test_what_is_no_track_is_said(tmp_path: Path) -> None:
    """A typing error would end in a traceback, a pipe in waiting for ever."""
    (tmp_path / "empty.mp3").touch()
    for name, error in (("none.mp3", NotFoundError), ("empty.mp3", EmptyFileError), (".", NotAFileError)):
        with pytest.raises(error):
            view_track(str(tmp_path / name))
