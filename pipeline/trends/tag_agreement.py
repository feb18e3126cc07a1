"""Agreement and disagreement between labels and the files' genre tags."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.trends.genre_tags import normalize_tag
from pipeline.trends.labeled_tracks import LabeledTracks

COLUMNS = ("genre_tag", "uri", "artist", "title")
"""The columns of ``tracks/`` that the comparison reads."""

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
        frequent first.
    counts : ndarray of int64, shape (n_tags, n_genres)
        Number of tracks by tag and label.
    n_tagged : int
        Labeled tracks that have a genre tag.
    n_comparable : int
        Those whose tag maps to one of the model's genres.
    n_agree : int
        Those whose label is that genre.
    disagreements : pyarrow.Table
        The most confident labels that contradict a tag, with schema `DISAGREEMENTS`.
    """

    tags: tuple[str, ...]
    counts: NDArray[np.int64]
    n_tagged: int
    n_comparable: int
    n_agree: int
    disagreements: pa.Table


def compare_with_tags(labeled: LabeledTracks, *, n_disagreements: int = 50) -> TagAgreement:
    """Compare labels with genre tags.

    Parameters
    ----------
    labeled : LabeledTracks
        Tracks with the columns `COLUMNS`.
    n_disagreements : int
        Maximum number of disagreements to list.
    """
    genres = labeled.genres
    tags, codes = _normalize_tags(labeled)
    both = (codes >= 0) & (labeled.winner >= 0)
    n_tags, n_genres = len(tags), len(genres)
    counts = np.bincount(codes[both] * n_genres + labeled.winner[both], minlength=n_tags * n_genres).reshape(
        n_tags, n_genres
    )
    comparable = both & (codes < n_genres)
    wrong = comparable & (codes != labeled.winner)
    used = counts.sum(axis=1) > 0
    order = [k for k in range(n_genres) if used[k]]
    order += [
        n_genres + k for k in np.argsort(-counts[n_genres:].sum(axis=1), kind="stable") if used[n_genres + k]
    ]
    return TagAgreement(
        tags=tuple(tags[k] for k in order),
        counts=counts[order],
        n_tagged=int(both.sum()),
        n_comparable=int(comparable.sum()),
        n_agree=int(comparable.sum() - wrong.sum()),
        disagreements=_select_most_confident(labeled, tags, codes, wrong, n_disagreements),
    )


def _normalize_tags(labeled: LabeledTracks) -> tuple[list[str], NDArray[np.int64]]:
    """Return the normalized tags, the model's genres first, and the index of each track's tag or -1."""
    # Tags repeat, so normalize each spelling only once.
    stored = labeled.tracks["genre_tag"].combine_chunks().dictionary_encode()
    tags = list(labeled.genres)
    number = {tag: code for code, tag in enumerate(tags)}
    meaning = []
    for text in stored.dictionary.to_pylist():
        tag = normalize_tag(text, labeled.genres)
        meaning.append(number.setdefault(tag, len(number)) if tag else -1)
    codes = np.asarray(pc.fill_null(stored.indices, -1), dtype=np.int64)
    return list(number), np.array([*meaning, -1])[codes]


def _select_most_confident(
    labeled: LabeledTracks, tags: list[str], codes: NDArray[np.int64], wrong: NDArray[np.bool_], n: int
) -> pa.Table:
    rows = np.flatnonzero(wrong)
    rows = rows[np.argsort(-labeled.confidence[rows], kind="stable")[:n]]
    tracks = labeled.tracks.select(COLUMNS).take(pa.array(rows))
    values = {
        "tag": pa.array([tags[code] for code in codes[rows]], pa.string()),
        "genre": pa.array([labeled.genres[code] for code in labeled.winner[rows]], pa.string()),
        "confidence": pa.array(labeled.confidence[rows]),
    }
    columns = [values[name] if name in values else tracks[name] for name in DISAGREEMENTS.names]
    return pa.Table.from_arrays(columns, schema=DISAGREEMENTS)
