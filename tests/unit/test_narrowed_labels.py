"""Labels of some genres or styles only: `earmark labels --among` and `--style`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import earmark
from jobs.cli.main import app
from jobs.cli.summaries.labels import print_labels
from pipeline.tables.current import current_labels
from pipeline.tables.narrowed import narrow_labels
from schemas.errors import MisuseError
from schemas.genres import GTZAN_GENRES
from schemas.model import ModelInfo
from schemas.tables import LABELS
from schemas.taxonomy import MusicWeights, Taxonomy, TaxonomyClass
from tests.table_history import MODEL, TableHistory, tracks

GENRES = ("blues", "electronic", "jazz", "rock", "rnb")


def row(p: Sequence[float], genre: str | None = "", labels: Any = None) -> dict[str, Any]:
    """A row of ``labels``; by default with the most probable genre."""
    named = GENRES[int(np.argmax(p))] if genre == "" else genre
    return {
        "track_id": "t", "uri": "u", "etag": "1", "genre": named, "confidence": max(p), "probabilities": p,
        "top3": [], "n_segments": 1, "feature_set": "f", "labeled_at": 0, "run": "r", "is_music": 1.0,
        "style": None, "labels": labels,
    }  # fmt: skip


def narrow(rows: Sequence[dict[str, Any]], *among: str) -> list[dict[str, Any]]:
    batch = pa.RecordBatch.from_pylist(list(rows), LABELS)
    narrowed = narrow_labels(batch, GENRES, among)
    narrowed.validate(full=True)
    assert narrowed.schema.equals(batch.schema)
    return list(narrowed.to_pylist())


def test_the_most_probable_of_the_chosen_genres_is_taken() -> None:
    """A catalog of blues, jazz and rock would keep tracks that are called rnb."""
    (found,) = narrow([row([0.15, 0.1, 0.05, 0.3, 0.4])], "rock", "jazz", "blues")
    assert found["genre"] == "rock"
    assert found["confidence"] == pytest.approx(0.6)
    assert found["probabilities"] == pytest.approx([0.3, 0, 0.1, 0.6, 0])
    assert [each["genre"] for each in found["top3"]] == ["rock", "blues", "jazz"]
    assert [each["probability"] for each in found["top3"]] == pytest.approx([0.6, 0.3, 0.1])


def test_what_has_no_genre_gets_none() -> None:
    """Speech and silence would be called rock."""
    speech, music = narrow([row([0.1, 0.1, 0.1, 0.6, 0.1], None), row([0.1, 0.1, 0.1, 0.6, 0.1])], "jazz")
    assert (speech["genre"], music["genre"]) == (None, "jazz")


def test_the_style_is_one_of_the_new_genre() -> None:
    """A jazz track would have the style techno."""
    labels = [
        {"genre": "electronic", "style": "techno", "probability": 0.8},
        {"genre": "jazz", "style": None, "probability": 0.5},
        {"genre": "jazz", "style": "swing", "probability": 0.4},
        {"genre": "jazz", "style": "bebop", "probability": 0.3},
    ]
    p = [0.1, 0.5, 0.3, 0.1, 0.0]
    (jazz,) = narrow([row(p, labels=labels)], "jazz", "rock")
    (electronic,) = narrow([row(p, labels=labels)], "electronic", "rock")
    (rock,) = narrow([row(p, labels=labels)], "rock")
    assert [each["style"] for each in (jazz, electronic, rock)] == ["swing", "techno", None]


@pytest.mark.parametrize(
    ("p", "among", "genre", "confidence"),
    [
        ([0, 0, 0, 0, 1], ("rock", "jazz"), "jazz", 0),  # nothing is left to divide
        ([0.4, 0, 0.3, 0.3, 0], ("rock", "jazz"), "jazz", 0.5),  # a tie: the order of the model
        ([0.4, 0, 0.3, 0.3, 0], ("blues",), "blues", 1),
        ([1, 0, 0, 1e-38, 0], ("rock", "jazz"), "rock", 1),
    ],
)
def test_a_chosen_genre_is_named_whatever_the_probabilities(
    p: list[float], among: tuple[str, ...], genre: str, confidence: float
) -> None:
    """A genre that was not chosen would be named, or the confidence be NaN."""
    (found,) = narrow([row(p)], *among)
    assert found["genre"] == genre
    assert found["confidence"] == pytest.approx(confidence)
    assert {each["genre"] for each in found["top3"]} == set(among)


def test_among_all_genres_labels_stay_as_they_are() -> None:
    """The two ways to read labels would disagree."""
    p = np.random.default_rng(0).dirichlet(np.ones(len(GENRES)), 50)
    rows = [row(each.tolist()) for each in p]
    batch = pa.RecordBatch.from_pylist(rows, LABELS)
    narrowed = narrow_labels(batch, GENRES, GENRES)
    assert narrowed["genre"].equals(batch["genre"])
    np.testing.assert_allclose(narrowed["confidence"], batch["confidence"], rtol=1e-6)
    part = batch.slice(7, 20)
    assert narrow_labels(part, GENRES, GENRES).equals(narrowed.slice(7, 20))
    assert narrow_labels(batch.slice(0, 0), GENRES, ["jazz"]).num_rows == 0


def test_current_labels_are_chosen_before_they_are_filtered(tmp_path: Any) -> None:
    """Tracks that become jazz would be missing from the jazz, or the confidence asked for be another."""
    history = TableHistory(tmp_path / "tables")
    history.run(tracks(40))
    tables = earmark.open_tables(tmp_path / "tables")
    every = tables.labels().to_pandas()
    p = np.stack(every["probabilities"])[:, [GTZAN_GENRES.index("jazz"), GTZAN_GENRES.index("rock")]]
    jazz = every[p[:, 0] >= p[:, 1]]
    assert 0 < len(jazz) < 40
    assert set(jazz["genre"]) != {"jazz"}
    found = tables.labels(among=["Rock", "JAZZ"], genre="jazz")
    assert found["track_id"].to_pylist() == jazz["track_id"].tolist()
    assert found.schema.equals(current_labels(history.tables, MODEL).schema)
    sure = tables.labels(among=["rock", "jazz"], genre="jazz", min_confidence=0.9)
    assert sure.num_rows == ((p[:, 0] / p.sum(axis=1))[jazz.index] >= 0.9).sum()
    assert tables.labels(among=[]).equals(tables.labels())
    for given in (np.array(["rock", "jazz"]), (name for name in ("rock", "jazz")), {"rock", "jazz"}):
        assert tables.labels(among=given).equals(tables.labels(among=["rock", "jazz"]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"among": ["jaz"]}, r"has no genre 'jaz' \(it has blues, classical"),
        ({"among": "jazz"}, "among is a list of names of genres, not 'jazz'"),
        ({"among": None}, "among is a list of names of genres, not None"),
        ({"among": [1]}, r"among is a list of names of genres, not \[1\]"),
        ({"among": ["jazz", "rock"], "genre": "pop"}, "to choose from do not include 'pop': jazz, rock"),
    ],
)
def test_a_genre_that_is_none_is_named(tmp_path: Any, options: dict[str, Any], message: str) -> None:
    """A mistyped genre would be left out of the choice without a word."""
    TableHistory(tmp_path / "tables").run(tracks(1))
    with pytest.raises(MisuseError, match=message):
        earmark.open_tables(tmp_path / "tables").labels(**options)


def test_labels_of_a_style_are_read(tmp_path: Any) -> None:
    """`labels` shows "electronic / techno", but nobody can ask for it, as a genre or as a style."""
    history = TableHistory(tmp_path / "tables")
    history.model()
    history.run(tracks(4))
    places = ((0, "jazz", None), (1, "jazz", "bebop"), (2, "rock", "punk"))
    classes = tuple(
        TaxonomyClass(index=n, name=f"{n}", genre=genre, style=style) for n, genre, style in places
    )
    weights = MusicWeights(intercept=0, music=1, speech=-1)
    taxonomy = Taxonomy(n_outputs=5, classes=classes, music=3, speech=(4,), is_music=weights)
    info = tmp_path / "tables" / "_models" / MODEL / "model.json"
    changes = {"taxonomy": taxonomy, "genres": taxonomy.genres()}
    info.write_text(
        ModelInfo.model_validate_json(info.read_bytes()).model_copy(update=changes).model_dump_json()
    )
    (part,) = (tmp_path / "tables" / "labels").rglob("*.parquet")
    with pq.ParquetFile(part) as file:
        rows = file.read()
    styles = pa.array(["bebop", "punk", "bebop", None])
    pq.write_table(rows.set_column(rows.column_names.index("style"), "style", styles), part)
    tables = earmark.open_tables(tmp_path / "tables")
    bebop = tables.labels(style="Bebop")
    assert (bebop.num_rows, set(bebop["style"].to_pylist())) == (2, {"bebop"})
    assert tables.labels(style="bebop", min_confidence=1).num_rows == 0
    with pytest.raises(MisuseError, match=r"has no style 'swing' \(it has bebop, punk\)"):
        tables.labels(style="swing")
    with pytest.raises(MisuseError, match=r"no genre 'BEBOP' \(it has .*\); 'bebop' is a style of jazz"):
        tables.labels(genre="BEBOP")
    printed = CliRunner().invoke(app, ["labels", tables.root, "--style", "punk", "--format", "csv"])
    assert len(printed.output.splitlines()) == 2, printed.output


def test_what_is_no_music_has_no_confidence_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """A sermon seemed to be labeled with a confidence of 0.82, in nothing."""
    row = {"style": None, "n_segments": 3}
    rows = [
        {**row, "genre": None, "confidence": 0.82, "is_music": 0.01, "uri": "sermon.mp3"},
        {**row, "genre": None, "confidence": 0.41, "is_music": 0.99, "uri": "unclear.mp3"},
        {**row, "genre": "jazz", "confidence": 0.93, "is_music": None, "uri": "song.mp3"},
    ]
    print_labels(pa.Table.from_pylist(rows))
    _, *lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [["–", "–"], ["–", "0.41"], ["jazz", "0.93"]]
