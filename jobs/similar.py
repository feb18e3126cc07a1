"""``earmark similar``: the tracks that sound most like a given one."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from jobs.read_tables import pick_embedding_model
from pipeline.catalogs.catalog import canonical, is_same
from pipeline.models.bundle import ModelBundle
from pipeline.models.classifier import Classifier
from pipeline.models.network_shape import network_inputs
from pipeline.shards.limits import TrackLimits
from pipeline.shards.one_track import named_track
from pipeline.shards.outcomes import featurize_isolated
from pipeline.stopwatch import Stopwatch
from pipeline.storage import storage
from pipeline.tables.current import current_tracks
from pipeline.tables.embeddings import read_track_vectors, read_vectors
from pipeline.tables.runs import read_reports
from pipeline.tables.similar import pick_nearest, score_tracks
from pipeline.tables.tables import Tables, keep_newest
from schemas.config import RunConfig
from schemas.errors import MisuseError, TrackError

_SETTINGS = RunConfig()


def find_similar(tables: Tables, track: str, n: int = 10, model: str | None = None) -> pa.Table:
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

    Returns
    -------
    pyarrow.Table
        ``track_id``, ``uri``, ``artist``, ``title``, ``genre`` (the label of this model) and ``similarity``
        (cosine, at most 1), the nearest first, without the track itself.

    Raises
    ------
    MisuseError
        If there are no embeddings of the model, or there is no such track, or it is silent.
    TrackError
        If the file cannot be decoded.
    """
    if n < 1:
        raise MisuseError(f"the number of tracks to find must be at least 1, not {n}")
    full_model = pick_embedding_model(tables, model)
    listed = current_tracks(tables, ("artist", "title"))
    own = _find_listed(listed, track, read_reports(tables, last=1)[0].catalog)
    if own is None and storage.is_local(track) and not Path(storage.split(track)[1]).exists():
        raise MisuseError(
            f"'{track}' is neither a track of the catalog nor a file; give its id, its path below the "
            "catalog, or an audio file"
        )
    stored = None
    if own is not None:
        stored = read_track_vectors(tables, full_model, own["track_id"], own["etag"])
    vectors = _embed(tables, full_model, track if own is None else own["uri"]) if stored is None else stored
    query = vectors.sum(axis=0, dtype=np.float32)
    if not query.any():
        raise MisuseError(f"{track} is silent, so nothing sounds like it; choose another track")
    scores = score_tracks(read_vectors(tables, full_model), query)
    without = None if own is None else own["track_id"]
    return _describe(tables, full_model, pick_nearest(scores, listed, n, without=without), listed)


def _find_listed(listed: pa.Table, track: str, catalog: str) -> dict[str, str] | None:
    """Return the track of the catalog with this id, uri or path below the catalog; None if there is none."""
    for column, value in (("track_id", track), ("uri", track), ("uri", storage.join(catalog, track))):
        rows = listed.filter(pc.equal(listed[column], value))
        if rows.num_rows:
            return dict(rows.slice(0, 1).to_pylist()[0])
    if storage.is_local(track) and Path(track).exists():
        rows = listed.filter(pc.equal(listed["uri"], canonical(track)))
        if rows.num_rows:
            return dict(rows.slice(0, 1).to_pylist()[0])
        # The same file by another name, such as a link; files are compared only if they end alike.
        alike = listed.filter(pc.ends_with(listed["uri"], f"/{Path(track).name}"))
        for row in alike.slice(0, 100).to_pylist():
            if is_same(row["uri"], canonical(track)):
                return dict(row)
    return None


def _embed(tables: Tables, model: str, track: str) -> NDArray[np.floating]:
    """Decode a track in a process of its own, and return the embeddings of its segments with sound."""
    bundle = ModelBundle.load(storage.join(tables.root, "_models", model))
    limits = TrackLimits(_SETTINGS.track_timeout_s, _SETTINGS.track_memory_mb << 20)
    ((_, features),) = featurize_isolated([named_track(track)], bundle.info.features, Stopwatch(), limits)
    if isinstance(features, TrackError):
        raise features
    heard = [segment for segment in features.segments if not segment.is_silent]
    if not heard:
        return np.zeros((1, 1), np.float32)
    classifier = Classifier(bundle, threads=1, batch_size=len(heard))
    return classifier.predict_and_embed(*network_inputs(heard))[1]


def _describe(tables: Tables, model: str, nearest: pa.Table, listed: pa.Table) -> pa.Table:
    """Add where the tracks are, their tags, and their genres."""
    ids = nearest["track_id"].to_pylist()
    where = (pc.field("model") == model) & pc.field("track_id").isin(nearest["track_id"].combine_chunks())
    labels = keep_newest(tables.read("labels", ["track_id", "genre", "labeled_at"], where), "labeled_at")
    genre_of = dict(zip(labels["track_id"].to_pylist(), labels["genre"].to_pylist(), strict=True))
    rows = listed.take(pc.index_in(nearest["track_id"], listed["track_id"]))
    return pa.table(
        {
            "track_id": nearest["track_id"],
            **{name: rows[name] for name in ("uri", "artist", "title")},
            "genre": pa.array([genre_of.get(each) for each in ids], pa.string()),
            "similarity": nearest["similarity"],
        }
    )
