"""Read the tables that runs have written, as Arrow tables of the current rows."""

import operator
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, SupportsFloat, SupportsIndex, TypeAlias, get_args

import pyarrow as pa

from jobs import read_tables
from jobs.similar import find_similar
from jobs.trends import Show, find_trends, select_rows
from pipeline.storage.path_argument import path_argument
from pipeline.tables.current import current_tracks
from pipeline.tables.current import list_models as models_of
from pipeline.tables.runs import read_reports
from pipeline.tables.tables import Tables as StoredTables
from pipeline.trends.shares import Weight
from schemas.config import RunConfig
from schemas.errors import MisuseError
from schemas.report import Counts
from schemas.tables import TIMESTAMP, TRACKS

if TYPE_CHECKING:
    from earmark._model import Model

ModelChoice: TypeAlias = "str | os.PathLike[str] | Model | None"
"""A model: its name with or without hash, its folder, the model itself, or None for the latest."""

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
        self,
        model: ModelChoice = None,
        *,
        genre: str | None = None,
        style: str | None = None,
        among: Iterable[str] = (),
        min_confidence: SupportsFloat = 0.0,
    ) -> pa.Table:
        """Return the current labels: for each track in the catalog, the newest label of its present content.

        Parameters
        ----------
        model : str, path or Model, optional
            Name with or without hash, or folder, of a model, or the model; by default, the one that labeled
            last.
        genre : str, optional
            Only tracks of this genre.
        style : str, optional
            Only tracks of this style, such as ``"techno"``.
        among : iterable of str
            Choose the genre of each track among these, such as ``["blues", "jazz", "rock"]``; by default,
            among all of the model's genres. Their probabilities are divided by their sum, and the others are
            zero, so that the confidence is the probability if the track has one of these genres. A track
            without a genre stays without one.
        min_confidence : float
            Only labels with at least this confidence.

        Returns
        -------
        pyarrow.Table
            A row for each track: the columns of ``labels/``, sorted by ``uri``, which is where it is now.

        Raises
        ------
        MisuseError
            If there are no labels of the model, it has no such genre or style, or `min_confidence` is not
            from 0 to 1.
        """
        for what, name in (("genre", genre), ("style", style)):
            if not isinstance(name, str | None):
                raise MisuseError(f"{what} is the name of one {what}, not {name!r}")
        lowest = RunConfig.load(None, min_confidence=min_confidence).min_confidence
        name, candidates = _name_of(model), _names(among)
        return read_tables.read_labels(
            self._tables, name, genre=genre, style=style, among=candidates, min_confidence=lowest
        )

    def embeddings(self, model: ModelChoice = None) -> pa.Table:
        """Return the current embeddings, which runs with ``--embeddings`` write: a vector for each segment.

        Parameters
        ----------
        model : str, path or Model, optional
            Name with or without hash, or folder, of a model, or the model; by default, the one of the latest
            embeddings.

        Returns
        -------
        pyarrow.Table
            A row for each segment, sorted by track and segment: the columns of ``embeddings/`` and ``uri``.
            ``vector`` is a list of a fixed size, of float16, and all zero for a silent segment. DuckDB cannot
            read float16 of Arrow: pass it the table without this column, or with ``vector`` cast to float32.

        Raises
        ------
        MisuseError
            If there are no embeddings of the model.
        """
        return read_tables.read_embeddings(self._tables, _name_of(model))

    def similar(
        self, track: str | os.PathLike[str], n: SupportsIndex = 10, model: ModelChoice = None
    ) -> pa.Table:
        """Return the tracks of the catalog that sound most like a track, the nearest first.

        Nearness is the cosine of the mean embeddings, which runs with ``--embeddings`` write. All tracks that
        have some are compared, so the result is exact.

        Parameters
        ----------
        track : str or path
            A track of the catalog, by its id, its uri or its path below the catalog; or any other audio file.
        n : int
            Number of tracks.
        model : str, path or Model, optional
            As in `embeddings`.

        Returns
        -------
        pyarrow.Table
            ``track_id``, ``uri``, ``artist``, ``title``, ``duration_s``, ``genre`` and ``similarity``
            (at most 1). The track itself is left out.

        Raises
        ------
        MisuseError
            If there are no embeddings of the model, the track is silent, or `n` is not at least 1.
        TrackError
            If the file does not exist or cannot be decoded.
        """
        return find_similar(
            self._tables, path_argument(track, "a track"), _count("n", n), _name_of(model)
        ).rows

    def tracks(self) -> pa.Table:
        """Return the tracks of the catalog as last listed, sorted by uri, with tags and audio properties."""
        names = tuple(name for name in TRACKS.names if name != "present")
        return current_tracks(self._tables, names).select(names).sort_by("uri")

    def failures(self, model: ModelChoice = None) -> pa.Table:
        """Return the current failures, sorted by uri: tracks without a label, and the reason.

        Parameters
        ----------
        model : str, path or Model, optional
            Failures that concern this model; by default, the model of the last run.

        Raises
        ------
        MisuseError
            If no run was with this model.
        """
        return read_tables.read_failures(self._tables, _name_of(model))

    def trends(
        self,
        by: str = "year",
        model: ModelChoice = None,
        *,
        show: Show = "shares",
        weight: Weight = "count",
        top: SupportsIndex | None = None,
    ) -> pa.Table:
        """Return shares of genres in the current labels by year, month, artist, folder or another column.

        Parameters
        ----------
        by : str
            How to group tracks, as in ``earmark trends --by``.
        model : str, path or Model, optional
            As in `labels`.
        show : str
            ``shares`` with 95 % intervals; ``changes``, rising and falling genres; ``tags``, tags of the
            files versus labels; ``disagreements`` between the two.
        weight : str
            Weight of a track: ``count``, 1; ``confidence``, its confidence.
        top : int, optional
            Only this many groups, those with the most tracks.

        Returns
        -------
        pyarrow.Table
            For ``shares``, a row for each group and genre: the group, in a column named as `by`; ``tracks``
            of the group; ``genre``; ``count``, its tracks with that label; ``expected`` and ``expected_sd``,
            the sum of their probabilities and its standard deviation; ``share`` with the ends of its
            interval, ``low`` and ``high``. Without rows if no track has a value to group by.

        Raises
        ------
        MisuseError
            If there are no labels of the model, there is no such grouping, or an argument has another value.
        """
        if not isinstance(by, str):
            raise MisuseError(f"by is year, month, artist or another name of what to group by, not {by!r}")
        for name, value, choices in (("show", show, get_args(Show)), ("weight", weight, get_args(Weight))):
            if value not in choices:
                raise MisuseError(f"{name} is {', '.join(choices[:-1])} or {choices[-1]}, not {value!r}")
        top = None if top is None else _count("top", top)
        found = find_trends(self._tables, _name_of(model), by=by, weight=weight, top=top)
        return select_rows(found, show)

    def runs(self) -> pa.Table:
        """Return the runs, oldest first: times, outcomes, and numbers of tracks listed and labeled.

        Runs of ``earmark featurize`` count the tracks that they featurized as labeled.
        """
        rows = [
            report.model_dump(include=set(_RUNS.names)) | report.counts.model_dump()
            for report in read_reports(self._tables)
        ]
        return pa.Table.from_pylist(rows, _RUNS)


def _names(among: object) -> list[str]:
    """Return the names that a user has given, which can be read only once if they are a generator."""
    names = list(among) if isinstance(among, Iterable) and not isinstance(among, str) else None
    if names is None or not all(isinstance(name, str) for name in names):
        raise MisuseError(f"among is a list of names of genres, not {among!r}")
    return names


def _name_of(model: Any) -> str | None:
    """Return the name or folder of a model that a user has given, or None."""
    if model is None:
        return None
    if isinstance(model, str | os.PathLike):
        return str(os.fspath(model))
    from earmark._model import Model

    if not isinstance(model, Model):
        raise MisuseError(f"a model is a name, a folder or an earmark.Model, not {model!r}")
    return model.name


def _count(name: str, value: SupportsIndex) -> int:
    """Return a number of rows or groups that a user has given."""
    try:
        number = operator.index(value)
    except TypeError:
        number = 0
    if number < 1:
        raise MisuseError(f"{name} is a whole number of at least 1, not {value!r}")
    return number


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
    return Tables(read_tables.open_tables(path_argument(location, "the root of tables")))
