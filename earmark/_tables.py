"""Read the tables that runs have written, as Arrow tables of the current rows."""

import os
from typing import Literal

import pyarrow as pa

from jobs import read_tables
from jobs.similar import find_similar
from jobs.trends import find_trends, select_rows
from pipeline.tables.current import current_tracks
from pipeline.tables.current import list_models as models_of
from pipeline.tables.runs import read_reports
from pipeline.tables.tables import Tables as StoredTables
from schemas.report import Counts
from schemas.tables import TIMESTAMP, TRACKS

_RUNS = pa.schema(
    [
        *((name, pa.string()) for name in ("run", "command", "catalog", "outcome", "error")),
        *((name, TIMESTAMP) for name in ("started_at", "finished_at")),
        *((name, pa.float64()) for name in ("wall_s", "audio_s", "tracks_per_hour")),
        *((name, pa.int64()) for name in Counts.model_fields),
        *((name, pa.string()) for name in ("model", "feature_set")),
    ]
)


class Tables:
    """What runs have written under one root; `open_tables` opens it.

    Each method reads the current state of the tables, even during a run, and returns a `pyarrow.Table`, for
    ``.to_pandas()``, DuckDB or Polars. Nothing is ever written.

    Parameters
    ----------
    tables : pipeline.tables.tables.Tables
        The tables as stored.
    """

    def __init__(self, tables: StoredTables) -> None:
        self._tables = tables

    def __repr__(self) -> str:
        return f"<earmark.Tables {self.root}>"

    @property
    def root(self) -> str:
        """Location of the tables: an absolute path or a URI."""
        return self._tables.root

    def models(self) -> list[str]:
        """Return the names, with hash, of the models that have labeled tracks; the latest is last."""
        return models_of(self._tables)

    def labels(
        self, model: str | None = None, *, genre: str | None = None, min_confidence: float = 0.0
    ) -> pa.Table:
        """Return the current labels: for each track in the catalog, the newest label of its present content.

        Parameters
        ----------
        model : str, optional
            Name with or without hash, or folder, of a model; by default, the one that labeled last.
        genre : str, optional
            Only tracks of this genre.
        min_confidence : float
            Only labels with at least this confidence.

        Returns
        -------
        pyarrow.Table
            A row for each track, sorted by uri: the columns of ``labels/``.

        Raises
        ------
        MisuseError
            If there are no labels of the model, or it has no such genre.
        """
        return read_tables.read_labels(self._tables, model, genre=genre, min_confidence=min_confidence)

    def embeddings(self, model: str | None = None) -> pa.Table:
        """Return the current embeddings, which runs with ``--embeddings`` write: a vector for each segment.

        Parameters
        ----------
        model : str, optional
            Name with or without hash, or folder, of a model; by default, the one of the latest embeddings.

        Returns
        -------
        pyarrow.Table
            A row for each segment, sorted by track and segment: the columns of ``embeddings/`` and ``uri``.
            ``vector`` is a list of a fixed size, of float16, and all zero for a silent segment.

        Raises
        ------
        MisuseError
            If there are no embeddings of the model.
        """
        return read_tables.read_embeddings(self._tables, model)

    def similar(self, track: str | os.PathLike[str], n: int = 10, model: str | None = None) -> pa.Table:
        """Return the tracks of the catalog that sound most like a track, the nearest first.

        Nearness is the cosine of the mean embeddings, which runs with ``--embeddings`` write. All tracks that
        have some are compared, so the result is exact.

        Parameters
        ----------
        track : str or path
            A track of the catalog, by its id, its uri or its path below the catalog; or any other audio file.
        n : int
            Number of tracks.
        model : str, optional
            As in `embeddings`.

        Returns
        -------
        pyarrow.Table
            ``track_id``, ``uri``, ``artist``, ``title``, ``duration_s``, ``genre`` and ``similarity``
            (at most 1). The track itself is left out.

        Raises
        ------
        MisuseError
            If there are no embeddings of the model, or the track is silent.
        TrackError
            If the file does not exist or cannot be decoded.
        """
        return find_similar(self._tables, os.fspath(track), n, model).rows

    def tracks(self) -> pa.Table:
        """Return the tracks of the catalog as last listed, sorted by uri, with tags and audio properties."""
        names = tuple(name for name in TRACKS.names if name != "present")
        return current_tracks(self._tables, names).select(names).sort_by("uri")

    def failures(self, model: str | None = None) -> pa.Table:
        """Return the current failures, sorted by uri: tracks without a label, and the reason.

        Parameters
        ----------
        model : str, optional
            Failures that concern this model; by default, the model of the last run.
        """
        return read_tables.read_failures(self._tables, model)

    def trends(
        self,
        by: str = "year",
        model: str | None = None,
        *,
        show: Literal["shares", "changes", "tags", "disagreements"] = "shares",
        weight: Literal["count", "confidence"] = "count",
        top: int | None = None,
    ) -> pa.Table:
        """Return shares of genres in the current labels by year, month, artist, folder or another column.

        Parameters
        ----------
        by : str
            How to group tracks, as in ``earmark trends --by``.
        model : str, optional
            As in `labels`.
        show : str
            ``shares`` with 95 % intervals; ``changes``, rising and falling genres; ``tags``, tags of the
            files versus labels; ``disagreements`` between the two.
        weight : str
            Weight of a track: ``count``, 1; ``confidence``, its confidence.
        top : int, optional
            Only this many groups, those with the most tracks.

        Raises
        ------
        MisuseError
            If there are no labels of the model, or no track has a value to group by.
        """
        found = find_trends(self._tables, model, by=by, weight=weight, top=top)
        return select_rows(found, show)

    def runs(self) -> pa.Table:
        """Return the runs, oldest first: times, outcomes, and numbers of tracks listed and labeled."""
        rows = [
            report.model_dump(include=set(_RUNS.names)) | report.counts.model_dump()
            for report in read_reports(self._tables)
        ]
        return pa.Table.from_pylist(rows, _RUNS)


def open_tables(location: str | os.PathLike[str]) -> Tables:
    """Open the tables that runs have written, for reading.

    Parameters
    ----------
    location : str or path
        A folder or the prefix of an object store: TABLES of ``earmark run CATALOG TABLES``.

    Returns
    -------
    Tables
        Their labels, tracks, failures, trends and runs.

    Raises
    ------
    MisuseError
        If no run has written there, or a newer Earmark has.

    Examples
    --------
    >>> import earmark
    >>> tables = earmark.open_tables("tables")
    >>> tables.labels(min_confidence=0.3).to_pandas()["genre"].value_counts().to_dict()
    {'blues': 4}
    >>> tables.failures()["error_type"].to_pylist()
    ['DecodeError', 'EmptyFileError']
    >>> tables.runs().to_pandas()[["outcome", "labeled", "failed"]]
      outcome  labeled  failed
    0    done        4       2
    1    done        2       0
    """
    return Tables(read_tables.open_tables(os.fspath(location)))
