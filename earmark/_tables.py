"""The tables that runs have written, as Arrow tables of what holds now."""

import os
from typing import Literal

import pyarrow as pa

from jobs import status
from jobs.trends import find_trends, rows_to_write
from pipeline.tables.current import current_tracks
from pipeline.tables.current import list_models as models_of
from pipeline.tables.run_reports import read_reports
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

    Each method reads the tables as they are at that moment, in a notebook beside a run too, and returns a
    `pyarrow.Table`, for ``.to_pandas()``, DuckDB or Polars. Nothing is ever written.

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
        """Where the tables are: an absolute path or a URI."""
        return self._tables.root

    def models(self) -> list[str]:
        """Names, with their hash, of the models that have labeled tracks, the last one at the end."""
        return models_of(self._tables)

    def labels(
        self, model: str | None = None, *, genre: str | None = None, min_confidence: float = 0.0
    ) -> pa.Table:
        """The current labels: of each track in the catalog the newest one of its present content.

        Parameters
        ----------
        model : str, optional
            Name with or without its hash, or folder, of the model; if not given, the one that labeled last.
        genre : str, optional
            Only tracks of this genre.
        min_confidence : float
            Only tracks that the model was at least so sure of.

        Returns
        -------
        pyarrow.Table
            A row for each track, sorted by uri: the columns of ``labels/``.

        Raises
        ------
        MisuseError
            If there are no labels of the model, or it knows no such genre.
        """
        return status.labels(self._tables, model, genre=genre, min_confidence=min_confidence)

    def tracks(self) -> pa.Table:
        """The tracks of the catalog as last listed, sorted by uri, with their tags and audio facts."""
        names = tuple(name for name in TRACKS.names if name != "present")
        return current_tracks(self._tables, names).select(names).sort_by("uri")

    def failures(self, model: str | None = None) -> pa.Table:
        """The current failures, sorted by uri: tracks that have no label, and why.

        Parameters
        ----------
        model : str, optional
            What stands in the way of this model; if not given, of the one of the last run.
        """
        return status.failures(self._tables, model)

    def trends(
        self,
        by: str = "year",
        model: str | None = None,
        *,
        show: Literal["shares", "changes", "tags", "disagreements"] = "shares",
        weight: Literal["count", "confidence"] = "count",
        top: int | None = None,
    ) -> pa.Table:
        """Shares of genres in the current labels by year, month, artist, folder or another column.

        Parameters
        ----------
        by : str
            What tracks are grouped by, as ``earmark trends --by`` has it.
        model : str, optional
            As `labels`.
        show : str
            ``shares`` with 95 % intervals; ``changes``, what rises and falls over time; ``tags``, the files'
            own genre tags against labels; ``disagreements`` of these.
        weight : str
            ``count``: every track counts one; ``confidence``: it counts its confidence.
        top : int, optional
            Only the groups with most tracks.

        Raises
        ------
        MisuseError
            If there are no labels of the model, or no track has what is grouped by.
        """
        found = find_trends(self._tables, model, by=by, weight=weight, top=top)
        return rows_to_write(found, show)

    def runs(self) -> pa.Table:
        """The runs, the oldest first: when, how they ended, and how many tracks they listed and labeled."""
        rows = [
            report.model_dump(include=set(_RUNS.names)) | report.counts.model_dump()
            for report in read_reports(self._tables)
        ]
        return pa.Table.from_pylist(rows, _RUNS)


def open_tables(location: str | os.PathLike[str]) -> Tables:
    """Open the tables that runs have written, to read them.

    Parameters
    ----------
    location : str or path
        A folder, or the prefix of an object store: what ``earmark run CATALOG TABLES`` was given.

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
    return Tables(status.open_tables(os.fspath(location)))
