"""Agreement and disagreement between labels and the files' genre tags."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.trends.genre_tags import normalize_tag
from pipeline.trends.labeled_tracks import LabeledTracks

COLUMNS = ("genre_tag", "uri", "artist", "title")
"""The columns of ``tracks/`` in `DISAGREEMENTS`."""
_N_DISAGREEMENTS = 50
"""Disagreements to list at most."""

_TAGS = """\
SELECT DISTINCT genre_tag FROM labeled WHERE genre_tag IS NOT NULL AND genre IS NOT NULL ORDER BY genre_tag
"""
_COUNTS = """\
SELECT tag, genre, count(*) AS tracks
FROM labeled JOIN meanings USING (genre_tag)
WHERE genre IS NOT NULL AND tag IS NOT NULL
GROUP BY tag, genre
"""
_DISAGREEMENTS = """\
SELECT track_part, track_row, tag, genre, confidence
FROM labeled JOIN meanings USING (genre_tag)
WHERE tag < $n_genres AND tag <> genre
ORDER BY confidence DESC, track_part, track_row
LIMIT $n
"""

DISAGREEMENTS = pa.schema(
    [
        pa.field("genre_tag", pa.string()),
        pa.field("tag", pa.string()),
        pa.field("genre", pa.string()),
        pa.field("confidence", pa.float32()),
        pa.field("artist", pa.string()),
        pa.field("title", pa.string()),
        pa.field("uri", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class TagAgreement:
    """Labels compared with genre tags.

    Attributes
    ----------
    tags : tuple of str
        Normalized tags: first those that are genres of the model, in its order, then the others, most
        frequent first and then by name.
    counts : ndarray of int64, shape (n_tags, n_genres)
        Number of tracks by tag and label.
    n_tagged : int
        Labeled tracks that have a genre tag.
    n_comparable : int
        Those whose tag maps to one of the model's genres.
    n_agree : int
        Those whose label is that genre.
    disagreements : pyarrow.Table
        The most confident labels that contradict a tag, with schema `DISAGREEMENTS`; those of equal
        confidence in the order of the tracks in ``tracks/``.
    """

    tags: tuple[str, ...]
    counts: NDArray[np.int64]
    n_tagged: int
    n_comparable: int
    n_agree: int
    disagreements: pa.Table


def compare_with_tags(labeled: LabeledTracks) -> TagAgreement:
    """Compare labels with genre tags."""
    genres = labeled.genres
    tags = _normalize_tags(labeled)
    rows = labeled.query(_COUNTS)
    counts = np.zeros((len(tags), len(genres)), np.int64)
    counts[np.asarray(rows["tag"]), np.asarray(rows["genre"])] = np.asarray(rows["tracks"])
    by_tag = counts.sum(axis=1)
    of_genres = counts[: len(genres)]
    order = [k for k in range(len(genres)) if by_tag[k]]
    order += sorted(range(len(genres), len(tags)), key=lambda k: (-by_tag[k], tags[k]))
    return TagAgreement(
        tags=tuple(tags[k] for k in order),
        counts=counts[order],
        n_tagged=int(counts.sum()),
        n_comparable=int(of_genres.sum()),
        n_agree=int(np.trace(of_genres)),
        disagreements=_select_most_confident(labeled),
    )


def _normalize_tags(labeled: LabeledTracks) -> list[str]:
    """Make the table ``meanings`` of each tag's index in the returned list, the model's genres first."""
    # Tags repeat, so normalize each spelling only once.
    stored = labeled.query(_TAGS)["genre_tag"]
    number = {tag: code for code, tag in enumerate(labeled.genres)}
    meanings = []
    for text in stored.to_pylist():
        tag = normalize_tag(text, labeled.genres)
        meanings.append(number.setdefault(tag, len(number)) if tag else None)
    labeled.keys.register("meanings", pa.table({"genre_tag": stored, "tag": pa.array(meanings, pa.int32())}))
    return list(number)


def _select_most_confident(labeled: LabeledTracks) -> pa.Table:
    genres = pa.array(labeled.genres, pa.string())
    rows = labeled.query(_DISAGREEMENTS, n_genres=len(genres), n=_N_DISAGREEMENTS)
    tracks = labeled.gather_tracks(rows, COLUMNS)
    columns = {name: tracks[name] for name in COLUMNS}
    columns |= {name: genres.take(rows[name].combine_chunks()) for name in ("tag", "genre")}
    columns["confidence"] = rows["confidence"]
    return pa.table([columns[name] for name in DISAGREEMENTS.names], DISAGREEMENTS)
