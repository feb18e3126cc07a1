"""Genre trends: numbers checked against SQL, intervals and verdicts against known truth."""

import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from mutagen.id3 import TCON
from scipy import stats

from jobs.cli.summaries import trends as summary
from jobs.cli.summaries.trends import print_trends
from jobs.console import output
from jobs.console.output import PlainConsole
from jobs.trends import write_trends_page
from pipeline.models.bundle import shipped_models
from pipeline.models.metrics import Z95, wilson_interval
from pipeline.pages.charts import nice_ticks
from pipeline.storage.track_paths import find_root
from pipeline.tables.current import current_labels
from pipeline.tables.ddl import generate_ddl
from pipeline.tables.kept_models import read_kept_info
from pipeline.tables.tables import Tables
from pipeline.trends.artists import count_artists, summarize_artists
from pipeline.trends.genre_tags import match_spelling, normalize_tag
from pipeline.trends.grouping import read_values
from pipeline.trends.labeled_tracks import open_labeled_tracks
from pipeline.trends.rising_falling import adjust_p_values, fit_changes, trim_strays
from pipeline.trends.shares import Weight, compute_shares, sum_by_group
from pipeline.trends.trends import Trends, compute_trends, tabulate_shares, tabulate_tags
from schemas.errors import EarmarkError, MisuseError
from schemas.genres import GTZAN_GENRES
from tests.slow_trends import sum_arrays
from tests.trend_tables import CATALOG, MODEL, YEARS, add_night, draw, write_trend_tables

N_TRACKS = 3000
DEFAULT_MODEL = str(shipped_models()["default"])


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """Tables of three nights, and a later night that changed some of the tracks."""
    made = Tables(str(tmp_path_factory.mktemp("trends")))
    write_trend_tables(made, N_TRACKS, seed=3)
    add_night(made)
    return made


@pytest.fixture(scope="module")
def sql(tables: Tables) -> duckdb.DuckDBPyConnection:
    """DuckDB with the tables and a view of each label's probability by genre."""
    database = duckdb.connect()
    database.execute(generate_ddl(tables, "duckdb"))
    names = ", ".join(f"'{genre}'" for genre in GTZAN_GENRES)
    database.execute(f"""
        create view listed as select * from tracks qualify
            row_number() over (partition by track_id order by listed_at desc) = 1;
        create view first_seen as
            select track_id, cast(min(listed_at) as date) as seen from tracks group by 1;
        create view long as
            select l.track_id, l.genre as label, l.confidence, unnest([{names}]) as genre,
                   unnest(probabilities) as p,
                   t.year, t.artist, t.album, t.uri, t.genre_tag, substr(t.release_date, 1, 7) as month,
                   t.carried['label'] as manifest, seen
            from current_labels l join listed t using (track_id) join first_seen using (track_id);
    """)
    return database


def _found(tables: Tables, by: str, **options: Any) -> Trends:
    with open_labeled_tracks(tables, MODEL, [by], CATALOG) as labeled:
        return compute_trends(labeled, by, **options)


def _rewrite(root: Path, table: str, column: str, values: Sequence[object]) -> None:
    """Set a column in all parts of a table; the values are repeated as often as needed."""
    for part in sorted((root / table).rglob("*.parquet")):
        rows = pq.read_table(part, partitioning=None)
        place = rows.schema.get_field_index(column)
        repeated = [values[row % len(values)] for row in range(rows.num_rows)]
        array = pa.array(repeated, rows.schema.field(place).type)
        field = rows.schema.field(place).with_nullable(True)
        pq.write_table(rows.set_column(place, field, array), part)


def test_the_labels_that_hold_now(tables: Tables) -> None:
    """An analyst would count tracks that have left, old versions, or the same track twice."""
    expected = current_labels(tables, MODEL)
    with open_labeled_tracks(tables, MODEL, [], CATALOG) as labeled:
        rows = labeled.query("FROM labeled")
        uris = labeled.gather_tracks(rows, ["uri"])["uri"].to_pylist()
    assert rows.num_rows == N_TRACKS - 20
    found = dict(zip(uris, rows["genre"].to_pylist(), strict=True))
    want = dict(zip(expected["uri"].to_pylist(), expected["genre"].to_pylist(), strict=True))
    assert {uri: GTZAN_GENRES[code] for uri, code in found.items()} == want


@pytest.mark.parametrize(
    ("by", "column"),
    [
        ("year", "year"),
        ("month", "month"),
        ("seen", "seen"),
        ("artist", "artist"),
        ("album", "artist || ' – ' || album"),
        ("folder", "split_part(uri, '/', 3)"),
        ("label", "manifest"),
    ],
)
@pytest.mark.parametrize("weight", ["count", "confidence"])
def test_shares_are_what_sql_says(
    tables: Tables, sql: duckdb.DuckDBPyConnection, by: str, column: str, weight: str
) -> None:
    """Every number of `earmark trends` would be wrong for that grouping."""
    w = "cast(1 as double)" if weight == "count" else "cast(confidence as double)"
    expected = sql.execute(f"""
        select {column} as g, genre, count(*) as tracks, sum(if(label = genre, {w}, 0)) as count,
               sum({w} * p) as expected, sqrt(sum({w} * {w} * p * (1 - p))) as sd,
               sum({w} * p) / sum({w}) as share
        from long where {column} is not null group by 1, 2
    """).fetchall()
    rows = tabulate_shares(_found(tables, by, weight=weight)).to_pylist()
    found = {(row[by], row["genre"]): row for row in rows}
    assert len(found) == len(rows) == len(expected)
    for name, genre, *numbers in expected:
        row = found[name, genre]
        assert [row[key] for key in ("tracks", "count", "expected", "expected_sd", "share")] == pytest.approx(
            numbers, rel=1e-4, abs=1e-6
        )
        assert row["low"] <= row["share"] <= row["high"]


def test_tags_confidences_and_artists_are_what_sql_says(
    tables: Tables, sql: duckdb.DuckDBPyConnection
) -> None:
    """The heat map, the histogram and the list of artists would show other numbers than the tables hold."""
    found = _found(tables, "year")
    tags = "replace(replace(lower(genre_tag), 'hip-hop/rap', 'hiphop'), 'heavy ', '')"
    expected = sql.execute(f"""
        select {tags}, label, count(*) from long where genre = 'blues' and genre_tag is not null group by 1, 2
    """).fetchall()
    assert sorted(map(tuple, (row.values() for row in tabulate_tags(found).to_pylist()))) == sorted(expected)
    wrong = sql.execute(f"""
        select max(confidence), count(*) from long
        where genre = 'blues' and genre_tag <> 'Sea Shanty' and {tags} <> label
    """).fetchone()
    assert wrong is not None
    assert found.tags.disagreements["confidence"][0].as_py() == pytest.approx(wrong[0])
    assert found.tags.n_comparable - found.tags.n_agree == wrong[1]
    bins = sql.execute("""
        select cast(floor(confidence * 20) as int), count(*) from long where genre = 'blues' group by 1
    """).fetchall()
    assert {i: n for i, n in enumerate(found.confidences.tolist()) if n} == dict(bins)
    artists = sql.execute("""
        select artist, count(*), avg(confidence), min(year), max(year) from long
        where genre = 'blues' group by 1
    """).fetchall()
    with open_labeled_tracks(tables, MODEL, ["year", "artist"], CATALOG) as labeled:
        rows = summarize_artists(labeled).to_pylist()
        assert summarize_artists(labeled, top=3).to_pylist() == rows[:3]
        assert count_artists(labeled) == len(rows)
    by_name = {row["artist"]: row for row in rows}
    assert len(by_name) == len(rows) == len(artists)
    for name, tracks, confidence, first, last in artists:
        row = by_name[name]
        assert (row["tracks"], row["first_year"], row["last_year"]) == (tracks, first, last)
        assert row["confidence"] == pytest.approx(confidence, rel=1e-5)
    assert [row["tracks"] for row in rows] == sorted((row["tracks"] for row in rows), reverse=True)


def test_top_keeps_the_largest_groups(tables: Tables) -> None:
    """`--top 3` would show other folders than the three with most tracks."""
    whole, top = _found(tables, "folder"), _found(tables, "folder", top=3)
    assert top.groups.names == whole.groups.names[:3]
    assert (top.shares.tracks == whole.shares.tracks[:3]).all()
    assert top.n_smaller == whole.shares.tracks[3:].sum()
    assert top.n_ungrouped == whole.n_ungrouped


def test_tracks_of_other_years_are_not_without_a_year(
    tables: Tables, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With `--top 3`, the page would say of nearly all tracks that they have no year."""
    found = write_trends_page(tables, MODEL, str(tmp_path / "page.html"), by="year", top=3)
    assert found.n_ungrouped == _found(tables, "year").n_ungrouped > 0
    said = f"{found.n_smaller:,} tracks in other groups", f"{found.n_ungrouped:,} tracks without year"
    assert f"Not shown: {'; '.join(said)}." in (tmp_path / "page.html").read_text()
    print_trends(found, top=3)
    assert "\n".join(said) in capsys.readouterr().out


def test_the_main_genre_is_that_of_the_largest_share(tables: Tables, tmp_path: Path) -> None:
    """An artist with 35.4 % jazz and 34.6 % blues would be a blues artist, because both are 35 %."""
    write_trends_page(tables, MODEL, str(tmp_path / "page.html"), by="year")
    data = re.search(r'id="data">(.*?)</script>', (tmp_path / "page.html").read_text(), re.DOTALL)
    assert data is not None
    artists = json.loads(data[1])["artists"]
    with open_labeled_tracks(tables, MODEL, ["year", "artist"], CATALOG) as labeled:
        shares = np.array(summarize_artists(labeled)["shares"].to_pylist())
    assert artists["main"] == shares.argmax(axis=1).tolist()
    assert artists["main"] != np.round(100 * shares).argmax(axis=1).tolist(), "the test shows nothing"


@pytest.mark.parametrize("weight", ["count", "confidence"])
def test_sums_are_those_of_arrays(tables: Tables, weight: Weight) -> None:
    """Shares would depend on which of two ways they are computed in."""
    with open_labeled_tracks(tables, MODEL, ["folder", "month"], CATALOG) as labeled:
        rows = labeled.query("FROM labeled")
        found = {by: sum_by_group(labeled, by, weight) for by in ("folder", "month")}
    p = np.stack([rows[f"p{genre}"] for genre in range(len(GTZAN_GENRES))], axis=1)
    winner = np.asarray(pc.fill_null(rows["genre"], -1), np.int64)
    confidence = np.asarray(rows["confidence"])
    for number, (by, sums) in enumerate(found.items()):
        names = sums["name"].to_pylist()
        codes = pc.fill_null(pc.index_in(rows[f"group{number}"], sums["name"].combine_chunks()), -1)
        expected = sum_arrays(
            np.asarray(codes, np.int64), len(names), p, winner, confidence if weight == "confidence" else None
        )
        assert sums["tracks"].to_pylist() == expected["tracks"].to_pylist(), by
        for column in ("weight", "squares"):
            assert sums[column].to_pylist() == pytest.approx(expected[column].to_pylist(), abs=1e-9)
        for column in ("count", "expected", "variance"):
            assert np.array(sums[column].to_pylist()) == pytest.approx(
                np.array(expected[column].to_pylist()), abs=1e-9
            )


def test_a_manifest_column_may_be_called_genre(tmp_path: Path) -> None:
    """Shares by the manifest's own genre column, a curator's first question, would lose the group names."""
    tables = Tables(str(tmp_path))
    write_trend_tables(tables, 300)
    _rewrite(tmp_path, "tracks", "carried", [[("genre", "soul")], [("genre", "funk")], [("genre", "soul")]])
    rows = tabulate_shares(_found(tables, "genre"))
    assert rows["group"].to_pylist() == ["soul"] * len(GTZAN_GENRES) + ["funk"] * len(GTZAN_GENRES)
    assert rows["genre"].to_pylist() == [*GTZAN_GENRES] * 2


def test_the_manifest_names_artists_where_files_do_not(tmp_path: Path) -> None:
    """Wav files have no tags: who lists their artists in a manifest would get one group, "without artist"."""
    tables = Tables(str(tmp_path))
    write_trend_tables(tables, 30)
    carried = [("artist", "The Listed"), ("album", "First"), ("year", "1971")]
    _rewrite(tmp_path, "tracks", "carried", [carried])
    for column in ("artist", "year"):
        _rewrite(tmp_path, "tracks", column, [None])
    assert _found(tables, "artist").groups.names == ["The Listed"]
    assert _found(tables, "year").groups.names == ["1971"]
    assert all(name.startswith("The Listed – ") for name in _found(tables, "album").groups.names)
    _rewrite(tmp_path, "tracks", "carried", [[("year", "1971.0")], [("year", "")]])
    assert _found(tables, "year").groups.names == ["1971"], "as pandas writes years if one is missing"


def test_dates_of_a_manifest_are_read_as_those_of_tags(tmp_path: Path) -> None:
    """A database that exports 1999-05-01 would have no years at all, and its placeholders 0 and 9999 would be
    years, to which a page with a chart of ten thousand years could not be drawn."""
    tables = Tables(str(tmp_path))
    write_trend_tables(tables, 90)
    for column in ("year", "release_date"):
        _rewrite(tmp_path, "tracks", column, [None])
    written = ["1999-05-01", "0", "9999", "99", "May 2003", "1990s", "1001-02-03T00:00:00", "2099"]
    _rewrite(tmp_path, "tracks", "carried", [[("year", date)] for date in written])
    assert _found(tables, "year").groups.names == ["1001", "1999", "2003", "2099"]
    assert _found(tables, "month").groups.names == []
    write_trends_page(tables, MODEL, str(tmp_path / "page.html"), by="year")
    _rewrite(tmp_path, "tracks", "carried", [[("release_date", date)] for date in written])
    assert _found(tables, "year").groups.names == ["1001", "1999", "2003", "2099"]
    assert _found(tables, "month").groups.names == ["1001-02", "1999-05", "2003-05"]


def test_names_that_look_alike_are_one(tmp_path: Path) -> None:
    """An artist whose name a Mac wrote in its own form of Unicode, or with a space, would be two."""
    tables = Tables(str(tmp_path))
    write_trend_tables(tables, 90)
    _rewrite(tmp_path, "tracks", "artist", ["\u00c9mile", "E\u0301mile", " \u00c9mile ", "  "])
    carried = [[("artist", "Listed"), ("mood", mood)] for mood in ("\u00e9", "e\u0301 ")]
    _rewrite(tmp_path, "tracks", "carried", carried)
    assert _found(tables, "artist").groups.names == ["\u00c9mile", "Listed"]
    assert _found(tables, "mood").groups.names == ["\u00e9"]


def test_a_duet_counts_for_each_of_its_artists(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A singer's duets would be missing in her shares, and each duet would be an artist of its own."""
    tables = Tables(str(tmp_path))
    write_trend_tables(tables, 90)
    _rewrite(tmp_path, "tracks", "artist", ["A; B", "A", "B;A ; A", "C & D feat. A", None])
    _rewrite(tmp_path, "tracks", "carried", [[]])
    found = _found(tables, "artist")
    of_each = dict(zip(found.groups.names, found.shares.tracks.tolist(), strict=True))
    assert (set(of_each), found.n_ungrouped + found.n_smaller) == ({"A", "B", "C & D feat. A"}, 18)
    assert of_each["A"] == 3 * of_each["C & D feat. A"] == 54
    assert of_each["B"] == 36
    top = _found(tables, "artist", top=1)
    assert (top.groups.names, top.n_smaller, top.n_ungrouped) == (["A"], 18, 18)
    with open_labeled_tracks(tables, MODEL, ["year", "artist"], CATALOG) as labeled:
        rows = summarize_artists(labeled).to_pylist()
        assert count_artists(labeled) == 3
    assert {row["artist"]: row["tracks"] for row in rows} == of_each
    assert all(
        name.split(" – ")[0] in ("A; B", "A", "B;A ; A", "C & D feat. A", "?")
        for name in _found(tables, "album").groups.names
    )
    print_trends(found, top=None)
    assert "a track by several artists counts for each of them" in capsys.readouterr().out


def test_long_names_are_cut_and_places_are_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One tag of thousands of letters would push the numbers of all artists out of sight; of a track deep in
    a bucket, the page showed the folders and not its name."""
    tables = Tables(str(tmp_path))
    write_trend_tables(tables, 30)
    deep = f"{CATALOG}/{'folder/' * 20}song.mp3"
    for column, value in {"artist": "W" * 5000, "genre_tag": "V" * 5000 + " Jazz", "uri": deep}.items():
        _rewrite(tmp_path, "tracks", column, [value])
    print_trends(_found(tables, "artist"), top=None)
    print_trends(_found(tables, "year"), top=None, show="tags")
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) < 400
    assert "W" * 99 + "…" in printed
    assert deep in printed
    write_trends_page(tables, MODEL, str(tmp_path / "page.html"), by="artist")
    page = (tmp_path / "page.html").read_text()
    assert deep in page
    assert "W" * 100 not in page


@pytest.mark.parametrize("width", [20, 60, 80, 200])
def test_a_terminal_shows_the_genres_it_has_room_for(
    tables: Tables, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    """Of 19 genres every row would be three lines of a usual terminal, below heads that stand elsewhere."""
    printed = io.StringIO()
    console = PlainConsole(file=printed, force_terminal=True, width=width)
    for module in (output, summary):
        monkeypatch.setattr(module, "console", console)
    found = _found(tables, "year")
    print_trends(found, top=None, show="shares")
    _, head, *rows = printed.getvalue().splitlines()
    genres = head.split()[2:]
    assert set(genres) - {"other"} <= set(found.genres)
    assert width < 40 or max(len(head), *map(len, rows[: len(found.groups.names) + 1])) <= width
    if width == 200:
        assert genres == list(found.genres)
        return
    assert genres[-1] == "other"
    total = dict(zip(found.genres, found.total.share[0], strict=True))
    shown, others = genres[:-1], set(found.genres) - set(genres)
    assert min(total[genre] for genre in shown) >= max(total[genre] for genre in others)
    values = [float(cell) for cell in rows[len(found.groups.names)].split()[2:]]
    assert values[-1] == pytest.approx(100 * sum(total[genre] for genre in others), abs=0.051)
    assert f"other: {len(others)} genres with smaller shares" in printed.getvalue()


def test_an_empty_cell_is_no_group(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Tracks without a mood would form a nameless mood, and one track would be "1 tracks"."""
    tables = Tables(str(tmp_path))
    write_trend_tables(tables, 3)
    _rewrite(tmp_path, "tracks", "carried", [[("mood", "calm")]])
    part = min((tmp_path / "tracks").rglob("*.parquet"))
    _rewrite(part.parents[1], part.parent.name, "carried", [[("mood", " ")]])
    found = _found(tables, "mood")
    assert found.groups.names == ["calm"]
    print_trends(found, top=None)
    assert "\n1 track without mood\n" in capsys.readouterr().out


def test_tracks_without_a_genre_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Counts by genre would not add up to the labeled tracks, without an explanation."""
    tables = Tables(str(tmp_path))
    write_trend_tables(tables, 300)
    _rewrite(tmp_path, "labels", "genre", [*["jazz"] * 49, None])
    found = _found(tables, "month")
    print_trends(found, top=None)
    printed = capsys.readouterr().out
    assert "6 tracks without a genre" in printed
    assert f"{found.n_ungrouped:,} tracks without month of release" in printed
    write_trends_page(tables, MODEL, str(tmp_path / "page.html"), by="month")
    assert "<dt>without a genre</dt><dd>6</dd>" in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize(
    ("column", "wrong"),
    [
        ("probabilities", None),
        ("probabilities", [0.5, 0.5]),
        ("probabilities", [float("nan")] * 10),
        ("probabilities", [1.5] * 10),
        ("confidence", None),
        ("confidence", float("nan")),
        ("confidence", float("inf")),
    ],
)
def test_labels_that_are_damaged_are_said(tmp_path: Path, column: str, wrong: object) -> None:
    """One row of another program's would end in a traceback, or make every share nan."""
    tables = Tables(str(tmp_path))
    write_trend_tables(tables, 30)
    _rewrite(tmp_path, "labels", column, [[0.1] * 10 if column == "probabilities" else 0.1, wrong])
    with pytest.raises(EarmarkError, match=r"some labels of .* do not have a confidence .*verify"):
        _found(tables, "year", weight="confidence")
    _rewrite(tmp_path, "labels", "is_music", [1.0, float("nan")])  # as the damaged ones are: not counted
    assert _found(tables, "seen", weight="confidence").n_tracks == 15


def test_what_is_no_time_is_no_period(tmp_path: Path) -> None:
    """One odd year or date of another program's would end trends in a traceback."""
    tables = Tables(str(tmp_path))
    write_trend_tables(tables, 90)
    _rewrite(tmp_path, "tracks", "year", [1999, 12345, -5, None])
    dates = ["1999-05-01", "1999", "1999-13", "last May", "0000-05", None, "1999-5", ""]
    _rewrite(tmp_path, "tracks", "release_date", dates)
    assert _found(tables, "year").groups.names == ["1999"]
    assert _found(tables, "month").groups.names == ["1999-05"]
    _rewrite(tmp_path, "tracks", "year", [999, 1000, 9999])
    assert write_trends_page(tables, MODEL, str(tmp_path / "page.html"), by="year").groups.names == [
        "1000",
        "9999",
    ]


def test_a_catalog_without_labeled_tracks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A catalog of audio books alone, or one that was emptied, ended in a traceback."""
    tables = Tables(str(tmp_path))
    write_trend_tables(tables, 30)
    _rewrite(tmp_path, "labels", "is_music", [0.0])
    for by in ("year", "folder"):
        print_trends(_found(tables, by), top=None)
        assert "0 labeled tracks" in capsys.readouterr().out
        found = write_trends_page(tables, MODEL, str(tmp_path / "page.html"), by=by)
        assert (found.n_tracks, found.mean_confidence, found.groups.names) == (0, None, [])
    with pytest.raises(MisuseError, match="no track has a column 'label'"):
        _found(tables, "label")


def test_speech_elsewhere_moves_no_folder(tmp_path: Path) -> None:
    """Podcasts beside the music would put all of the music into one folder."""
    tables = Tables(str(tmp_path))
    write_trend_tables(tables, 3)
    uris = ["s3://b/music/jazz/a.mp3", "s3://b/music/soul/b.mp3", "s3://b/talk/c.mp3"]
    for table, column, values in (("tracks", "uri", uris), ("labels", "is_music", [0.9, 0.9, 0.1])):
        for part, value in zip(sorted((tmp_path / table).rglob("*.parquet")), values, strict=True):
            _rewrite(part.parents[1], part.parent.name, column, [value])
    assert sorted(_found(tables, "folder").groups.names) == ["jazz", "soul"]


def test_an_unknown_column_is_named(tables: Tables) -> None:
    """A typo would look like a catalog without labels."""
    with pytest.raises(MisuseError, match=r"no track has a column 'lable'.*manifest: label"):
        _found(tables, "lable")


@pytest.mark.parametrize("concentration", [0.2, 1.0, 5.0])
def test_intervals_hold_the_truth(concentration: float) -> None:
    """Analysts would see changes where there are none: 95 % intervals have to hold the truth 95 times in 100.

    Calibrated models from very sure to very unsure; the truth is drawn from their probabilities.
    """
    rng = np.random.default_rng(7)
    mix = np.array([0.02, 0.08, 0.2, 0.7])
    n, repeats = 60, 2000
    p = rng.dirichlet(mix * concentration, repeats * n).astype(np.float32)
    truth = (p.cumsum(axis=1) < rng.random((repeats * n, 1))).sum(axis=1).clip(max=3)
    found = compute_shares(sum_arrays(np.repeat(np.arange(repeats), n), repeats, p, p.argmax(axis=1)), 4)
    counts = np.stack([np.bincount(row, minlength=4) for row in truth.reshape(repeats, n)])
    in_music = (found.low <= mix) & (mix <= found.high)
    in_tracks = (n * found.low - 0.5 <= counts) & (counts <= n * found.high + 0.5)
    by_model = np.abs(counts - found.expected) <= Z95 * found.expected_sd + 0.5
    for held in (in_music, in_tracks, by_model):
        assert held.mean(axis=0).min() > 0.935
    # The model's own uncertainty is neither too narrow nor too wide.
    ratio = (counts - found.expected).std(axis=0) / np.sqrt((found.expected_sd**2).mean(axis=0))
    assert ratio == pytest.approx(1, abs=0.07)
    assert found.share.mean(axis=0) == pytest.approx(mix, abs=0.01)


def test_wilson_is_the_textbooks() -> None:
    """Intervals of rare genres and small groups would leave 0 to 1, or have no width."""
    low, high = wilson_interval(np.array([0.0, 0.1, 0.5]), np.array([10.0, 50.0, 400.0]))
    for i, (successes, n) in enumerate(((0, 10), (5, 50), (200, 400))):
        expected = stats.binomtest(successes, n).proportion_ci(method="wilson")
        assert (low[i], high[i]) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_what_rises_and_falls_is_found(tables: Tables) -> None:
    """The list of rising and falling genres would miss trends that are built into the data."""
    found = {change.genre: change for change in _found(tables, "year").changes}
    assert found["hiphop"].direction == "rising"
    assert found["disco"].direction == "falling"
    # Built in: 0.025 to 0.175.
    assert found["hiphop"].low < 0.15 * (1 - 1 / (YEARS[1] - YEARS[0])) < found["hiphop"].high


def test_all_years_tell_what_rises_even_if_few_are_shown(tables: Tables) -> None:
    """With --top 5, jazz rises because the five years with the most tracks happen to say so."""
    whole, top = _found(tables, "year"), _found(tables, "year", top=5)
    assert len(top.groups.names) == 5
    assert top.groups.names == sorted(top.groups.names)
    assert top.changes == whole.changes


def test_noise_neither_rises_nor_falls() -> None:
    """Whoever looks at enough genres would always find one that rises.

    Twenty years of albums of ten alike tracks, nothing changes: in at most about one of twenty catalogs a
    genre may be called rising or falling.
    """
    rng = np.random.default_rng(11)
    mix = np.full(6, 1 / 6)
    alarms = 0
    catalogs = 400
    for _ in range(catalogs):
        albums = rng.integers(0, 20, 150)
        p = rng.dirichlet(mix * 3, 150).astype(np.float32).repeat(10, axis=0)
        years = albums.repeat(10)
        shares = compute_shares(sum_arrays(years, 20, p, p.argmax(axis=1)), 6)
        seen = shares.tracks > 0
        result = fit_changes(
            tuple("abcdef"), np.arange(20.0)[seen], shares.share[seen], shares.effective[seen]
        )
        alarms += any(change.direction != "unclear" for change in result)
    assert alarms / catalogs < 0.08


def test_slopes_are_those_of_weighted_least_squares() -> None:
    """The line on the page would not be the line through the points."""
    rng = np.random.default_rng(5)
    time, n = np.arange(1990.0, 2010.0), rng.integers(5, 500, 20).astype(float)
    share = rng.dirichlet(np.ones(3), 20)
    for change in fit_changes(("a", "b", "c"), time, share, n):
        k = "abc".index(change.genre)
        slope, start = np.polyfit(time, share[:, k], 1, w=np.sqrt(n))
        assert change.per_year == pytest.approx(slope)
        assert change.change == pytest.approx(19 * slope)
        assert change.start == pytest.approx(slope * 1990 + start)


def test_q_values_are_scipys() -> None:
    """The share of false alarms among the verdicts would not be what the page says."""
    p = np.random.default_rng(2).random(30) ** 3
    assert adjust_p_values(p) == pytest.approx(stats.false_discovery_control(p))


def test_counts_have_whole_ticks() -> None:
    """The axis of the histogram would label 2.5 tracks as 2, next to the wrong height."""
    for top in range(1, 3000):
        ticks = nice_ticks(float(top), whole=True)
        assert all(tick == round(tick) for tick in ticks)
        assert ticks[-2] < top <= ticks[-1]
        assert len(ticks) <= 7


def test_two_periods_make_no_trend() -> None:
    """A line through two points fits anything."""
    found = fit_changes(("a",), np.array([1.0, 2.0]), np.array([[0.1], [0.9]]), np.array([9.0, 9.0]))
    assert found == []


def test_mistyped_years_pull_no_line() -> None:
    """One track of the year 1066 would hide the trend of a thousand others."""
    years = np.array([1066.0, *range(1990, 2020), 2999.0])
    assert trim_strays(np.array([1, *[100] * 30, 1]), years) == slice(1, 31)
    assert trim_strays(np.array([1, *[10] * 30, 1]), years) == slice(1, 31)
    assert trim_strays(np.array([1, *[2] * 30, 1]), years) == slice(0, 32)  # of 62 tracks each one counts


def test_few_tracks_of_years_that_may_well_be_stay() -> None:
    """A catalog's few old records would be hidden as if they were mistakes."""
    assert trim_strays(np.array([3, 1, 2]), np.array([1999.0, 2000.0, 2001.0])) == slice(0, 3)
    assert trim_strays(np.array([1, *[10] * 30]), np.array([1962.0, *range(1990, 2020)])) == slice(0, 31)
    assert trim_strays(np.array([1, 200, 1]), np.array([2011.0, 2020.0, 2021.0])) == slice(0, 3)


@pytest.mark.parametrize(
    ("tag", "genre"),
    [
        ("Hip-Hop/Rap", "hiphop"), ("hip hop", "hiphop"), ("HIPHOP", "hiphop"), ("Trap", "hiphop"),
        ("Progressive Rock", "rock"), ("Rock & Roll", "rock"), ("Pop/Rock", "pop"), ("Pop; Rock", "pop"),
        ("Death Metal", "metal"), ("Acid Jazz", "jazz"), ("Electronic; Jazz", "jazz"),
        ("Classique", "classical"),
        ("Roots Reggae", "reggae"), ("Country & Western", "country"), ("R&B", "r&b"),
        ("Rhythm & Blues", "rhythm & blues"), ("Sea  Shanty", "sea shanty"), ("Metálica Pop", "pop"),
        ("ポップ", "ポップ"),
        ("", ""), ("///", "///"),
    ],
)  # fmt: skip
def test_tags_in_the_models_words(tag: str, genre: str) -> None:
    """Labels would seem to contradict tags that mean the same."""
    assert normalize_tag(tag, GTZAN_GENRES) == genre


ID3_GENRES = {
    "blues": "Blues",
    "children": "",
    "classical": "Baroque, Chamber Music, Classical, Neoclassical, Opera, Sonata, Symphony",
    "country": "Bluegrass, Country",
    "disco": "Disco",
    "electronic": "Ambient, Big Beat, Breakbeat, Chillout, Club, Club-House, Dance, Downtempo, Drum & Bass, "
    "Dubstep, EBM, Electro, Electroclash, Electronic, Euro-House, Euro-Techno, Eurodance, Goa, House, IDM, "
    "Illbient, Jungle, Leftfield, Nu-Breakz, Psybient, Psytrance, Rave, Techno, Techno-Industrial, Trance, "
    "Trip-Hop",
    "folk": "Folk, Folklore, National Folk",
    "gospel": "Contemporary Christian, Gospel",
    "hiphop": "Christian Gangsta Rap, Christian Rap, G-Funk, Gangsta Rap, Hip-Hop, Rap",
    "jazz": "Acid Jazz, Bebop, Big Band, Fast-Fusion, Fusion, Jazz, Jazz+Funk, Swing",
    "latin": "Latin, Merengue, Salsa, Samba, Tango",
    "metal": "Black Metal, Death Metal, Heavy Metal, Metal, Thrash Metal",
    "new-age": "Meditative, New Age",
    "pop": "Chanson, Instrumental Pop, JPop, New Romantic, Pop, Pop-Folk, Pop/Funk, Synthpop",
    "reggae": "Dance Hall, Dub, Reggae, Ska",
    "rnb": "Funk, R&B, Rhythmic Soul, Slow Jam, Soul",
    "rock": "Acid Punk, Afro-Punk, Alt. Rock, Alternative, Art Rock, Christian Rock, Classic Rock, Emo, "
    "Folk-Rock, Garage Rock, Gothic Rock, Grunge, Hard Rock, Indie, Indie Rock, Instrumental Rock, Jam Band, "
    "Krautrock, Math Rock, Polsk Punk, Post-Punk, Post-Rock, Progressive Rock, Psychedelic, "
    "Psychedelic Rock, Punk, Punk Rock, Rock, Rock & Roll, Shoegaze, Slow Rock, Southern Rock, Space Rock, "
    "Symphonic Rock, Trop Rock",
    "vocal": "A Cappella, Vocal",
    "world": "Bhangra, Ethnic, Global, Native American, World Music",
}
"""The standard genres of ID3v1 and Winamp by the genre of the default model; the others belong to none."""


def test_standard_genres_of_id3_are_those_of_the_default_model() -> None:
    """Every file tagged R&B, Techno or Salsa would be left out of the agreement with tags."""
    genres = read_kept_info(DEFAULT_MODEL).genres
    found: dict[str, list[str]] = {genre: [] for genre in genres}
    for tag in sorted(TCON.GENRES):
        if (genre := normalize_tag(tag, genres)) in found:
            found[genre].append(tag)
    assert {genre: ", ".join(tags) for genre, tags in found.items()} == ID3_GENRES


@pytest.mark.parametrize(
    ("tag", "genre"),
    [
        ("R&B/Soul", "rnb"), ("Contemporary R&B", "rnb"), ("Rhythm and Blues", "rnb"), ("R'n'B", "rnb"),
        ("Electronica", "electronic"), ("Deep House", "electronic"), ("Electronic Music", "electronic"),
        ("Children's Music", "children"), ("Children’s Music", "children"), ("Pop Latino", "latin"),
        ("Christian & Gospel", "gospel"), ("Folk, World, & Country", "folk"), ("new-age", "new-age"),
        ("New Jack Swing", "rnb"), ("Electro Swing", "electronic"), ("Western Swing", "country"),
        ("Rhythm 'n' Blues", "rnb"), ("Fusion", "jazz"), ("Celtic Fusion", "celtic fusion"),
        ("Jazz Fusion", "jazz"), ("Dance", "electronic"), ("Belly Dance", "belly dance"),
        ("Music", "music"), ("Soundtrack", "soundtrack"), ("Brit Pop & Soul", "brit pop & soul"),
    ],
)  # fmt: skip
def test_tags_in_the_default_models_words(tag: str, genre: str) -> None:
    """The usual tags of nine of its genres would seem to be no genre of the model."""
    assert normalize_tag(tag, read_kept_info(DEFAULT_MODEL).genres) == genre


def test_styles_of_a_model_are_tags_of_their_genre() -> None:
    """Files tagged with what the model itself calls a style would seem to have no genre of the model."""
    info = read_kept_info(DEFAULT_MODEL)
    assert info.taxonomy is not None
    for genre, style in info.taxonomy.names():
        assert normalize_tag(style or genre, info.genres) == genre


def test_aliases_count_only_for_genres_of_the_model() -> None:
    """A model without hiphop would seem to contradict every rap tag."""
    for tag in ("Rap", "Soul", "Techno", "Salsa", "Contemporary Rhythm & Blues", "Electro Swing"):
        assert normalize_tag(tag, ["blues", "jazz", "rock"]) == tag.lower(), "another genre than it means"
    assert normalize_tag("Rap", ["rock", "Latin Jazz"]) == "rap"
    assert normalize_tag("latin-jazz", ["rock", "Latin Jazz"]) == "Latin Jazz"


@pytest.mark.parametrize(
    ("tag", "genre"),
    [
        ("!!!", "!!!"), ("Music", "music"), ("🎸", "🎸"), ("\u2764\ufe0f", "\u2764\ufe0f"),
        ("C#", "C#"), ("c", "C"), ("ハンド", "ハンド"), ("バント", "バント"), ("バンド", "バンド"),
        ("बी", "बी"), ("बा", "बा"), ("hip_hop", "Hip Hop"), ("chaâbi", "Chaabi"), ("שִׁיר", "שיר"),
        ("кои", "Кой"),
    ],
)  # fmt: skip
def test_other_words_are_other_genres(tag: str, genre: str) -> None:
    """Of one's own genres, tags such as "Music" would be an emoji, and words of Hindi or Japanese others."""
    genres = ("🎸", "☕\ufe0f", "C#", "C", "バンド", "बा", "Hip Hop", "Chaabi", "שיר", "Кой")
    assert normalize_tag(tag, genres) == genre
    assert match_spelling(tag, genres) == (genre if genre in genres else None)


def test_the_invented_labels_are_calibrated() -> None:
    """The tests above would check against data that has no truth."""
    truth = draw(20_000, 1)
    winner = truth.probabilities.argmax(axis=1)
    assert (winner == truth.genre).mean() == pytest.approx(truth.probabilities.max(axis=1).mean(), abs=0.02)


@pytest.mark.parametrize("catalog", ["/srv/music", "file:///srv/music"])
def test_a_name_that_is_no_utf8_lies_in_its_folder(catalog: str) -> None:
    """One such name among thousands: all were grouped by "srv", and it by "ile:"."""
    uris = ["/srv/music/rock/a.mp3", "file:///srv/music/rock/caf%E9.mp3", "/srv/music/b.mp3"]
    root = find_root([pa.array(uris[:2]), pa.array(uris[2:])], catalog)
    assert read_values("folder", pa.table({"uri": uris}), root).to_pylist() == ["rock", "rock", "."]


def test_a_manifest_has_the_folder_in_common(tmp_path: Path) -> None:
    """Every track of a manifest would be in one folder, the first of its path."""
    uris = ["s3://b/music/jazz/a.mp3", "s3://b/music/soul/b.mp3", "s3://b/music/jam.mp3"]
    root = find_root([pa.array(uris[:1]), pa.array([], pa.string()), pa.array(uris[1:])], "tracks.csv")
    assert root == "s3://b/music"
    assert read_values("folder", pa.table({"uri": uris}), root).to_pylist() == ["jazz", "soul", "."]


def test_what_is_no_music_has_no_share(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A catalog of audio books would have its shares of blues and country; or they vanish without a word."""
    tables = Tables(str(tmp_path))
    write_trend_tables(tables, 200)
    whole = _found(tables, "seen").n_tracks
    _rewrite(tmp_path, "labels", "is_music", [0.1, 0.9, None, 0.5])
    found = _found(tables, "seen")
    left = found.n_tracks
    assert left == pytest.approx(0.75 * whole, abs=len(list((tmp_path / "labels").rglob("*.parquet"))) + 1)
    assert left < whole
    assert (found.n_not_music, found.n_silent) == (whole - left, 0)
    print_trends(found, top=None)
    assert f"left out: {whole - left} tracks (probably not music)\n" in capsys.readouterr().out
    write_trends_page(tables, MODEL, str(tmp_path / "page.html"), by="seen")
    assert f"<dt>not music, left out</dt><dd>{whole - left}</dd>" in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize("is_music", [None, 0.9], ids=["a model without is_music", "a model with it"])
def test_silence_has_no_share(tmp_path: Path, capsys: pytest.CaptureFixture[str], is_music: object) -> None:
    """Empty files would be a nineteenth of every genre, flatten all shares and lower the mean confidence."""
    tables = Tables(str(tmp_path))
    write_trend_tables(tables, 300)
    _rewrite(tmp_path, "labels", "is_music", [is_music])
    (part, *others) = sorted((tmp_path / "labels").rglob("*.parquet"))
    for other in others:
        other.unlink()
    whole = _found(tables, "seen")
    silence = [("is_music", None), ("genre", None), ("confidence", 0.1), ("probabilities", [0.1] * 10)]
    for column, silent in silence:
        stored = pq.read_table(part, partitioning=None)[column].to_pylist()
        _rewrite(part.parents[1], part.parent.name, column, [*[silent] * 20, *stored[20:]])
    found = _found(tables, "seen")
    assert (found.n_tracks, found.n_silent, found.n_without_genre) == (whole.n_tracks - 20, 20, 0)
    assert not found.confidences[2]
    assert found.total.count.sum() == found.n_tracks
    print_trends(found, top=None)
    assert "left out: 20 silent tracks\n" in capsys.readouterr().out
    write_trends_page(tables, MODEL, str(tmp_path / "page.html"), by="seen")
    assert "<dt>silent, left out</dt><dd>20</dd>" in (tmp_path / "page.html").read_text()
