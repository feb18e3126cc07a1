"""Similar tracks: exact by the cosine of mean embeddings, however the rows are cut into batches."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import earmark
from pipeline.shards.segment_rows import embedding_rows
from pipeline.tables.similar import pick_nearest, score_tracks
from schemas.errors import MisuseError
from tests.table_history import MODEL, TableHistory, tracks

N_NUMBERS = 16


def segments(n_tracks: int, seed: int = 0) -> tuple[list[str], np.ndarray]:
    """Ids and vectors of tracks of one to five segments; every seventh is silent."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 6, n_tracks)
    ids = [f"t{number:04}" for number, length in enumerate(lengths) for _ in range(length)]
    vectors = rng.normal(1.0, 1.0, (len(ids), N_NUMBERS)).astype(np.float16)
    vectors[[int(name[1:]) % 7 == 6 for name in ids]] = 0
    return ids, vectors


def batches(ids: list[str], vectors: np.ndarray, size: int) -> Iterator[tuple[pa.RecordBatch, np.ndarray]]:
    for start in range(0, len(ids), size):
        chosen = ids[start : start + size]
        keys = pa.RecordBatch.from_pydict({"track_id": chosen, "etag": ["1"] * len(chosen)})
        yield keys, vectors[start : start + size]


def plain_cosines(ids: list[str], vectors: np.ndarray, query: np.ndarray) -> dict[str, float]:
    found = {}
    for name in dict.fromkeys(ids):
        mean = vectors[[other == name for other in ids]].astype(np.float64).mean(axis=0)
        if mean.any():
            found[name] = mean @ query / np.linalg.norm(mean) / np.linalg.norm(query)
    return found


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 100_000])
def test_similarities_are_those_of_numpy_however_batches_are_cut(size: int) -> None:
    """A track whose segments lie in two batches would count twice, with half its sound each."""
    ids, vectors = segments(60)
    query = np.random.default_rng(9).normal(1, 1, N_NUMBERS).astype(np.float32)
    scores = score_tracks(batches(ids, vectors, size), query)
    found = dict(zip(scores["track_id"].to_pylist(), scores["similarity"].to_pylist(), strict=True))
    expected = plain_cosines(ids, vectors, query)
    assert scores.num_rows == len(found) == len(expected)
    np.testing.assert_allclose([found[name] for name in expected], list(expected.values()), atol=1e-6)


def test_the_nearest_are_tracks_of_the_catalog_in_order() -> None:
    """Deleted tracks would stand in the list, in place of tracks that are there."""
    ids, vectors = segments(300)
    query = np.ones(N_NUMBERS, np.float32)
    scores = score_tracks(batches(ids, vectors, 50), query)
    expected = plain_cosines(ids, vectors, query)
    present = [name for name in expected if int(name[1:]) % 10 == 0 and name != "t0050"]
    listed = pa.table({"track_id": [*present, "t0050"], "etag": ["1"] * (len(present) + 1)})
    ordered = sorted(present, key=lambda name: -expected[name])
    for n in (1, 5, 1000):
        found = pick_nearest(scores, listed, n, without="t0050")
        assert found["track_id"].to_pylist() == ordered[:n]


def test_no_scores_have_no_nearest() -> None:
    """A catalog of silence would end in an error of an index."""
    scores = score_tracks(iter(()), np.ones(3, np.float32))
    assert pick_nearest(scores, pa.table({"track_id": ["a"], "etag": ["1"]}), 3).num_rows == 0


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> earmark.Tables:
    """Twelve tracks with embeddings, the second like the first."""
    history = TableHistory(tmp_path_factory.mktemp("similar"))
    run = history.run(tracks(12))
    rows = [
        {"track_id": name, "etag": etag, "segment": number, "start_s": 0.0, "n_frames": 4, "range_db": 80.0}
        for name, etag in tracks(12).items()
        for number in range(3)
    ]
    vectors = history.rng.normal(size=(len(rows), N_NUMBERS)).astype(np.float32)
    vectors[3:6] = vectors[:3] * 2
    vectors[33:] = 0
    history.write("embeddings", "000000", embedding_rows(rows, vectors), model=MODEL, run=run)
    return earmark.open_tables(history.tables.root)


@pytest.mark.parametrize("name", ["t0000", "/music/t0000.mp3", "t0000.mp3"])
def test_a_track_is_named_by_id_uri_or_path(opened: earmark.Tables, name: str) -> None:
    """A user copies what another command printed and is told that there is no such track."""
    rows = opened.similar(name, 3)
    assert rows.column_names == ["track_id", "uri", "artist", "title", "genre", "similarity"]
    assert rows.num_rows == 3
    first = rows.slice(0, 1).to_pylist()[0]
    assert (first["track_id"], first["uri"]) == ("t0001", "/music/t0001.mp3")
    assert first["similarity"] == pytest.approx(1, abs=1e-3)
    genres = {row["track_id"]: row["genre"] for row in opened.labels().to_pylist()}
    assert first["genre"] == genres["t0001"]


def test_what_cannot_be_compared_is_said(opened: earmark.Tables, tmp_path: Path) -> None:
    """A typing error or a silent track would end in a traceback, or in a list of nonsense."""
    with pytest.raises(MisuseError, match="silent"):
        opened.similar("t0011")
    with pytest.raises(MisuseError, match="no embeddings"):
        opened.similar("t0000", model="default")
    with pytest.raises(MisuseError, match="at least 1"):
        opened.similar("t0000", 0)
    with pytest.raises(MisuseError, match="neither a track of the catalog nor a file"):
        opened.similar(str(tmp_path / "missing.mp3"))
