"""Importers: labeled data in every form that researchers train and measure on."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from pipeline.audio.features.descriptors import DESCRIPTOR_NAMES
from pipeline.training.data.importers import import_data
from pipeline.training.splits import split_by_lists, split_by_track
from schemas.errors import EarmarkError, MisuseError


def make_table(n: int = 6) -> pd.DataFrame:
    """Return a table in the published form: pieces 0, 1, … of tracks of two genres."""
    rng = np.random.default_rng(0)
    numbers = pd.DataFrame(rng.normal(size=(n, 57)), columns=list(DESCRIPTOR_NAMES))
    names = pd.DataFrame({"filename": [f"jazz.{i // 2:05d}.{i % 2}.wav" for i in range(n)], "length": 66149})
    labels = pd.Series(["jazz" if i < n // 2 else "rock" for i in range(n)], name="label")
    return pd.concat([names, numbers, labels], axis=1)


def write(table: pd.DataFrame, folder: Path) -> str:
    table.to_csv(folder / "features.csv", index=False)
    return str(folder / "features.csv")


def test_the_published_tables_are_read_correctly(gtzan: Path) -> None:
    """In the tables that everybody starts from, columns are mixed up or a piece counts as a track."""
    whole = import_data(str(gtzan / "features_30_sec.csv"))
    table = pd.read_csv(gtzan / "features_30_sec.csv")
    np.testing.assert_array_equal(whole.descriptors, table[list(DESCRIPTOR_NAMES)].to_numpy())
    assert [whole.genres[label] for label in whole.labels] == table["label"].to_list()
    assert whole.tracks[0] == "blues.00000"
    assert (whole.features.segment_s, whole.features.max_segments) == (30, 3)
    assert whole.log_mel is None
    pieces = import_data(str(gtzan / "features_3_sec.csv"))
    assert (len(pieces), len(set(pieces.tracks))) == (2098, 210)
    assert (pieces.features.segment_s, pieces.features.max_segments) == (3, 30)
    train_set, valid_set = split_by_track(pieces, seed=0)
    assert not set(train_set.tracks) & set(valid_set.tracks), "pieces of one track on both sides leak"


def test_extra_columns_spaces_and_unlabeled_rows_are_accepted(tmp_path: Path) -> None:
    """Tables that were saved by a spreadsheet are refused."""
    table = make_table()
    table.loc[0, "label"] = "  "
    table["label"] = table["label"].replace("rock", " rock ")
    table.insert(0, "note", "mine")
    said: list[str] = []
    data = import_data(write(table.drop(columns="length"), tmp_path), say=said.append)
    assert len(data) == 5
    assert said == ["left out because they have no genre: 1 of 6 rows"]
    assert data.genres == ("jazz", "rock")
    assert data.features.segment_s == 30


def spoiled(column: str, row: int, cell: Any) -> pd.DataFrame:
    table = make_table().astype({column: object})
    table.loc[row, column] = cell
    return table


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (make_table().drop(columns="tempo"), r"features\.csv has no column 'tempo': a table"),
        (make_table().drop(columns=["label", "tempo"]), "no column 'label' and 1 more"),
        (spoiled("tempo", 2, "fast"), "line 4: column 'tempo' is 'fast'"),
        (spoiled("mfcc3_var", 5, np.inf), "line 7: column 'mfcc3_var' is 'inf'"),
        (spoiled("rms_var", 0, np.nan), "line 2: column 'rms_var' is ''"),
        (make_table().assign(label=" "), "has no rows with a genre"),
        (make_table().rename(columns={"length": "tempo"}), "two columns of the same name"),
    ],
)
def test_a_table_that_is_wrong_is_refused_by_line_and_column(
    tmp_path: Path, table: pd.DataFrame, message: str
) -> None:
    """Nobody can find the wrong cell among a million."""
    with pytest.raises(MisuseError, match=message):
        import_data(write(table, tmp_path))


def test_files_that_are_not_tables_are_named(tmp_path: Path) -> None:
    """A typing error ends in a traceback."""
    with pytest.raises(EarmarkError, match=r"cannot read .*nope\.csv: it does not exist"):
        import_data(str(tmp_path / "nope.csv"))
    (tmp_path / "odd.csv").write_text("filename,label\na,b\nc\n")
    with pytest.raises(MisuseError, match=r"odd\.csv cannot be read as CSV"):
        import_data(str(tmp_path / "odd.csv"))


def test_an_array_file_can_have_descriptors_and_log_mels(tmp_path: Path) -> None:
    """A model with --arch both cannot be trained on arrays."""
    arrays: dict[str, Any] = {
        "log_mel": np.zeros((4, 16, 20), np.uint8),
        "track": np.array(list("wxyz")),
        "genre": np.array(["a", "a", "b", "b"]),
        "descriptors": np.arange(4 * 57, dtype=np.float64).reshape(4, 57),
    }
    np.savez(tmp_path / "set.npz", **arrays)
    data = import_data(str(tmp_path / "set.npz"))
    np.testing.assert_array_equal(data.descriptors, arrays["descriptors"])
    assert data.features.descriptors
    arrays["descriptors"][2, 16] = np.nan
    np.savez(tmp_path / "set.npz", **arrays)
    with pytest.raises(MisuseError, match=r"must be finite numbers, unlike row 2, column 16 \(tempo\)"):
        import_data(str(tmp_path / "set.npz"))
    np.savez(tmp_path / "set.npz", **(arrays | {"descriptors": np.zeros((4, 56))}))
    with pytest.raises(MisuseError, match=r"it must be float64 \(4, 57\)"):
        import_data(str(tmp_path / "set.npz"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"genre": np.array([0, 0, 1, 1])}, r"genre in .*set\.npz has dtype int64: it must be str"),
        (
            {"genre": np.array(["a", "a", " ", "b"])},
            r"genre in .* is empty in row 2: write a name",
        ),
        ({"genre": np.array(["a", "a", "b", b"M\xe9tal"], "S")}, r"has the bytes b'M\\xe9tal', .* not UTF-8"),
        ({"genre": np.array(["a", "a", "b", None], object)}, r"cannot read .* with .astype\(str\)"),
        ({"track": np.array([b"w", b"x", b"\xff", b"z"])}, r"track in .* has the bytes b'\\xff'"),
        ({"log_mel": np.zeros((4, 7, 20), np.uint8)}, r"log_mel in .* has 7 mel bands: .*equal to 16"),
    ],
)
def test_arrays_that_no_model_could_be_made_of_are_named(
    tmp_path: Path, changes: dict[str, NDArray[np.generic]], message: str
) -> None:
    """A network is trained for hours on genres without names, and lost to an internal error at the end."""
    arrays = {"log_mel": np.zeros((4, 16, 20), np.uint8), "track": np.array(list("wxyz"))}
    genre = np.array(["a", "a ", "b", " b"])
    for spelled in (genre, genre.astype(np.bytes_)):
        np.savez(tmp_path / "set.npz", **(arrays | {"genre": spelled}))
        assert import_data(str(tmp_path / "set.npz")).genres == ("a", "b")
    np.savez(tmp_path / "set.npz", **(arrays | {"genre": genre} | changes))
    with pytest.raises(MisuseError, match=message):
        import_data(str(tmp_path / "set.npz"))


def test_names_of_arrays_can_be_utf8_bytes(tmp_path: Path) -> None:
    """Names that h5py or pandas gave as bytes end in a traceback if one is not English."""
    names = ["señal", "été", "夜"]
    spelled = np.array([name.encode() for name in names])
    np.savez(tmp_path / "set.npz", log_mel=np.zeros((3, 16, 20), np.uint8), track=spelled, genre=spelled)
    data = import_data(str(tmp_path / "set.npz"))
    assert data.tracks.tolist() == names
    assert data.genres == tuple(sorted(names))


def test_an_array_file_that_is_damaged_is_named(tmp_path: Path) -> None:
    """A file that was copied in part ends in a traceback of zlib."""
    path = tmp_path / "set.npz"
    noise = np.random.default_rng(0).integers(0, 9, (4, 16, 99), np.uint8)
    np.savez_compressed(path, log_mel=noise, track=np.array(list("wxyz")), genre=np.array(list("aabb")))
    whole = path.read_bytes()
    path.write_bytes(whole[:200] + bytes(500) + whole[700:])
    with pytest.raises(MisuseError, match="cannot read the array file"):
        import_data(str(path))


def test_lists_can_name_tracks_with_more_or_fewer_folders(tmp_path: Path) -> None:
    """A list with ``blues/blues.00029.wav`` matches nothing in data with other folders, or none."""
    table = make_table()
    table["filename"] = ["a/x.0.wav", "a/x.1.wav", "b/x.wav", "b/y.wav", "z.flac", "c/w.mp3"]
    data = import_data(write(table, tmp_path))
    assert data.tracks.tolist() == ["a/x", "a/x", "b/x", "b/y", "z", "c/w"]
    (tmp_path / "train.txt").write_text("set/a/x.wav\ny.wav\n")
    (tmp_path / "valid.txt").write_text("b/x.wav\nd/z.wav\nother/w.mp3\n")
    train_set, valid_set = split_by_lists(data, tmp_path / "train.txt", tmp_path / "valid.txt")
    assert train_set.tracks.tolist() == ["a/x", "a/x", "b/y"]
    assert valid_set.tracks.tolist() == ["b/x", "z"], "c/w is not other/w"
    (tmp_path / "valid.txt").write_text("x.wav\n")
    with pytest.raises(MisuseError, match="both name the track 'a/x'"):
        split_by_lists(data, tmp_path / "train.txt", tmp_path / "valid.txt")


def test_lists_can_have_names_without_extension_and_a_byte_order_mark(tmp_path: Path) -> None:
    """The first track of a list that Notepad saved, and each with a dot in its name, were in no set."""
    table = make_table()
    table["filename"] = ["Mr. Blue.mp3", "01. Intro.mp3", "x.mp3", "y.mp3", "z.mp3", "w.mp3"]
    data = import_data(write(table, tmp_path))
    (tmp_path / "train.txt").write_text("Mr. Blue\n01. Intro\n", "utf-8-sig")
    (tmp_path / "valid.txt").write_text("x.mp3\n", "utf-8-sig")
    train_set, valid_set = split_by_lists(data, tmp_path / "train.txt", tmp_path / "valid.txt")
    assert train_set.tracks.tolist() == ["Mr. Blue", "01. Intro"]
    assert valid_set.tracks.tolist() == ["x"]


def test_too_few_tracks_to_hold_any_out_are_refused(tmp_path: Path) -> None:
    """The figure is a mean over nothing."""
    with pytest.raises(MisuseError, match="too few to hold some out"):
        split_by_track(import_data(write(make_table(4), tmp_path)), seed=0)
