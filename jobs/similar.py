"""``earmark similar``: the tracks that sound most like a given one."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.console.messages import Say
from jobs.read_tables import pick_embedding_model
from pipeline.catalogs.catalog import canonical, is_same
from pipeline.storage import storage
from pipeline.tables.current import CURRENT_LABELS, define_current_tracks_of
from pipeline.tables.gather import gather
from pipeline.tables.keys import Keys, open_keys
from pipeline.tables.runs import last_catalog
from pipeline.tables.similar import find_nearest
from pipeline.tables.tables import Tables, read_again_if_replaced
from pipeline.tables.track_vectors import Watch, find_vector, read_track_vectors
from schemas.errors import MisuseError

_TRACK_COLUMNS = ("track_id", "uri", "artist", "title", "duration_s")
_IDS = "SELECT DISTINCT track_id FROM tracks WHERE {where}"
_CURRENT = "SELECT track_id, uri, etag FROM current_tracks AS tracks WHERE {where} ORDER BY uri"
_PLACES = "SELECT part, row FROM {rows} SEMI JOIN nearest USING (track_id) ORDER BY part, row"


@dataclass(frozen=True, slots=True)
class SimilarTracks:
    """The tracks that sound most like a given one.

    Attributes
    ----------
    rows : pyarrow.Table
        ``track_id``, ``uri``, ``artist``, ``title``, ``duration_s``, ``genre`` (the label of this model) and
        ``similarity`` (cosine, at most 1), the nearest first, without the track itself.
    model : str
        The model whose embeddings were compared.
    """

    rows: pa.Table
    model: str


@read_again_if_replaced
def find_similar(
    tables: Tables,
    track: str,
    n: int = 10,
    model: str | None = None,
    watch: Watch = lambda _done, _total: None,
    say: Say = lambda _: None,
) -> SimilarTracks:
    """Find the tracks of the catalog whose mean embeddings are nearest to that of a track.

    Parameters
    ----------
    tables : Tables
        Tables with embeddings.
    track : str
        A track of the catalog, by its id, its uri or its path below the catalog; or any other audio file,
        which is decoded and embedded for this.
    n : int
        Number of tracks to find.
    model : str, optional
        Name with or without hash, or folder, of the model whose embeddings are compared; by default, the one
        of the latest embeddings.
    watch : callable
        Called with the number of parts of the embeddings that have been read, and the number to read: those
        that are not in the cache yet.
    say : callable
        Prints a message for the user.

    Raises
    ------
    MisuseError
        If there are no embeddings of the model, or there is no such track or several, or it is silent.
    TrackError
        If the file cannot be decoded.
    """
    if n < 1:
        raise MisuseError(f"the number of tracks to find must be at least 1, not {n}")
    with open_keys(tables) as keys:
        full_model = pick_embedding_model(keys.stored, model)
        own = _find_listed(keys, track, last_catalog(tables))
        if own is None and storage.is_local(track) and not _exists(storage.split(track)[1]):
            raise MisuseError(
                f"'{track}' is neither a track of the catalog nor a file; give its id, its path below the "
                "catalog, or an audio file"
            )
        vectors = read_track_vectors(keys.stored, full_model, watch)
        query = None if own is None else find_vector(vectors, own["track_id"], own["etag"])
        if query is None:
            from jobs.embed_track import embed_track  # the decoders take longer to load than most answers

            say(f"{track} has no embedding of {full_model} yet: embedding it")
            query = embed_track(tables, full_model, track if own is None else own["uri"])
        if not np.linalg.norm(query) > 0:
            raise MisuseError(f"{track} is silent, so nothing sounds like it; choose another track")
        without = None if own is None else own["track_id"]
        nearest = find_nearest(keys, vectors, query, n, without=without)
        return SimilarTracks(_describe(keys, full_model, nearest), full_model)


def _exists(path: str) -> bool:
    """Return whether there is a file; `Path.exists` raises an OSError for a name that is too long."""
    return os.path.exists(path)  # noqa: PTH110


def _find_listed(keys: Keys, track: str, catalog: str) -> dict[str, str] | None:
    """Return the track of the catalog with this id, uri, or path below some folder; None if there is none."""
    keys.load("tracks")
    protocol, path = storage.split(track)
    exists = protocol == "file" and _exists(path)
    name, place = storage.local_uri(track), canonical(track)
    wanted = [name, storage.join(catalog, name), place]
    rows = _find_current(keys, "track_id = $name OR list_contains($uris, uri)", name=name, uris=wanted)
    if rows:
        return min(rows, key=lambda row: -1 if row["track_id"] == name else wanted.index(row["uri"]))
    if exists:
        # The same file by another name, such as a link; files are compared only if they end alike.
        for row in _find_current(keys, "ends_with(uri, $name)", name=f"/{Path(place).name}")[:100]:
            if is_same(row["uri"], place):
                return row
        return None
    # Such as the path that other commands print, below the folder of a manifest's tracks.
    alike = _find_current(keys, "ends_with(uri, $name)", name=f"/{name}")
    if len(alike) > 1:
        uris = ", ".join(row["uri"] for row in alike[:3])
        raise MisuseError(
            f"'{track}' could be {len(alike):,} tracks ({uris}); give more of its path, or its id"
        )
    return alike[0] if alike else None


def _find_current(keys: Keys, where: str, **parameters: object) -> list[dict[str, str]]:
    """Return the tracks of the catalog for which a condition of SQL holds, sorted by uri."""
    define_current_tracks_of(keys, keys.query(_IDS.format(where=where), **parameters))
    rows: list[dict[str, str]] = keys.query(_CURRENT.format(where=where), **parameters).to_pylist()
    return rows


def _describe(keys: Keys, model: str, nearest: pa.Table) -> pa.Table:
    """Add where tracks are, their tags, and their genres. They are among the current tracks of the keys."""
    ids = nearest["track_id"]
    keys.load("labels")
    keys.register("nearest", nearest.select(["track_id"]))
    places = keys.query(_PLACES.format(rows="current_tracks"))
    tracks = gather(keys.stored, "tracks", places, _TRACK_COLUMNS)
    places = keys.query(_PLACES.format(rows=f"({CURRENT_LABELS})"), model=model)
    genres = gather(keys.stored, "labels", places, ["track_id", "genre"])
    rows = tracks.take(pc.index_in(ids, tracks["track_id"]))
    return pa.table(
        {
            **{name: rows[name] for name in _TRACK_COLUMNS},
            "genre": genres["genre"].take(pc.index_in(ids, genres["track_id"])),
            "similarity": nearest["similarity"],
        }
    )
