"""Labeled data is checked before hours are spent on its features, and read back as it was labeled."""

from pathlib import Path

import pytest

from jobs.train_head import train_head_job
from jobs.training.train import TrainRequest
from jobs.training.training_data import choose_label_column, is_audio
from pipeline.models.bundle import ModelBundle, read_info, shipped_models
from pipeline.tables.stored_features import newest_spec
from pipeline.training.data.labeled_tables import find_genres, import_tables
from pipeline.training.provenance import count_seen, describe_provenance
from schemas.errors import MisuseError
from schemas.model import Arch, feature_kinds
from schemas.report import Counts
from tests.table_history import TableHistory, tracks


def lay_out(folder: Path, *names: str) -> str:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return str(folder)


def test_folders_are_genres(tmp_path: Path) -> None:
    data = lay_out(tmp_path, "blues/a.mp3", "jazz/b.flac", "loose.ogg")
    assert choose_label_column(data, None) == "folder"
    assert choose_label_column(data, "genre_tag") == "genre_tag"


@pytest.mark.parametrize(
    ("names", "found"), [(("a.mp3", "b.mp3"), "has none"), (("blues/a.mp3", "b.mp3"), "has only blues")]
)
def test_audio_without_genres_is_refused_before_it_is_decoded(
    tmp_path: Path, names: tuple[str, ...], found: str
) -> None:
    """After an hour of decoding it would be an error of an empty list."""
    data = lay_out(tmp_path, *names)
    with pytest.raises(MisuseError, match=f"{found}; put the tracks of each genre into a folder"):
        choose_label_column(data, None)
    assert choose_label_column(data, "genre_tag") == "genre_tag"


def test_an_ensemble_is_measured_on_one_genre_too(tmp_path: Path) -> None:
    assert choose_label_column(lay_out(tmp_path, "blues/a.mp3"), None, min_genres=1) == "folder"


def test_a_folder_of_csv_files_is_a_manifest_to_train_on(tmp_path: Path) -> None:
    lay_out(tmp_path, "a.mp3", "b.mp3")
    (tmp_path / "list.csv").mkdir()
    for name, style in (("a", "tango"), ("b", "milonga")):
        (tmp_path / "list.csv" / f"{name}.csv").write_text(f"uri,style\n{name}.mp3,{style}\n")
    data = str(tmp_path / "list.csv")
    assert is_audio(data)
    assert choose_label_column(data, "style") == "style"


def test_columns_of_a_manifest_are_checked(tmp_path: Path) -> None:
    lay_out(tmp_path, "a.mp3", "b.mp3")
    manifest = tmp_path / "list.csv"
    manifest.write_text("uri,style,genre\na.mp3,tango,x\nb.mp3,milonga,x\n")
    assert choose_label_column(str(manifest), "style") == "style"
    with pytest.raises(MisuseError, match="has only x; choose another --label-column"):
        choose_label_column(str(manifest), None)
    with pytest.raises(MisuseError, match="no column 'mood'; choose with --label-column: genre, style"):
        choose_label_column(str(manifest), "mood")


@pytest.mark.parametrize(
    "manifest",
    ["uri;label\na.mp3;tango\n", "sep=;\nuri;label\na.mp3;tango\n", "URI,filename,label\na.mp3,a,tango\n"],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_manifest_in_any_dialect_is_audio(tmp_path: Path, manifest: str, encoding: str) -> None:
    """`run` lists it; `train` took it for a table of descriptors that lacks all 57."""
    path = tmp_path / "list.csv"
    path.write_text(manifest, encoding=encoding)
    assert is_audio(str(path))
    path.write_text("filename,tempo,label\na.wav,120,tango\n")
    assert not is_audio(str(path))


def test_an_empty_folder_is_left_to_the_run(tmp_path: Path) -> None:
    """It says more: what it left out, and which files would be audio."""
    assert choose_label_column(str(tmp_path), None) == "folder"


def test_a_model_finds_what_was_computed_for_it() -> None:
    """After a run with another model, `evaluate` would ask for the audio, though the features are there."""
    earlier, newest = (ModelBundle.load(name).info.features for name in ("gtzan", "default"))
    kinds = feature_kinds("cnn")
    assert newest_spec([earlier, newest], **kinds) == newest
    assert newest_spec([earlier, newest], **kinds, like=earlier) == earlier
    assert (
        newest_spec([earlier.model_copy(update={"descriptors": True}), newest], **kinds, like=earlier)
        == earlier
    )
    assert newest_spec([newest], **kinds, like=earlier) == newest
    assert newest_spec([newest.with_descriptors, newest], **feature_kinds("dense"), like=earlier) == (
        newest.with_descriptors.only_descriptors
    )


def test_tables_without_genres_are_refused_in_a_sentence(tmp_path: Path) -> None:
    """To look for none of the tracks is no reading error, for which one would check the disk."""
    history = TableHistory(tmp_path / "tables")
    history.model()
    history.run({"a": "1", "b": "1"})
    with pytest.raises(MisuseError, match="has both features and a genre; choose another --label-column"):
        import_tables(history.tables.root, label_column="genre_tag")


@pytest.mark.parametrize(
    ("arch", "advice"), [("dense", "--only descriptors"), ("both", "--model gtzan --descriptors")]
)
def test_features_that_tables_lack_are_computed_by_the_command_that_is_named(
    tmp_path: Path, arch: Arch, advice: str
) -> None:
    """For both kinds, the advice was to compute the descriptors alone, and then the same again."""
    history = TableHistory(tmp_path / "tables")
    history.model()
    history.run({"a": "1", "b": "1"})
    root = history.tables.root
    with pytest.raises(MisuseError, match=f"'earmark featurize CATALOG {root} {advice}'"):
        import_tables(root, label_column="folder", **feature_kinds(arch))


def test_spellings_of_a_genre_are_one(tmp_path: Path) -> None:
    """Tags of several taggers, Jazz and jazz, would be two genres that a model learns to tell apart."""
    names = [
        "jazz",
        "Jazz",
        "Jazz",
        "JAZZ ",
        "M\u00fasica",
        "Mu\u0301sica",
        "Hip  Hop",
        "hip hop",
        "rock",
        "",
    ]
    tracks = [{"track_id": str(row), "genre_tag": name, "carried": None} for row, name in enumerate(names)]
    found = find_genres(tracks, str(tmp_path), "genre_tag", str(tmp_path))
    assert list(found) == [str(row) for row in range(9)], "a track without a genre has none"
    assert set(found.values()) == {"Jazz", "Mu\u0301sica", "Hip  Hop", "rock"}


def test_tracks_of_a_manifest_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    """All "01.mp3" of a manifest counted as one track, with the genre of the first."""
    history = TableHistory(tmp_path / "tables")
    history.model()
    history.run({"jazz/01": "1", "rock/01": "1"})
    history.report("20270101T000000-0000", Counts(listed=2), catalog="/lists/tracks.csv")
    data = import_tables(history.tables.root, label_column="folder")
    assert dict(zip(data.tracks.tolist(), [data.genres[label] for label in data.labels], strict=True)) == {
        "jazz/01": "jazz",
        "rock/01": "rock",
    }


def test_music_that_a_model_has_seen_is_found_at_any_length(tmp_path: Path) -> None:
    """Training cut log-mels to 388 frames, evaluation to 384: no track of 30 s was found to leak."""
    history = TableHistory(tmp_path / "tables")
    history.model()
    history.run({"jazz/a": "1", "rock/b": "1"})
    history.report("20270101T000000-0000", Counts(listed=2), catalog="/lists/tracks.csv")
    trained, tested = (
        import_tables(history.tables.root, label_column="folder", n_frames=n_frames) for n_frames in (None, 3)
    )
    info = read_info(str(shipped_models()["gtzan"])).model_copy(
        update={"training": dict(describe_provenance(trained, trained))}
    )
    assert count_seen(info, tested.tracks.tolist(), tested).trained_on == 2


def test_tables_beside_tables_are_refused(tmp_path: Path) -> None:
    """A head says nothing of the tables that it was to keep, and they are not there."""
    history = TableHistory(tmp_path / "tables")
    history.run(tracks(2))
    request = TrainRequest(history.tables.root, tmp_path / "head", tables="kept")
    with pytest.raises(MisuseError, match=r"--tables kept has no effect on .*tables, which is tables; omit"):
        train_head_job(request)
