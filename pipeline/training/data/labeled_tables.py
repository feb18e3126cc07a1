"""Import tables written by runs, with genres from a manifest column, the genre tag or the folder."""

import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.audio.features.descriptors import DESCRIPTOR_NAMES
from pipeline.catalogs.catalog import canonical
from pipeline.formatting import command_text
from pipeline.models.classifier import fit_frames
from pipeline.storage import storage
from pipeline.storage.track_paths import paths_below
from pipeline.tables.current import current_tracks
from pipeline.tables.format_version import tables_at
from pipeline.tables.runs import RUNS, computed_specs, last_catalog
from pipeline.tables.stored_features import newest_spec, read_features
from pipeline.tables.tables import Tables
from pipeline.training.provenance import hash_contents
from pipeline.training.training_set import TrainingSet, index_genres, pick_genres, track_path
from pipeline.training.training_settings import MIN_FRAMES
from schemas.errors import MisuseError
from schemas.features import FeatureSpec
from schemas.tables import CARRIED_LABELS

FOLDER, GENRE_TAG = "folder", "genre_tag"
"""Values of ``--label-column`` besides manifest columns: the first folder of a path, and the genre tag."""


def is_tables(location: str) -> bool:
    """Return whether runs have written tables at the location.

    Raises
    ------
    StoreError
        If the store does not tell.
    """
    with storage.explain_errors(location, "look at"):
        try:
            return bool(storage.list_names(storage.join(canonical(location), RUNS)))
        except NotADirectoryError:
            return False


def import_tables(
    location: str,
    *,
    label_column: str | None = None,
    log_mel: bool | None = None,
    descriptors: bool | None = None,
    like: FeatureSpec | None = None,
    n_frames: int | None = None,
    say: Callable[[str], None] = lambda sentence: None,
) -> TrainingSet:
    """Read the features of the current tracks, with their genres.

    Parameters
    ----------
    location : str
        Folder or URI of the tables.
    label_column : str, optional
        A column of the catalog's manifest, ``genre_tag`` (the tag of the file) or ``folder`` (the first
        folder below the catalog). By default the column ``label`` or ``genre`` of the manifest.
    log_mel, descriptors : bool, optional
        The features to read; by default those that the last run computed.
    like : FeatureSpec, optional
        What a model reads: preferred to what later runs computed.
    n_frames : int, optional
        Length of the log-mels that a model reads; by default, that of the longest.
    say : callable
        Called with a message about tracks that are left out because they have no genre, or no sound.

    Returns
    -------
    TrainingSet
        A set without failed tracks, tracks without a genre, and silent segments, which labeling ignores too.
        Log-mels are repeated, or cut, to one length, as in labeling.

    Raises
    ------
    MisuseError
        If the tables lack the features or the column.
    """
    tables = tables_at(canonical(location))
    computed = computed_specs(tables)
    spec = _pick_spec(tables, computed, log_mel, descriptors, like)
    tracks = current_tracks(tables, ("genre_tag", "carried")).to_pylist()
    catalog = last_catalog(tables)
    genre_of = find_genres(tracks, catalog, label_column, tables.root)
    kinds = [*(["log_mel"] if spec.log_mel else ()), *(DESCRIPTOR_NAMES if spec.descriptors else ())]
    labeled = pc.field("track_id").isin(pa.array(sorted(genre_of), pa.string()))
    rows = read_features(tables, spec, computed, ["n_frames", "range_db", *kinds], labeled)
    n_tracks = len(read_features(tables, spec, computed)["track_id"].unique())
    n_labeled = len(rows["track_id"].unique())
    rows = rows.filter(~_is_silent()).sort_by([("track_id", "ascending"), ("segment", "ascending")])
    if not rows.num_rows:
        raise MisuseError(
            f"no track of {catalog} has both features and a genre; choose another --label-column"
        )
    n_used = len(rows["track_id"].unique())
    for n_left_out, lacking in ((n_tracks - n_labeled, "genre"), (n_labeled - n_used, "sound")):
        if n_left_out:
            say(f"left out because they have no {lacking}: {n_left_out:,} of {n_tracks:,} tracks")
    paths = paths_below([track["uri"] for track in tracks], catalog)
    path_of = {track["track_id"]: path for track, path in zip(tracks, paths, strict=True)}
    ids = rows["track_id"].to_pylist()
    names = [genre_of[track_id] for track_id in ids]
    genres = pick_genres(names, f"the labeled part of {catalog}")
    described = (
        np.column_stack([rows[name].to_numpy() for name in DESCRIPTOR_NAMES]) if spec.descriptors else None
    )
    return TrainingSet(
        _stack_log_mels(rows, spec, n_frames) if spec.log_mel else None,
        index_genres(names, genres),
        np.array([track_path(path_of[track_id]) for track_id in ids], np.str_),
        genres,
        described,
        spec,
        content=hash_contents(
            (levels.as_py() for levels in rows["log_mel"])
            if spec.log_mel
            else (row.tobytes() for row in np.asarray(described))
        ),
    )


def _pick_spec(
    tables: Tables,
    computed: Sequence[FeatureSpec],
    log_mel: bool | None,
    descriptors: bool | None,
    like: FeatureSpec | None,
) -> FeatureSpec:
    spec = newest_spec(computed, log_mel=log_mel, descriptors=descriptors, like=like)
    if spec is not None:
        return spec
    if log_mel and descriptors:
        lacking, options = (
            "segments with both log-mels and descriptors",
            ["--model", "gtzan", "--descriptors"],
        )
    elif descriptors:
        lacking, options = "descriptors", ["--only", "descriptors"]
    else:
        lacking, options = "log-mels", ["--only", "log-mel"]
    raise MisuseError(
        f"the tables {tables.root} have no {lacking}; compute them with "
        f"'{command_text('featurize', 'CATALOG', tables.root, *options)}'"
    )


def find_genres(
    tracks: list[dict[str, Any]], catalog: str, label_column: str | None, root: str
) -> dict[str, str]:
    """Return the genre of each track that has one, by track id.

    Names that differ only in case, spaces or their Unicode form are one genre, as most tracks spell it.
    """
    carried = [dict(track["carried"] or ()) for track in tracks]
    columns = sorted({name for values in carried for name in values})
    if label_column is None:
        label_column = next((name for name in CARRIED_LABELS if name in columns), None)
    if label_column in columns:
        found = [values.get(label_column, "") for values in carried]
    elif label_column == GENRE_TAG:
        found = [track["genre_tag"] or "" for track in tracks]
    elif label_column == FOLDER:
        found = [_first_folder(path) for path in paths_below([track["uri"] for track in tracks], catalog)]
    else:
        have = ", ".join([*columns, GENRE_TAG, FOLDER])
        what = f"no column '{label_column}'" if label_column else "no column label or genre"
        raise MisuseError(f"the tracks of {root} have {what}; choose with --label-column: {have}")
    named = [(track["track_id"], name.strip()) for track, name in zip(tracks, found, strict=True)]
    spellings: dict[str, str] = {}
    for name, _ in sorted(Counter(name for _, name in named).items(), key=lambda each: (-each[1], each[0])):
        spellings.setdefault(_plain(name), name)
    return {track_id: spellings[_plain(name)] for track_id, name in named if name}


def _plain(name: str) -> str:
    return " ".join(unicodedata.normalize("NFC", name).casefold().split())


def _first_folder(path: str) -> str:
    folder, slash, _ = path.partition("/")
    return folder if slash else ""


def _is_silent() -> pc.Expression:
    """Return `schemas.tracks.is_silent_range` as an Arrow expression."""
    return (pc.field("range_db") < 0) | ((pc.field("n_frames") > 0) & (pc.field("range_db") == 0))


def _stack_log_mels(rows: pa.Table, spec: FeatureSpec, n_frames: int | None) -> NDArray[np.uint8]:
    n_frames = n_frames or max(MIN_FRAMES, pc.max(rows["n_frames"]).as_py())
    fitted = np.empty((rows.num_rows, spec.n_mels, n_frames), np.uint8)
    for target, levels in zip(fitted, rows["log_mel"], strict=True):
        # Without to_pylist, which would copy all bytes of a large set.
        target[:] = fit_frames(np.frombuffer(levels.as_buffer(), np.uint8).reshape(spec.n_mels, -1), n_frames)
    return fitted
