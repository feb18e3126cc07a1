"""Genre trends: numbers checked against SQL, intervals and verdicts against known truth."""

from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import stats

from jobs.cli.summaries.trends import print_trends
from pipeline.models.metrics import Z95, wilson_interval
from pipeline.pages.charts import nice_ticks
from pipeline.pages.trends_page import render_trends_page
from pipeline.tables.current import current_labels
from pipeline.tables.ddl import generate_ddl
from pipeline.tables.tables import Tables
from pipeline.trends.artists import summarize_artists
from pipeline.trends.genre_tags import normalize_tag
from pipeline.trends.grouping import group_tracks
from pipeline.trends.labeled_tracks import read_labeled_tracks
from pipeline.trends.rising_falling import adjust_p_values, fit_changes, trim_strays
from pipeline.trends.shares import compute_shares
from pipeline.trends.trends import (
    Trends,
    compute_trends,
    count_by_confidence,
    read_tracks_to_group,
    tabulate_shares,
    tabulate_tags,
)
from schemas.errors import MisuseError
from schemas.genres import GTZAN_GENRES
from tests.trend_tables import CATALOG, MODEL, YEARS, add_night, draw, write_trend_tables

N_TRACKS = 3000


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


def _found(tables: Tables, by: str, **options: object) -> Trends:
    return compute_trends(read_tracks_to_group(tables, MODEL, by, "year", "artist"), by, CATALOG, **options)  # type: ignore[arg-type]


def test_the_labels_that_hold_now(tables: Tables) -> None:
    """An analyst would count tracks that have left, old versions, or the same track twice."""
    expected = current_labels(tables, MODEL)
    labeled = read_tracks_to_group(tables, MODEL, "folder")
    assert labeled.n_tracks == N_TRACKS - 20
    found = dict(zip(labeled.tracks["uri"].to_pylist(), labeled.winner, strict=True))
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
    histogram = count_by_confidence(found.labeled)
    assert {i: n for i, n in enumerate(histogram.tolist()) if n} == dict(bins)
    artists = sql.execute("""
        select artist, count(*), avg(confidence), min(year), max(year) from long
        where genre = 'blues' group by 1
    """).fetchall()
    rows = summarize_artists(found.labeled).to_pylist()
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
    assert top.n_ungrouped == whole.shares.tracks[3:].sum()


def test_a_manifest_column_may_be_called_genre(tables: Tables) -> None:
    """Shares by the manifest's own genre column, a curator's first question, would lose the group names."""
    labeled = read_tracks_to_group(tables, MODEL, "label")
    carried = [[("genre", row[0][1])] if row else [] for row in labeled.tracks["carried"].to_pylist()]
    tracks = labeled.tracks.drop(["carried"]).append_column(
        "carried", pa.array(carried, pa.map_(pa.string(), pa.string()))
    )
    rows = tabulate_shares(compute_trends(replace(labeled, tracks=tracks), "genre", CATALOG))
    by_label = tabulate_shares(_found(tables, "label"))
    assert rows["group"].to_pylist() == by_label["label"].to_pylist()
    assert rows["genre"].to_pylist() == by_label["genre"].to_pylist()


def test_an_empty_cell_is_no_group(tables: Tables, capsys: pytest.CaptureFixture[str]) -> None:
    """Tracks without a mood would form a nameless mood, and one track would be "1 tracks"."""
    labeled = read_tracks_to_group(tables, MODEL, "label")
    carried = [[("mood", " " if number == 5 else "calm")] for number in range(labeled.n_tracks)]
    moods = pa.array(carried, pa.map_(pa.string(), pa.string()))
    tracks = labeled.tracks.drop(["carried"]).append_column("carried", moods)
    found = compute_trends(replace(labeled, tracks=tracks), "mood", CATALOG)
    assert found.groups.names == ["calm"]
    print_trends(found, top=None)
    assert "\n1 track without mood\n" in capsys.readouterr().out


def test_tracks_without_a_genre_are_said(tables: Tables, capsys: pytest.CaptureFixture[str]) -> None:
    """Counts by genre would not add up to the labeled tracks, without an explanation."""
    labeled = read_tracks_to_group(tables, MODEL, "month", "year", "artist")
    unsure = replace(labeled, winner=np.where(np.arange(labeled.n_tracks) < 7, -1, labeled.winner))
    found = compute_trends(unsure, "month", CATALOG)
    print_trends(found, top=None)
    printed = capsys.readouterr().out
    assert "7 tracks without a genre" in printed
    assert f"{found.n_ungrouped:,} tracks without month of release" in printed
    page = render_trends_page(found, time=found, model=MODEL, figures=None, catalog=CATALOG)
    assert "<dt>without a genre</dt><dd>7</dd>" in page


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
    found = compute_shares(np.repeat(np.arange(repeats), n), repeats, p, p.argmax(axis=1))
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
        shares = compute_shares(years, 20, p, p.argmax(axis=1))
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
        ("Roots Reggae", "reggae"), ("Country & Western", "country & western"), ("R&B", "r&b"),
        ("Rhythm & Blues", "rhythm & blues"), ("Sea  Shanty", "sea shanty"), ("Metálica Pop", "pop"),
        ("ポップ", "ポップ"),
        ("", ""), ("///", "///"),
    ],
)  # fmt: skip
def test_tags_in_the_models_words(tag: str, genre: str) -> None:
    """Labels would seem to contradict tags that mean the same."""
    assert normalize_tag(tag, GTZAN_GENRES) == genre


def test_aliases_count_only_for_genres_of_the_model() -> None:
    """A model without hiphop would seem to contradict every rap tag."""
    assert normalize_tag("Rap", ["rock", "Latin Jazz"]) == "rap"
    assert normalize_tag("latin-jazz", ["rock", "Latin Jazz"]) == "Latin Jazz"


def test_the_invented_labels_are_calibrated() -> None:
    """The tests above would check against data that has no truth."""
    truth = draw(20_000, 1)
    winner = truth.probabilities.argmax(axis=1)
    assert (winner == truth.genre).mean() == pytest.approx(truth.probabilities.max(axis=1).mean(), abs=0.02)


@pytest.mark.parametrize("catalog", ["/srv/music", "file:///srv/music"])
def test_a_name_that_is_no_utf8_lies_in_its_folder(catalog: str) -> None:
    """One such name among thousands: all were grouped by "srv", and it by "ile:"."""
    uris = ["/srv/music/rock/a.mp3", "file:///srv/music/rock/caf%E9.mp3", "/srv/music/b.mp3"]
    groups = group_tracks("folder", pa.table({"uri": uris}), catalog)
    assert groups.names == ["rock", "."]
    assert groups.codes.tolist() == [0, 0, 1]


def test_what_is_no_music_has_no_share(tmp_path: Path) -> None:
    """A catalog of audio books would have its shares of blues and country."""
    tables = Tables(str(tmp_path))
    write_trend_tables(tables, 200)
    whole = read_labeled_tracks(tables, MODEL).n_tracks
    for part in (tmp_path / "labels").rglob("*.parquet"):
        rows = pq.read_table(part, partitioning=None)
        place = rows.schema.get_field_index("is_music")
        values = pa.array([0.1, 0.9, None, 0.5] * rows.num_rows, pa.float32())[: rows.num_rows]
        pq.write_table(rows.set_column(place, rows.schema.field(place), values), part)
    left = read_labeled_tracks(tables, MODEL).n_tracks
    assert left == pytest.approx(0.75 * whole, abs=len(list((tmp_path / "labels").rglob("*.parquet"))) + 1)
    assert left < whole
