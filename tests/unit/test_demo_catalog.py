"""The demo catalog, which `earmark demo` and many tests use."""

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import mutagen
import numpy as np
import pytest
import soundfile as sf

from jobs.cli.summaries.demo import next_commands
from pipeline.audio.features.featurize import featurize_track
from pipeline.demo.demo_catalog import MARKER, N_BROKEN, write_demo_catalog, write_demo_shelves
from pipeline.demo.styles import STYLES
from pipeline.demo.synthesis import DRUMS, FADE_S, synthesize
from schemas.errors import DecodeError, EmptyFileError, MisuseError, TooShortError, TrackError
from schemas.features import FeatureSpec
from schemas.genres import GTZAN_GENRES
from tests.benchmarks.long_catalog import LONGEST_S, SHORTEST_S, SR, write_long_catalog


def _files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file() and path.name != MARKER)


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "catalog"
    assert write_demo_catalog(folder, seed=3, n_tracks=21, duration_s=6.0) == 21 + N_BROKEN
    return folder


def test_every_style_is_a_genre_of_the_taxonomy() -> None:
    """The genre tags of the demo cannot be compared with the labels of the model."""
    assert set(STYLES) == set(GTZAN_GENRES)


@pytest.mark.parametrize("style", STYLES)
def test_patterns_fit_the_bar_and_the_drums(style: str) -> None:
    """A mistyped pattern plays out of time, or the demo ends with a KeyError."""
    score = STYLES[style]
    patterns = [voice.pattern for voice in (score.bass, score.comp, score.lead)] + list(score.drums.values())
    assert {len(pattern) for pattern in patterns} in ({8}, {12}, {16})
    assert set("".join(patterns)) == {"x", "-"}
    assert set(score.drums) <= set(DRUMS)
    assert len(score.chords) % 4 == 0


@pytest.mark.parametrize("style", STYLES)
def test_synthesis_is_deterministic_audible_and_fades(style: str) -> None:
    """Tests that compare runs over the demo catalog fail at random."""
    y = synthesize(style, seed=[5], duration_s=8.0, sr=22050)
    assert y.shape == (8 * 22050, 2)
    assert y.dtype == np.float32
    assert np.array_equal(y, synthesize(style, seed=[5], duration_s=8.0, sr=22050))
    assert not np.array_equal(y, synthesize(style, seed=[6], duration_s=8.0, sr=22050))
    assert np.abs(y).max() == pytest.approx(0.8)
    fade_start = len(y) - round(FADE_S * 22050)
    assert y[:fade_start].std() > 0.03
    assert np.abs(y[-20:]).max() < 0.01


def test_styles_sound_different() -> None:
    """The styles sound alike, and the demo demonstrates nothing."""
    spectra = []
    for style in STYLES:
        y = synthesize(style, seed=[1], duration_s=20.0, sr=22050).mean(axis=1)
        bands = np.abs(np.fft.rfft(y))[20 : 20 + 2**17].reshape(64, -1).mean(axis=1)
        spectra.append(np.log10(bands + 1e-9))
    correlation = np.corrcoef(spectra) - np.eye(len(STYLES))
    assert correlation.max() < 0.995


@pytest.mark.slow
def test_formats_tags_and_names(catalog: Path) -> None:
    """The demo lacks the formats, tags and awkward names of real catalogs."""
    playable, artists = Counter[str](), set()
    for path in _files(catalog):
        if path.name.startswith(("98 ", "99 ", "liner ")):
            continue
        playable[path.suffix] += 1
        audio = mutagen.File(path)
        assert audio.info.length > 5
        tags = {key.lower(): str(value[0]) for key, value in audio.tags.items()}
        artist, album = tags.get("artist", tags.get("tpe1")), tags.get("album", tags.get("talb"))
        assert (artist, album) == (path.parent.parent.name, path.parent.name)
        assert path.stem.endswith(tags.get("title") or tags["tit2"])
        assert int((tags.get("date") or tags["tdrc"])[:4]) >= 1959
        assert (tags.get("genre") or tags["tcon"]) in STYLES
        artists.add(artist)
    assert set(playable) == {".wav", ".flac", ".ogg", ".mp3"}
    assert playable.total() == 21
    assert len(artists) == 20
    names = "".join(str(path.relative_to(catalog)) for path in _files(catalog))
    assert all(character in names for character in " #%é東Л")


def test_only_the_broken_files_fail(catalog: Path) -> None:
    """The demo does not have exactly three failures, as it says."""
    failures: dict[str, type[TrackError]] = {}
    for path in _files(catalog):
        try:
            with path.open("rb") as file:
                features = featurize_track(file, str(path), FeatureSpec())
            assert len(features.segments) == 1
        except TrackError as error:
            failures[path.name] = type(error)
    assert failures == {
        "98 Unfinished Upload.mp3": TooShortError,
        "99 Silence.mp3": EmptyFileError,
        "liner notes.mp3": DecodeError,
    }


@pytest.mark.slow
def test_shelves_have_a_folder_for_each_style_and_no_artist_of_the_catalog(tmp_path: Path) -> None:
    """The demo is tested on artists it was trained on, or the training finds a broken file."""
    assert write_demo_shelves(tmp_path / "s", seed=1, n_tracks=11, duration_s=6.0, artists=(1,)) == 11
    write_demo_catalog(tmp_path / "c", n_tracks=11, duration_s=6.0, artists=(0,))
    shelved, listed = _files(tmp_path / "s"), _files(tmp_path / "c")
    assert {path.parent.name for path in shelved} == set(STYLES)
    assert {path.parent.parent for path in shelved} == {tmp_path / "s"}
    artists = [{str(mutagen.File(path, easy=True)["artist"][0]) for path in side if _is_mp3_or_ogg(path)}
               for side in (shelved, listed)]  # fmt: skip
    assert all(artists)
    assert not artists[0] & artists[1]
    for path in shelved:
        with path.open("rb") as file:
            featurize_track(file, str(path), FeatureSpec())


def _is_mp3_or_ogg(path: Path) -> bool:
    return path.suffix in (".mp3", ".ogg") and not path.name.startswith(("98 ", "99 ", "liner "))


@pytest.mark.slow
def test_same_seed_same_catalog(catalog: Path, tmp_path: Path) -> None:
    """The output of the demo cannot be reproduced on another machine."""
    write_demo_catalog(tmp_path / "again", seed=3, n_tracks=21, duration_s=6.0)
    write_demo_catalog(tmp_path / "other", seed=4, n_tracks=21, duration_s=6.0)
    names = [[p.relative_to(root) for p in _files(root)] for root in (catalog, tmp_path / "again")]
    assert names[0] == names[1]
    other = [p.relative_to(tmp_path / "other") for p in _files(tmp_path / "other")]
    assert names[0] != other
    flacs = [path for path in names[0] if path.suffix == ".flac"]
    assert flacs
    for path in flacs:
        assert np.array_equal(sf.read(catalog / path)[0], sf.read(tmp_path / "again" / path)[0])


def test_it_is_written_once_and_replaced_when_the_settings_change(tmp_path: Path) -> None:
    """A second run of the demo decodes everything again, or mixes two catalogs."""
    folder = tmp_path / "catalog"
    folder.mkdir()
    write_demo_catalog(folder, n_tracks=2, duration_s=5.0)
    before = {path: path.stat().st_mtime_ns for path in _files(folder)}
    write_demo_catalog(folder, n_tracks=2, duration_s=5.0)
    assert {path: path.stat().st_mtime_ns for path in _files(folder)} == before
    assert write_demo_catalog(folder, n_tracks=3, duration_s=5.0) == 3 + N_BROKEN
    assert len(_files(folder)) == 3 + N_BROKEN
    assert [path.name for path in tmp_path.iterdir()] == ["catalog"]


@pytest.mark.parametrize("write", [write_demo_catalog, write_demo_shelves])
def test_other_files_in_a_demo_catalog_are_kept(tmp_path: Path, write: Callable[..., int]) -> None:
    """Music that someone put into the demo catalog was deleted with it after an upgrade."""
    folder = tmp_path / "catalog"
    write(folder, n_tracks=1, duration_s=5.0, artists=(0,))
    write(folder, n_tracks=2, duration_s=5.0, artists=(0,))
    own = folder / "my own song.mp3"
    own.write_bytes(b"mine")
    write(folder, n_tracks=2, duration_s=5.0, artists=(0,))
    with pytest.raises(MisuseError, match=r"holds my own song[.]mp3, which is not of the demo catalog"):
        write(folder, n_tracks=1, duration_s=5.0, artists=(0,))
    assert own.read_bytes() == b"mine"
    own.unlink()
    (folder / MARKER).write_text("[1]")
    with pytest.raises(MisuseError, match="move it away, or choose another folder"):
        write(folder, n_tracks=1, duration_s=5.0, artists=(0,))


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    """`earmark demo --out ~/Music` overwrites somebody's music."""
    (tmp_path / "my song.mp3").write_bytes(b"precious")
    with pytest.raises(MisuseError, match="not a demo catalog"):
        write_demo_catalog(tmp_path, n_tracks=1, duration_s=5.0)
    assert [path.name for path in tmp_path.iterdir()] == ["my song.mp3"]
    with pytest.raises(MisuseError, match="not a demo catalog"):
        write_demo_catalog(tmp_path / "my song.mp3", n_tracks=1, duration_s=5.0)


def test_an_unwritable_folder_and_invalid_settings_are_refused(tmp_path: Path) -> None:
    """The user gets a traceback instead of a message."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(MisuseError, match="cannot be written"):
        write_demo_catalog(tmp_path / "file" / "catalog", n_tracks=1, duration_s=5.0)
    with pytest.raises(MisuseError, match="at least 1 track"):
        write_demo_catalog(tmp_path / "catalog", n_tracks=0)
    with pytest.raises(MisuseError, match="too small"):
        write_demo_catalog(tmp_path / "catalog", duration_s=1.0)


@pytest.mark.slow
@pytest.mark.thorough
def test_the_benchmark_catalog_is_real_length_mp3_and_distinct(tmp_path: Path) -> None:
    """Throughput would be measured on files that decode faster, or seek worse, than a user's."""
    size = write_long_catalog(tmp_path, n_tracks=2)
    paths = _files(tmp_path)
    assert sum(path.stat().st_size for path in paths) == size
    contents = set()
    for path in paths:
        info = mutagen.File(path).info
        assert (info.sample_rate, info.channels, str(info.bitrate_mode)) == (44100, 2, "BitrateMode.VBR")
        assert 150_000 < info.bitrate < 240_000
        y, _ = sf.read(path, dtype="float32")
        assert SHORTEST_S < len(y) / SR < LONGEST_S
        assert len(y) / SR == pytest.approx(info.length, abs=0.1)
        assert y[SR : 30 * SR].std() > 0.05
        excerpt, _ = sf.read(path, start=100 * SR, frames=SR, dtype="float32")
        assert np.abs(excerpt - y[100 * SR : 101 * SR]).max() < 1e-3
        contents.add(y[: 60 * SR].tobytes())
    assert len(contents) == len(paths)


@pytest.mark.parametrize(
    ("started", "command"),
    [
        ("/x/venv/lib/python3.11/site-packages/earmark/__main__.py", f"{sys.executable} -m earmark"),
        (".venv/bin/earmark", ".venv/bin/earmark"),
        ("/my tools/earmark", "'/my tools/earmark'"),
    ],
)
def test_the_commands_to_try_next_can_be_copied(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, started: str, command: str
) -> None:
    """A user without an activated environment is given the path of a program that does not exist."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", [started, "demo"])
    lines = next_commands(tmp_path)
    assert any(line.startswith(f"    {command} labels {tmp_path}") for line in lines)
    lines = next_commands(tmp_path / "my demo")
    assert any(line.startswith(f"    {command} labels '{tmp_path}/my demo' ") for line in lines)
