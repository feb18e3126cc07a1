"""``earmark evaluate`` of an ensemble: a run labels audio whose genres are known."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jobs.console.messages import Say
from jobs.evaluation.matched_genres import match_genres, some_of
from jobs.run.request import Job
from jobs.training.training_data import choose_label_column, is_audio, label_audio, open_root
from pipeline.evaluation.evaluation import Predictions, Setup, summarize
from pipeline.evaluation.protocols import LEAKS
from pipeline.models.ensemble import Ensemble
from pipeline.models.label import accepted_probabilities
from pipeline.package_versions import package_versions
from pipeline.storage.track_paths import paths_below
from pipeline.tables.current import current_labels, current_tracks
from pipeline.training.data.labeled_tables import find_genres, is_tables
from pipeline.training.provenance import CALIBRATED_ON, TRAINED_ON, count_seen
from pipeline.training.training_set import TrainingSet, track_path
from schemas.config import RunConfig
from schemas.errors import MisuseError
from schemas.evaluation import Evaluation, TrainingOverlap
from schemas.model import ModelInfo


@dataclass(frozen=True, slots=True)
class _Labeled:
    """The tracks that have both a label and a genre.

    Attributes
    ----------
    proba : ndarray of float64, shape (n, n_genres)
        The probabilities in the labels.
    is_music : ndarray of float64, shape (n,)
        The probabilities that they are music; NaN if no model tells.
    genres : list of str
        The true genre of each track.
    tracks : ndarray of str, shape (n,)
        Their paths, without extension.
    """

    proba: NDArray[np.float64]
    is_music: NDArray[np.float64]
    genres: list[str]
    tracks: NDArray[np.str_]

    def take(self, rows: list[int]) -> "_Labeled":
        genres = [self.genres[row] for row in rows]
        return _Labeled(self.proba[rows], self.is_music[rows], genres, self.tracks[rows])


def evaluate_ensemble(
    data: str,
    ensemble: Ensemble,
    config: RunConfig,
    *,
    label_column: str | None,
    tables: str | None,
    seed: int,
    say: Say,
) -> Evaluation:
    """Measure an ensemble on audio.

    Parameters
    ----------
    data : str
        Audio: a folder or prefix with a folder for each genre, or a manifest with a column for the genre.
    ensemble : Ensemble
        The models.
    config : RunConfig
        Settings of the run that labels the audio, with the name of the ensemble.
    label_column, tables : str or None
        See `jobs.training.training_data.read_labeled_data`.
    seed : int
        Of the bootstrap.
    say : callable
        Prints a message, such as about files that are left out.

    Raises
    ------
    MisuseError
        If the data is not audio, none of it can be labeled, or it has no genre of the ensemble.
    KeyboardInterrupt
        If the run was interrupted.
    """
    if is_tables(data) or not is_audio(data):
        raise MisuseError(
            f"an ensemble is evaluated on audio, which {data} is not; give a folder of audio for each genre, "
            "or name one of its models"
        )
    column = choose_label_column(data, label_column, min_genres=1)
    with open_root(tables) as root:
        labeled = _read_labeled(label_audio(data, root, config, say), column, say)
    matched = match_genres(labeled.genres, ensemble.info.genres, column, say)
    genres = [matched.get(genre, genre) for genre in labeled.genres]
    return _measure(data, ensemble, replace(labeled, genres=genres), seed)


def _measure(data: str, ensemble: Ensemble, labeled: _Labeled, seed: int) -> Evaluation:
    """Compare the labels of the data with its genres."""
    info = ensemble.info
    known = [row for row, genre in enumerate(labeled.genres) if genre in info.genres]
    if not known:
        raise MisuseError(f"none of the genres of {data} is one of the ensemble's ({', '.join(info.genres)})")
    tested = labeled.take(known)
    others = labeled.take([row for row, genre in enumerate(labeled.genres) if genre not in info.genres])
    labels = np.array([info.genres.index(genre) for genre in tested.genres], np.intp)
    name = Path(data).name
    predictions = Predictions(tested.proba, labels, tested.tracks, tested.is_music)
    setup = Setup(
        data=name,
        protocol="as given",
        leak=LEAKS["as given"],
        seen=_count_seen(ensemble, predictions),
        versions=package_versions(("earmark", "numpy", "tensorflow")),
    )
    accepted = accepted_probabilities(others.proba, others.is_music)
    outside = (f"{some_of(sorted(set(others.genres)))} of {name}", accepted) if others.genres else None
    return summarize(ensemble.model, predictions, "track", info.genres, setup, outside=outside, seed=seed)


def _read_labeled(job: Job, label_column: str | None, say: Say) -> _Labeled:
    """Read the labels of the tracks that have a genre, without silent tracks."""
    catalog = str(job.catalog)
    tracks = current_tracks(job.tables, ("genre_tag", "carried")).to_pylist()
    genre_of = find_genres(tracks, catalog, label_column, job.tables.root)
    labels = current_labels(job.tables, job.bundle.model)
    if not labels.num_rows:
        raise MisuseError(f"none of the files of {catalog} could be labeled; check the files")
    proba = _probabilities(labels)
    ids = labels["track_id"].to_pylist()
    lacking = {
        "genre": np.array([track_id not in genre_of for track_id in ids], bool),
        "sound": np.ptp(proba, axis=1) == 0,  # only silence has equal probabilities
    }
    for what, is_left_out in lacking.items():
        if is_left_out.any():
            say(f"left out because they have no {what}: {is_left_out.sum():,} of {len(ids):,} tracks")
    rows = np.flatnonzero(~np.any(list(lacking.values()), axis=0)).tolist()
    paths = [track_path(path) for path in paths_below(labels["uri"].to_pylist(), catalog)]
    genres = [genre_of.get(track_id, "") for track_id in ids]
    is_music = labels["is_music"].to_numpy().astype(np.float64)
    return _Labeled(proba, is_music, genres, np.array(paths, np.str_)).take(rows)


def _probabilities(labels: pa.Table) -> NDArray[np.float64]:
    """Return the probabilities in labels, normalized because they are rounded, shape (n, n_genres)."""
    proba = np.array(labels["probabilities"].to_pylist(), np.float64)
    return np.asarray(proba / proba.sum(axis=1, keepdims=True))


def _count_seen(ensemble: Ensemble, predictions: Predictions) -> TrainingOverlap:
    """Count, by name, the tested tracks that one of the models has seen."""
    info = ensemble.info.model_copy(
        update={"training": _join_notes(member.info for member in ensemble.members.values())}
    )
    data = TrainingSet(None, predictions.labels, predictions.tracks, info.genres)
    return count_seen(info, predictions.tracks.tolist(), data)


def _join_notes(infos: Iterable[ModelInfo]) -> dict[str, Any]:
    """Return the hashes of all tracks that the models were made from; none if one does not record them."""
    notes = [info.training for info in infos]
    if not all(each.get(TRAINED_ON) for each in notes):
        return {}
    return {key: " ".join(str(each.get(key) or "") for each in notes) for key in (TRAINED_ON, CALIBRATED_ON)}
