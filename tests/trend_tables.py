"""Tables of invented labels, of any size, as a run would have left them; written column by column."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.storage import storage
from pipeline.tables.runs import write_report
from pipeline.tables.tables import Tables, encode_part
from schemas.genres import GTZAN_GENRES
from schemas.report import Counts, RunReport
from schemas.tables import LABELS, TRACKS, labels_schema

MODEL = "invented-0123456789"
RUNS = ("20260101T000000-aaaa", "20260102T000000-bbbb", "20260103T000000-cccc")
CATALOG = "/music"
YEARS = (1960, 2024)
TAGS = (
    "Blues",
    "Classical",
    "Country",
    "Disco",
    "Hip-Hop/Rap",
    "Jazz",
    "Heavy Metal",
    "Pop",
    "Reggae",
    "Rock",
)
"""What the files of each genre call it, in the order of the genres."""

_PART = 50_000
_FIRST_NIGHT = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Truth:
    """What the labels were drawn from: the true genre and the probabilities of each track."""

    genre: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    year: NDArray[np.int16]


def draw(n_tracks: int, seed: int, *, concentration: float = 1.0) -> Truth:
    """Years, calibrated probabilities and true genres: hiphop rises, disco falls, the others stay level."""
    rng = np.random.default_rng(seed)
    years = rng.integers(*YEARS, n_tracks).astype(np.int16)
    t = (years - YEARS[0]) / (YEARS[1] - YEARS[0])
    mix = np.full((n_tracks, len(GTZAN_GENRES)), 0.1)
    mix[:, 4] += 0.15 * (t - 0.5)
    mix[:, 3] -= 0.15 * (t - 0.5)
    gamma = rng.standard_gamma(mix * concentration * 10 * 0.3)
    p = (gamma / gamma.sum(axis=1, keepdims=True)).astype(np.float32)
    genre = (p.cumsum(axis=1) < rng.random((n_tracks, 1)) * p.sum(axis=1, keepdims=True)).sum(axis=1)
    return Truth(np.minimum(genre, len(GTZAN_GENRES) - 1), p, years)


def write_trend_tables(tables: Tables, n_tracks: int, seed: int = 0) -> Truth:
    """Write tracks, labels and run reports, in parts; each of three nights lists a third of the tracks."""
    truth = draw(n_tracks, seed)
    rng = np.random.default_rng([seed, 1])
    n_albums = n_tracks // 12 + 1
    artist = np.repeat((rng.pareto(0.6, n_albums) * 20).astype(np.int64) % max(n_tracks // 20, 5), 12)
    for number, start in enumerate(range(0, n_tracks, _PART)):
        rows = np.arange(start, min(start + _PART, n_tracks))
        night = number % len(RUNS) if n_tracks > _PART * 3 else None
        nights = rows * len(RUNS) // n_tracks if night is None else np.full(len(rows), night)
        for each in np.unique(nights):
            _write_part(
                tables, f"part-{number:05d}-{each}", rows[nights == each], int(each), truth, artist, seed
            )
    for run in RUNS:
        write_report(tables, _report(run, n_tracks))
    return truth


def add_night(tables: Tables) -> None:
    """A night later: of the first forty tracks ten are gone, twenty have changed, ten of them and ten others
    were labeled anew."""
    at = _FIRST_NIGHT + timedelta(days=9)
    tracks = tables.read("tracks", TRACKS.names).sort_by("track_id").slice(0, 30)
    changed = np.arange(30) >= 10
    etag = pc.if_else(pa.array(changed), pa.scalar("changed"), tracks["etag"].combine_chunks())
    tracks = _with(tracks, present=pa.array(changed), etag=etag, listed_at=[at] * 30)
    place = tables.part("tracks", "later", run="20260110T000000-dddd")
    storage.write_bytes(place, encode_part(tracks.cast(TRACKS)))
    labels = tables.read("labels", LABELS.names).sort_by("track_id").slice(0, 40)
    labels = labels.take(pa.array([*range(10, 20), *range(30, 40)]))
    etag = pc.if_else(pa.array(np.arange(20) < 10), pa.scalar("changed"), labels["etag"].combine_chunks())
    labels = _with(labels, etag=etag, labeled_at=[at] * 20, genre=["jazz"] * 20)
    schema = labels_schema(GTZAN_GENRES)
    place = tables.part("labels", "later", model=MODEL, run_date=at.date().isoformat())
    storage.write_bytes(place, encode_part(labels.cast(schema)))


def _with(rows: pa.Table, **columns: object) -> pa.Table:
    for name, values in columns.items():
        index = rows.column_names.index(name)
        rows = rows.set_column(
            index, name, pa.chunked_array([pa.array(values, rows.schema.field(name).type)])
        )
    return rows


def _write_part(
    tables: Tables, name: str, rows: NDArray[np.int64], night: int, truth: Truth, artist: NDArray[np.int64],
    seed: int,
) -> None:  # fmt: skip
    listed_at = _FIRST_NIGHT + timedelta(days=night)
    columns = _names(rows, artist[rows])
    columns |= _tags(rows, truth, seed)
    n = len(rows)
    columns |= {
        "size": pa.array(np.full(n, 5_000_000)),
        "modified_at": _repeated(listed_at, n, TRACKS.field("modified_at").type),
        "present": _repeated(True, n, pa.bool_()),
        "listed_at": _repeated(listed_at, n, TRACKS.field("listed_at").type),
        "codec": _repeated("mp3", n, pa.string()),
        "duration_s": pa.array(np.full(n, 240.0)),
        "sample_rate": pa.array(np.full(n, 44100, np.int32)),
        "channels": pa.array(np.full(n, 2, np.int16)),
    }
    tracks = pa.table([columns[field.name] for field in TRACKS], TRACKS)
    storage.write_bytes(tables.part("tracks", name, run=RUNS[night]), encode_part(tracks))
    labels = _labels(columns, truth.probabilities[rows], listed_at, RUNS[night])
    place = {"model": MODEL, "run_date": listed_at.date().isoformat()}
    storage.write_bytes(tables.part("labels", name, **place), encode_part(labels))


def _names(rows: NDArray[np.int64], artist: NDArray[np.int64]) -> dict[str, pa.Array]:
    number, by = pa.array(rows).cast(pa.string()), pa.array(artist).cast(pa.string())
    folder = pa.array(artist % 12).cast(pa.string())
    album = pc.binary_join_element_wise("Album", pa.array(rows // 12).cast(pa.string()), " ")
    path = pc.binary_join_element_wise(f"{CATALOG}/shelf ", folder, "")
    file = pc.binary_join_element_wise(number, ".mp3", "")
    labels = pa.array([f"Label {n}" for n in range(20)]).take(pa.array(artist % 20))
    return {
        "track_id": pc.binary_join_element_wise("t", number, "0" * 12, ""),
        "uri": pc.binary_join_element_wise(path, by, album, file, "/"),
        "etag": pc.binary_join_element_wise("5000000", number, "-"),
        "artist": pc.binary_join_element_wise("Artist", by, " "),
        "album": album,
        "title": pc.binary_join_element_wise("Title", number, " "),
        "carried": pa.MapArray.from_arrays(
            pa.array(np.arange(len(rows) + 1, dtype=np.int32)), pa.array(["label"] * len(rows)), labels
        ),
    }


def _tags(rows: NDArray[np.int64], truth: Truth, seed: int) -> dict[str, pa.Array]:
    """Year, date and genre tags: a tenth has no year, 30 % no genre, 5 % a genre that no model knows."""
    rng = np.random.default_rng([seed, 2, int(rows[0])])
    n = len(rows)
    undated = rng.random(n) < 0.1
    year = pa.array(truth.year[rows], mask=undated)
    months = pa.array([f"{month:02d}" for month in range(1, 13)]).take(pa.array(rng.integers(0, 12, n)))
    chance = rng.random(n)
    tag = pa.array(TAGS).take(pa.array(truth.genre[rows]))
    tag = pc.if_else(pa.array(chance < 0.05), pa.scalar("Sea Shanty"), tag)
    return {
        "year": year,
        "release_date": pc.binary_join_element_wise(year.cast(pa.string()), months, "-"),
        "genre_tag": pc.if_else(pa.array(chance > 0.7), pa.scalar(None, pa.string()), tag),
    }


def _labels(columns: dict[str, pa.Array], p: NDArray[np.float32], at: datetime, run: str) -> pa.Table:
    n, n_genres = p.shape
    order = np.argsort(-p, axis=1)[:, :3]
    names = pa.array(GTZAN_GENRES)
    best = pa.StructArray.from_arrays(
        [names.take(pa.array(order.ravel())), pa.array(np.take_along_axis(p, order, 1).ravel())],
        ["genre", "probability"],
    )
    values = {
        **{name: columns[name] for name in ("track_id", "uri", "etag")},
        "genre": names.take(pa.array(order[:, 0])),
        "confidence": pa.array(p.max(axis=1)),
        "probabilities": pa.ListArray.from_arrays(
            np.arange(0, n * n_genres + 1, n_genres, dtype=np.int32), p.ravel()
        ),
        "top3": pa.ListArray.from_arrays(np.arange(0, 3 * n + 1, 3, dtype=np.int32), best),
        "n_segments": pa.array(np.full(n, 3, np.int16)),
        "feature_set": _repeated("f0", n, pa.string()),
        "labeled_at": _repeated(at, n, LABELS.field("labeled_at").type),
        "run": _repeated(run, n, pa.string()),
    }
    schema = labels_schema(GTZAN_GENRES)
    nulls = {field.name: pa.nulls(n, field.type) for field in schema if field.name not in values}
    return pa.table([(values | nulls)[name] for name in schema.names], schema)


def _repeated(value: object, n: int, kind: pa.DataType) -> pa.Array:
    return pa.repeat(pa.scalar(value, kind), n)


def _report(run: str, n_tracks: int) -> RunReport:
    return RunReport(
        run=run, command="run", catalog=CATALOG, outcome="done", started_at=_FIRST_NIGHT,
        counts=Counts(listed=n_tracks, labeled_before=n_tracks), feature_set="f0", model=MODEL,
    )  # fmt: skip
