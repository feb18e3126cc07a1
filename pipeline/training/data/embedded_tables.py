"""Import embeddings from the tables of runs, with genres as for `pipeline.training.data.labeled_tables`."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.storage.track_paths import paths_below
from pipeline.tables.current import current_tracks
from pipeline.tables.embeddings import current_embeddings, stack_vectors
from pipeline.tables.runs import last_catalog
from pipeline.tables.tables import Tables
from pipeline.training.data.labeled_tables import find_genres
from pipeline.training.embedded_tracks import EmbeddedTracks
from pipeline.training.training_set import index_genres, pick_genres, track_path
from schemas.errors import MisuseError

ARTIST_COLUMN = "artist"
"""A column of the manifest that holds the artist, for files without such a tag."""


def import_embeddings(
    tables: Tables,
    model: str,
    *,
    label_column: str | None = None,
    say: Callable[[str], None] = lambda sentence: None,
) -> EmbeddedTracks:
    """Read the embeddings of the current tracks that have a genre.

    Parameters
    ----------
    tables : Tables
        The tables.
    model : str
        The model of the embeddings, with its hash.
    label_column : str, optional
        Where the genres are; see `pipeline.training.data.labeled_tables.import_tables`.
    say : callable
        Called with a message about tracks that are left out.

    Raises
    ------
    MisuseError
        If there is no such column, or no track with embeddings and a genre.
    """
    tracks = current_tracks(tables, ("genre_tag", "carried", "artist")).to_pylist()
    catalog = last_catalog(tables)
    genre_of = find_genres(tracks, catalog, label_column, tables.root)
    rows = current_embeddings(tables, model)
    if not rows.num_rows:
        raise MisuseError(
            f"no track in the catalog of {tables.root} has embeddings of {model}; run the model again with "
            "--embeddings"
        )
    n_tracks = len(rows["track_id"].unique())
    vectors = stack_vectors(rows["vector"].combine_chunks()).astype(np.float32)
    known = pc.is_in(rows["track_id"], value_set=_strings(list(genre_of))).to_numpy(zero_copy_only=False)
    heard = vectors.any(axis=1)
    ids = np.array(rows["track_id"].to_pylist(), object)
    for kept, lacking in ((known, "genre"), (heard, "sound")):
        if n_left_out := n_tracks - len(set(ids[kept])):
            say(f"left out because they have no {lacking}: {n_left_out:,} of {n_tracks:,} tracks")
    kept = known & heard
    if not kept.any():
        raise MisuseError(
            f"no track of {catalog} has both embeddings of {model} and a genre; choose another --label-column"
        )
    names, track_of = np.unique(ids[kept].astype(np.str_), return_inverse=True)
    track_by_id = {track["track_id"]: track for track in tracks}
    chosen = [track_by_id[name] for name in names.tolist()]
    paths = paths_below([each["uri"] for each in chosen], catalog)
    found = [genre_of[name] for name in names.tolist()]
    genres = pick_genres(found, f"the labeled part of {catalog}")
    return EmbeddedTracks(
        vectors=vectors[kept],
        track_of=track_of.astype(np.intp),
        names=np.array([track_path(path) for path in paths], np.str_),
        labels=index_genres(found, genres),
        artists=np.array([_artist(each) for each in chosen], np.str_),
        genres=genres,
    )


def _strings(values: list[str]) -> pa.Array:
    return pa.array(values, pa.string())


def _artist(track: dict[str, Any]) -> str:
    """Return the artist of a track: its tag, or else what the manifest says."""
    carried = dict(track["carried"] or ())
    return str(track["artist"] or carried.get(ARTIST_COLUMN) or "").strip()
