"""Similar tracks: exact by the cosine of mean embeddings, with and without the copies in the user's cache."""

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

import earmark
from jobs.cli.main import app
from jobs.purge import purge_job
from pipeline.storage.cache_folder import CACHE_VARIABLE
from pipeline.tables import track_vectors
from pipeline.tables.embeddings import read_vectors
from pipeline.tables.keys import open_keys
from pipeline.tables.maintenance.purge.selection import PurgeRequest
from pipeline.tables.objects import ChosenParts, list_objects
from pipeline.tables.similar import find_nearest, score
from pipeline.tables.track_vectors import as_array, find_vector, read_track_vectors
from schemas.errors import EarmarkError, MisuseError
from tests.table_history import MODEL, TableHistory, tracks

N_NUMBERS = 16
QUERY = np.random.default_rng(9).normal(1, 1, N_NUMBERS).astype(np.float32)
Vectors = dict[str, NDArray[np.float16]]


def silent(name: str) -> bool:
    """Every seventh track is."""
    return int(name[1:]) % 7 == 6


def make_vectors(names: list[str], seed: int = 0) -> Vectors:
    """Vectors of one to five segments of each track."""
    rng = np.random.default_rng(seed)
    found = {}
    for name in names:
        vectors = rng.normal(1.0, 1.0, (rng.integers(1, 6), N_NUMBERS)).astype(np.float16)
        found[name] = vectors * np.float16(not silent(name))
    return found


def plain_cosines(vectors: Vectors) -> dict[str, float]:
    means = {name: each.astype(np.float64).mean(axis=0) for name, each in vectors.items()}
    return {
        name: mean @ QUERY / np.linalg.norm(mean) / np.linalg.norm(QUERY)
        for name, mean in means.items()
        if mean.any()
    }


def scores_of(batches: list[pa.RecordBatch]) -> dict[str, float]:
    names = [name for batch in batches for name in batch["track_id"].to_pylist()]
    assert len(names) == len(set(names))
    return dict(zip(names, score(batches, QUERY).tolist(), strict=True))


def check(history: TableHistory, vectors: Vectors) -> None:
    """The scores are NumPy's, and those of silent tracks are the least."""
    found, expected = (
        scores_of(read_track_vectors(list_objects(history.tables), MODEL)),
        plain_cosines(vectors),
    )
    assert set(found) == set(vectors)
    np.testing.assert_allclose([found[name] for name in expected], list(expected.values()), atol=1e-6)
    assert all(found[name] == -np.inf for name in vectors.keys() - expected.keys())


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def history(tmp_path: Path) -> TableHistory:
    return TableHistory(tmp_path)


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 100_000])
def test_similarities_are_those_of_numpy_however_batches_are_cut(
    history: TableHistory, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """A track whose segments lie in two batches would count twice, with half its sound each."""

    def cut(tables: ChosenParts, model: str) -> Iterator[tuple[pa.RecordBatch, NDArray[np.float16]]]:
        for keys, vectors in read_vectors(tables, model):
            for start in range(0, len(vectors), size):
                yield keys.slice(start, size), vectors[start : start + size]

    monkeypatch.setattr(track_vectors, "read_vectors", cut)
    first, second = make_vectors(list(tracks(60))), make_vectors(list(tracks(9, start=60)), seed=1)
    history.embed("000000", first, run="20260101T000000-0000")
    history.embed("000001", second, run="20260101T000000-0000")
    check(history, first | second)


def test_parts_are_read_once_whatever_happens_to_the_copies(
    history: TableHistory, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each question would take a minute; or, after a crash or another night, be answered wrongly."""
    parts: list[str] = []

    def counted(tables: ChosenParts, model: str) -> Iterator[tuple[pa.RecordBatch, NDArray[np.float16]]]:
        parts.append(tables.chosen["embeddings"][0].name)
        return read_vectors(tables, model)

    monkeypatch.setattr(track_vectors, "read_vectors", counted)
    vectors = make_vectors(list(tracks(20)))
    history.embed("000000", vectors, run="20260101T000000-0000")
    check(history, vectors)
    more = make_vectors(list(tracks(5, start=20)))
    history.embed("000001", more, run="20260102T000000-0000")
    check(history, vectors | more)
    check(history, vectors | more)
    assert parts == ["000000.parquet", "000001.parquet"]
    copies = sorted(cache.rglob("*.arrow"))
    assert len(copies) == 2
    whole = copies[0].read_bytes()
    other = pa.BufferOutputStream()
    with pa.ipc.new_file(other, pa.schema([("something", pa.int8())])) as writer:
        writer.write_batch(pa.record_batch({"something": pa.array([1], pa.int8())}))
    offsets = whole.index(np.arange(0, 5 * 5, 5, dtype=np.int32).tobytes())
    wrong_offset = whole[:offsets] + b"\xff\xff\xff\x7f" * 3 + whole[offsets + 12 :]
    damages = (b"", b"no Arrow", whole[:-100], whole[:500], other.getvalue().to_pybytes(), wrong_offset)
    for number, damage in enumerate(damages, 1):
        copies[0].write_bytes(damage)
        check(history, vectors | more)
        assert len(parts) == 2 + number
    shutil.rmtree(cache)
    check(history, vectors | more)
    parts.clear()
    changed = make_vectors(list(tracks(20)), seed=5)
    os.utime(history.embed("000000", changed, run="20260101T000000-0000"), (1e9, 1e9))
    check(history, changed | more)
    assert parts == ["000000.parquet"]


def test_copies_of_parts_that_are_gone_are_removed(history: TableHistory, cache: Path) -> None:
    """A laptop's disk would fill with a copy of each night's embeddings."""
    vectors = make_vectors(list(tracks(4)))
    part = Path(history.embed("000000", vectors, run="20260101T000000-0000"))
    check(history, vectors)
    (old,) = cache.rglob("*.arrow")
    part.rename(part.with_name("merged.parquet"))
    check(history, vectors)
    assert old.exists(), "another command may still need it"
    killed = old.parent / ".tmp-killed"
    killed.mkdir()
    (killed / "half.arrow").write_bytes(b"x")
    for path in (old, killed):
        os.utime(path, (time.time() - 7200,) * 2)
    check(history, vectors)
    (left,) = cache.rglob("*.arrow")
    assert left != old
    assert not killed.exists()


def test_copies_of_tables_that_nobody_asks_are_removed(
    history: TableHistory, cache: Path, tmp_path: Path
) -> None:
    """Tables are deleted, and a gigabyte for each would stay in the cache."""
    vectors = make_vectors(list(tracks(4)))
    history.embed("000000", vectors, run="20260101T000000-0000")
    other = history.copy(tmp_path / "other")
    for asked in (history, other):
        check(asked, vectors)
    for folder in (cache / "track_vectors").iterdir():
        os.utime(folder, (time.time() - 100 * 86_400,) * 2)
    check(history, vectors)
    (left,) = (cache / "track_vectors").iterdir()
    check(history, vectors)
    assert left.is_dir()
    check(other, vectors)
    assert len(list((cache / "track_vectors").iterdir())) == 2, "and made again when they are asked"


def test_a_cache_that_cannot_be_written_changes_nothing(history: TableHistory, cache: Path) -> None:
    """A container without a home would have no similar tracks."""
    cache.write_text("a file is where the folder should be")
    vectors, more = make_vectors(list(tracks(10))), make_vectors(list(tracks(3, start=10)))
    history.embed("000000", vectors, run="20260101T000000-0000")
    history.embed("000001", more, run="20260101T000000-0000")
    check(history, vectors | more)
    assert cache.read_text().startswith("a file")


@pytest.mark.usefixtures("cache")
def test_vectors_of_different_lengths_are_refused(history: TableHistory) -> None:
    """Two parts that another program wrote would end in an error of a product of matrices."""
    vectors = make_vectors(list(tracks(3)))
    history.embed("000000", vectors, run="20260101T000000-0000")
    shorter = {name: each[:, :5] for name, each in make_vectors(list(tracks(3, start=3))).items()}
    history.embed("000001", shorter, run="20260101T000000-0000")
    for _ in range(2):
        with pytest.raises(EarmarkError, match="differ in length"):
            read_track_vectors(list_objects(history.tables), MODEL)


@pytest.mark.usefixtures("cache")
def test_the_nearest_are_tracks_of_the_catalog_in_order(history: TableHistory) -> None:
    """Deleted tracks, and what a replaced file sounded like, would stand in the list."""
    vectors = make_vectors(list(tracks(300)))
    run = history.run(tracks(300))
    history.embed("000000", vectors, run=run)
    gone = {name: "1" for name in vectors if int(name[1:]) % 10 and name != "t0003"}
    run = history.run({"t0003": "2"}, gone=gone, unchanged=30)
    again = make_vectors(["t0003"], seed=8)
    history.embed("000000", again, run=run, etags={"t0003": "2"})
    expected = plain_cosines(vectors | again)
    present = [name for name in expected if name not in gone and name != "t0050"]
    ordered = sorted(present, key=lambda name: -expected[name])
    with open_keys(history.tables) as keys:
        batches = read_track_vectors(keys.stored, MODEL)
        for n in (1, 5, 1000):
            found = find_nearest(keys, batches, QUERY, n, without="t0050")
            assert found["track_id"].to_pylist() == ordered[:n]
            np.testing.assert_allclose(
                found["similarity"], [expected[name] for name in ordered[:n]], atol=1e-6
            )
    assert find_vector(batches, "t0003", "3") is None
    newest = find_vector(batches, "t0003", "2")
    assert newest is not None
    mean = again["t0003"].astype(np.float64).mean(axis=0)
    np.testing.assert_allclose(newest, mean / np.linalg.norm(mean), atol=1e-6)
    assert all(as_array(batch).shape == (batch.num_rows, N_NUMBERS) for batch in batches)


def test_a_purge_takes_the_copies_along(history: TableHistory, cache: Path) -> None:
    """What an artist wants forgotten would stay on the disk of the one who forgot it."""
    vectors = make_vectors(list(tracks(6)))
    history.embed("000000", vectors, run=history.run(tracks(6)))
    opened = earmark.open_tables(history.tables.root)
    assert "t0003" in opened.similar("t0000")["track_id"].to_pylist()
    (copy,) = cache.rglob("*.arrow")
    purge_job(history.tables, PurgeRequest(frozenset({"t0003"})), delete=True, say=print)
    assert not copy.exists()
    assert opened.similar("t0000").num_rows == 4


@pytest.mark.usefixtures("cache")
def test_parts_that_are_merged_meanwhile_change_nothing(
    history: TableHistory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A question in the minute of a compaction would end in an error, or list a track twice."""
    vectors = make_vectors(list(tracks(12)))
    run = history.run(tracks(12))
    parts = [
        history.embed(f"{number:06}", dict([pair]), run=run) for number, pair in enumerate(vectors.items())
    ]
    opened = earmark.open_tables(history.tables.root)
    expected = opened.similar("t0000", 4)
    history.embed("merged", vectors, run=run)
    found = opened.similar("t0000", 4)
    assert found["track_id"].equals(expected["track_id"]), "a bucket holds both for a while"
    third = Path(parts[3])
    listed = third.with_name("000003.parquet.gone")
    left = [third]

    def swapped(tables: ChosenParts, model: str) -> Iterator[tuple[pa.RecordBatch, NDArray[np.float16]]]:
        while left:
            left.pop().rename(listed)
        return read_vectors(tables, model)

    shutil.rmtree(os.environ[CACHE_VARIABLE])
    monkeypatch.setattr(track_vectors, "read_vectors", swapped)
    found = opened.similar("t0000", 4)
    assert found["track_id"].equals(expected["track_id"])
    np.testing.assert_allclose(found["similarity"], expected["similarity"], atol=1e-6)
    assert listed.exists()


@pytest.mark.usefixtures("cache")
def test_silence_has_no_nearest(history: TableHistory) -> None:
    """A catalog of silence would end in an error of an index."""
    run = history.run(tracks(1, start=6))
    with open_keys(history.tables) as keys:
        assert find_nearest(keys, read_track_vectors(keys.stored, MODEL), QUERY, 3).num_rows == 0
    history.embed("000000", make_vectors(["t0006"]), run=run)
    with open_keys(history.tables) as keys:
        assert find_nearest(keys, read_track_vectors(keys.stored, MODEL), QUERY, 3).num_rows == 0


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[earmark.Tables]:
    """Twelve tracks with embeddings, the second like the first."""
    history = TableHistory(tmp_path_factory.mktemp("similar"))
    run = history.run(tracks(12))
    vectors = {name: history.rng.normal(size=(3, N_NUMBERS)).astype(np.float16) for name in tracks(12)}
    vectors["t0001"] = vectors["t0000"] * 2
    vectors["t0011"] = vectors["t0011"] * 0
    history.embed("000000", vectors, run=run)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(tmp_path_factory.mktemp("cache")))
        yield earmark.open_tables(history.tables.root)


@pytest.mark.parametrize(
    "name", ["t0000", "/music/t0000.mp3", "t0000.mp3", "file:///music/t%30000.mp3", "~/t0000.mp3"]
)
def test_a_track_is_named_by_id_uri_or_path(
    opened: earmark.Tables, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A user copies what another command printed and is told that there is no such track."""
    monkeypatch.setenv("HOME", "/music")
    rows = opened.similar(name, 3)
    columns = ["track_id", "uri", "artist", "title", "duration_s", "genre", "similarity"]
    assert rows.column_names == columns
    assert rows.num_rows == 3
    first = rows.slice(0, 1).to_pylist()[0]
    assert (first["track_id"], first["uri"]) == ("t0001", "/music/t0001.mp3")
    assert first["similarity"] == pytest.approx(1, abs=1e-3)
    genres = {row["track_id"]: row["genre"] for row in opened.labels().to_pylist()}
    assert [row["genre"] for row in rows.to_pylist()] == [genres[row["track_id"]] for row in rows.to_pylist()]


@pytest.mark.usefixtures("cache")
def test_a_link_is_its_track_however_it_is_written(
    history: TableHistory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The track most similar to a track would be the track itself."""
    monkeypatch.setattr("tests.table_history.uri", lambda name: f"{tmp_path}/music/{name}.mp3")
    monkeypatch.setenv("HOME", str(tmp_path))
    history.embed("000000", make_vectors(list(tracks(3))), run=history.run(tracks(3)))
    (tmp_path / "music").mkdir()
    (tmp_path / "music/t0000.mp3").write_bytes(b"")
    (tmp_path / "links").symlink_to("music")
    opened = earmark.open_tables(history.tables.root)
    for name in ((tmp_path / "links/t0000.mp3").as_uri(), "~/links/t0000.mp3"):
        assert opened.similar(name)["track_id"].to_pylist() == opened.similar("t0000")["track_id"].to_pylist()


def test_a_playlist_is_written(opened: earmark.Tables, tmp_path: Path) -> None:
    """A listener would have to copy paths from a table into a player, one by one."""
    for arguments in (["--format", "m3u"], ["--out", str(tmp_path / "mix.M3U8")]):
        done = CliRunner().invoke(app, ["similar", "t0000.mp3", opened.root, "--n", "2", *arguments])
        assert done.exit_code == 0, done.output
        printed = done.stdout_bytes or (tmp_path / "mix.M3U8").read_bytes()
        assert done.stderr.endswith(f"compared by the embeddings of {MODEL}\n") or "written" in done.stderr
        assert "present version" not in done.stderr
        lines = printed.decode().splitlines()
        assert lines[:4] == ["#EXTM3U", "#PLAYLIST:Similar to t0000", "#EXTINF:-1,t0001", "/music/t0001.mp3"]
        assert len(lines) == 6


def test_tracks_without_an_embedding_are_said(opened: earmark.Tables) -> None:
    """After a night that replaced all files, an empty list came "compared with 12 tracks"."""
    done = CliRunner().invoke(app, ["similar", "t0000.mp3", opened.root, "--n", "11"])
    assert done.exit_code == 0, done.output
    assert "embedding of their present version: 10; 'earmark run CATALOG " in done.stderr


@pytest.mark.usefixtures("cache")
def test_the_end_of_a_path_is_enough_if_it_is_one_tracks(history: TableHistory) -> None:
    """With a manifest, the path that one question prints could not be asked about in the next one."""
    names = {"t0/t0001": "1", "t1/t0001": "1", "t1/t0002": "1"}
    vectors = {name: np.full((1, N_NUMBERS), number + 1, np.float16) for number, name in enumerate(names)}
    history.embed("000000", vectors, run=history.run(names))
    opened = earmark.open_tables(history.tables.root)
    assert opened.similar("t0002.mp3").equals(opened.similar("t1/t0002"))
    with pytest.raises(MisuseError, match=r"could be 2 tracks \(/music/t0/t0001.mp3, /music/t1/t0001.mp3\)"):
        opened.similar("t0001.mp3")
    with pytest.raises(MisuseError, match="neither a track"):
        opened.similar("0002.mp3")


def test_what_cannot_be_compared_is_said(opened: earmark.Tables, tmp_path: Path) -> None:
    """A typing error or a silent track would end in a traceback, or in a list of nonsense."""
    with pytest.raises(MisuseError, match="neither a track of the catalog nor a file"):
        opened.similar("long" * 99)
    with pytest.raises(MisuseError, match="silent"):
        opened.similar("t0011")
    with pytest.raises(MisuseError, match="no embeddings"):
        opened.similar("t0000", model="default")
    with pytest.raises(MisuseError, match="at least 1"):
        opened.similar("t0000", 0)
    with pytest.raises(MisuseError, match="neither a track of the catalog nor a file"):
        opened.similar(str(tmp_path / "missing.mp3"))
    with pytest.raises(MisuseError, match="neither a track of the catalog nor a file"):
        opened.similar(os.fsdecode(b"\xff.mp3"))
