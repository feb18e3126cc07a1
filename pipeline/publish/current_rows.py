"""The rows to publish: the current label of each track with the newest facts about it, a few parts at a time.

Memory stays bounded. The queries spill to the disk, the facts of the tracks wait in the database, and the
labels are read part by part, in the order of their parts.
"""

from collections.abc import Iterable, Iterator

import pyarrow as pa

from pipeline.publish.mean_embeddings import gather_means
from pipeline.tables.current import CURRENT_LABELS, define_current_tracks
from pipeline.tables.gather import gather
from pipeline.tables.keys import Keys
from pipeline.tables.parts import complete
from schemas.published import IDENTITY, LABEL_COLUMNS, TRACK_FACTS, published_schema

_ROWS_AT_ONCE = 20_000
"""Rows to gather at least, unless a part holds more."""

_WANTED = """\
WITH listed AS (
    SELECT part AS track_part, row AS track_row, listed_at FROM tracks
),
seen AS (
    SELECT track_id, min(listed_at) AS first_seen FROM tracks GROUP BY track_id
)
SELECT track_id, etag, listed_at, model, labeled_at, part, row, track_part, track_row, first_seen
FROM ({current_labels}) JOIN listed USING (track_part, track_row) JOIN seen USING (track_id)
"""

_WITH_EMBEDDINGS = """\
WITH embedded AS (
    SELECT track_id, etag, max(part) AS embedding_part, arg_max(row, part) AS embedding_row,
        arg_max(run, part) AS embedding_run
    FROM embeddings
    WHERE model = $model
    GROUP BY track_id, etag
)
SELECT wanted.*, embedding_part, embedding_row, embedding_run
FROM wanted LEFT JOIN embedded USING (track_id, etag)
"""

_CHANGED = "SELECT wanted.* FROM wanted ANTI JOIN published ON {same}"
_NOT_ONCE = "SELECT track_id FROM published GROUP BY track_id HAVING count(*) > 1 OR track_id IS NULL"
_REMOVED = "SELECT track_id FROM published ANTI JOIN wanted USING (track_id)"
_TRACK_PLACES = """\
SELECT track_part AS part, track_row AS row, part AS label_part, row AS label_row, first_seen
FROM changed
WHERE track_part BETWEEN $first AND $last
ORDER BY track_part, track_row
"""
_FACTS = """\
SELECT {columns} FROM facts WHERE label_part BETWEEN $first AND $last ORDER BY label_part, label_row
"""
_PLACES = "SELECT * FROM changed WHERE part BETWEEN $first AND $last ORDER BY part, row"
_COUNTS = "SELECT {part} AS number, count(*) AS rows FROM changed GROUP BY ALL ORDER BY number"


class CurrentRows:
    """The rows of a model to publish, compared with those that are published.

    Parameters
    ----------
    keys : Keys
        The keys of the tables.
    model : str
        The model's name with its hash.
    embeddings : bool
        Whether to publish the mean embedding of each track.

    Attributes
    ----------
    schema : pyarrow.Schema
        The columns of the rows.
    n_rows : int
        All rows.
    error : BaseException or None
        What ended a stream early: libraries that read it raise errors of their own.
    """

    def __init__(self, keys: Keys, model: str, *, embeddings: bool) -> None:
        self._keys = keys
        self._model = model
        self._embeddings = embeddings
        self.schema = published_schema(embeddings=embeddings)
        self.error: BaseException | None = None
        keys.load("labels", *(("embeddings",) if embeddings else ()))
        define_current_tracks(keys)
        keys.define("wanted", _WANTED.format(current_labels=CURRENT_LABELS), model=model)
        if embeddings:
            keys.define("wanted", _WITH_EMBEDDINGS, model=model)
        self.n_rows = keys.count("FROM wanted")

    @property
    def identity(self) -> list[str]:
        """The columns by which a published row is compared."""
        return [*IDENTITY, *(("embedding_run",) if self._embeddings else ())]

    def compare(self, published: Iterable[pa.RecordBatch]) -> tuple[int, int]:
        """Compare with the published rows.

        Parameters
        ----------
        published : iterable of pyarrow.RecordBatch
            Those of their columns `identity` that they have.

        Returns
        -------
        changed, removed : int
            Rows that are new or different, and tracks that are published but have no current label.
        """
        schema = pa.schema([self.schema.field(name).remove_metadata() for name in self.identity])
        self._keys.create("published", schema)
        for batch in published:
            self._keys.append("published", complete(pa.Table.from_batches([batch]), schema))
        same = " AND ".join(f"wanted.{name} IS NOT DISTINCT FROM published.{name}" for name in schema.names)
        self._keys.define("changed", _CHANGED.format(same=same))
        self._keys.define("removed", _REMOVED)
        return self._keys.count("FROM changed"), self._keys.count("FROM removed")

    def is_each_published_once(self) -> bool:
        """Whether each published row is of a track of its own; `compare` must have been called."""
        return self._keys.count(_NOT_ONCE) == 0

    def is_model_published(self) -> bool:
        """Whether a published row is of this model; `compare` must have been called."""
        return self._keys.count("FROM published WHERE model = $model", model=self._model) > 0

    def removed_ids(self) -> pa.Table:
        """Return the ``track_id`` of the tracks that are published but have no current label."""
        return self._keys.query("SELECT track_id FROM removed ORDER BY track_id")

    def changed(self) -> pa.RecordBatchReader:
        """Return the rows that are new or different, as a stream; `compare` must have been called."""
        return pa.RecordBatchReader.from_batches(self.schema, self._stream())

    def all(self) -> pa.RecordBatchReader:
        """Return all rows, as a stream."""
        self._keys.define("changed", "FROM wanted")
        return pa.RecordBatchReader.from_batches(self.schema, self._stream())

    def _stream(self) -> Iterator[pa.RecordBatch]:
        try:
            self._keep_facts()
            for first, last in self._spans("part"):
                yield from self._gather(first, last).to_batches(max_chunksize=_ROWS_AT_ONCE)
        except BaseException as error:
            self.error = error
            raise

    def _keep_facts(self) -> None:
        """Read the facts of the changed tracks into the database, with the places of their labels."""
        keys = self._keys
        keys.load("tracks")
        inside = [name for name in TRACK_FACTS.names if name != "first_seen"]
        places = pa.schema([("label_part", pa.int32()), ("label_row", pa.int32())])
        schema = pa.schema([*(field.remove_metadata() for field in TRACK_FACTS), *places])
        keys.create("facts", schema)
        for first, last in self._spans("track_part"):
            found = keys.query(_TRACK_PLACES, first=first, last=last)
            rows = gather(keys.stored, "tracks", found, inside)
            for name in ("first_seen", *places.names):
                rows = rows.append_column(name, found[name])
            keys.append("facts", rows.select(schema.names).cast(schema))

    def _spans(self, column: str) -> Iterator[tuple[int, int]]:
        """Cut the parts of the changed rows into spans of enough rows, from the first to the last part."""
        counts = self._keys.query(_COUNTS.format(part=column)).to_pydict()
        first, total = None, 0
        for part, rows in zip(counts["number"], counts["rows"], strict=True):
            first = part if first is None else first
            total += rows
            if total >= _ROWS_AT_ONCE:
                yield first, part
                first, total = None, 0
        if first is not None:
            yield first, counts["number"][-1]

    def _gather(self, first: int, last: int) -> pa.Table:
        """Gather the rows whose labels are in some parts, in their order."""
        keys = self._keys
        places = keys.query(_PLACES, first=first, last=last)
        facts = keys.query(_FACTS.format(columns=", ".join(TRACK_FACTS.names)), first=first, last=last)
        labels = gather(keys.stored, "labels", places, LABEL_COLUMNS.names)
        columns = [*facts.columns, *labels.columns]
        if self._embeddings:
            columns += [gather_means(keys, places), places["embedding_run"]]
        rows = pa.Table.from_arrays(columns, names=self.schema.names)
        return rows.cast(self.schema)
