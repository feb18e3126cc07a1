"""A part of ``features/`` becomes one part of ``labels/``: the mean prediction over each track's segments.

Where embeddings are asked for, it also becomes a part of ``embeddings/``, which is written after the labels:
a track without embeddings may have a label, but never the other way around, so that a later run adds only
what is missing.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from pipeline.catalogs.track_refs import is_one_of
from pipeline.log import get_logger
from pipeline.models.classifier import Classifier
from pipeline.models.combination import label_members
from pipeline.models.ensemble_classifier import EnsembleClassifier
from pipeline.models.label import TrackLabel
from pipeline.shards.failures import Failure, count_by_error, failure_rows
from pipeline.shards.featurize_shard import Shard
from pipeline.shards.predict_part import PredictedSegments, predict_part
from pipeline.shards.segment_rows import embedding_rows, segment_label_rows
from pipeline.stopwatch import Stopwatch
from pipeline.storage import storage
from pipeline.tables.tables import Tables, encode_part
from schemas.errors import LabelError, TrackError
from schemas.model import ModelInfo
from schemas.tables import labels_schema

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class LabelTask:
    """Tracks of a features part to label.

    Attributes
    ----------
    name : str
        Name of the labels part; a retried task writes the same object again.
    run : str
        The run.
    run_date : str
        Partition of the labels, the day the run began (UTC).
    model : str
        Partition of the labels: the model's name with its hash.
    part : str
        Location of the features part.
    feature_set : str
        The feature set it belongs to.
    tracks : pyarrow.Table
        ``track_id``, ``uri``, ``etag``, ``attempts`` of the tracks to label. Those that the part lacks are
        skipped.
    labeled : frozenset of (str, str)
        ``track_id`` and ``etag`` of tracks that have a label and lack only embeddings.
    embedded : frozenset of (str, str)
        The same of tracks that have embeddings and lack only a label.
    """

    name: str
    run: str
    run_date: str
    model: str
    part: str
    feature_set: str
    tracks: pa.Table
    labeled: frozenset[tuple[str, str]] = frozenset()
    embedded: frozenset[tuple[str, str]] = frozenset()

    @classmethod
    def of(cls, shard: Shard, tables: Tables, *, run_date: str, model: str, tracks: pa.Table) -> "LabelTask":
        """Return the task that labels tracks of a shard, whose features part is written."""
        return cls(
            name=shard.name,
            run=shard.run,
            run_date=run_date,
            model=model,
            part=shard.parts(tables)["features"],
            feature_set=shard.feature_set,
            tracks=tracks,
            labeled=shard.labeled,
            embedded=shard.embedded,
        )

    def only(self, track_ids: Collection[str], name: str) -> "LabelTask":
        """Return a task, called `name`, of some of its tracks."""
        return replace(self, name=name, tracks=self.tracks.filter(is_one_of(self.tracks, track_ids)))

    def parts(self, tables: Tables) -> dict[str, str]:
        """Return the locations of the parts, by table. Names include the run: a day may have several."""
        name = f"{self.run}-{self.name}"
        return {
            "failures": tables.part("failures", f"label-{self.name}", run=self.run),
            "segment_labels": tables.part("segment_labels", name, model=self.model, run_date=self.run_date),
            "labels": tables.part("labels", name, model=self.model, run_date=self.run_date),
            "embeddings": tables.part("embeddings", self.name, model=self.model, run=self.run),
        }


@dataclass(frozen=True, slots=True)
class LabelResult:
    """The result of labeling a part.

    Attributes
    ----------
    n_labeled, n_failed : int
        Tracks.
    n_rejected : int
        Labeled tracks without a genre.
    n_segments : int
        Segments read.
    genres : dict
        Tracks by genre.
    seconds : dict
        Wall-clock seconds by stage.
    n_embedded : int
        Tracks with an earlier label to which only embeddings were added.
    failures : Mapping of str to int
        Failed tracks by type of error.
    suspects : tuple of str
        Ids of the tracks for which the network returned nothing usable, which may be its machine's fault.
        Nothing was written for them: another process tries them.
    """

    n_labeled: int
    n_failed: int
    n_rejected: int
    n_segments: int
    genres: dict[str, int]
    seconds: dict[str, float]
    n_embedded: int = 0
    failures: Mapping[str, int] = field(default_factory=dict)
    suspects: tuple[str, ...] = ()

    @property
    def n_done(self) -> int:
        """Tracks that have all that was asked for."""
        return self.n_labeled + self.n_embedded

    @property
    def busy_s(self) -> float:
        """Seconds in which the network ran; the actor reads and writes other parts meanwhile."""
        return self.seconds.get("predict", 0.0)


def label_part(
    task: LabelTask,
    tables: Tables,
    classifier: Classifier | EnsembleClassifier,
    check: storage.Check,
    *,
    segment_labels: bool = False,
    embeddings: bool = False,
    min_confidence: float = 0.0,
    confirming: bool = False,
) -> LabelResult:
    """Label the tracks of a features part, and write the labels after all parts but the embeddings.

    A track's probabilities are the mean of its segments' calibrated probabilities, its genre is the most
    probable one, and its confidence that probability. Silent segments do not count: a network predicts
    something for silence too. A track with only silent segments has no genre, and equal probabilities.

    Parameters
    ----------
    task : LabelTask
        What to label.
    tables : Tables
        Where the parts go.
    classifier : Classifier or EnsembleClassifier
        The model; an ensemble has neither segment labels nor embeddings.
    check : callable
        Called before each attempt to write; raises if this run may no longer write.
    segment_labels : bool
        Also write a part of ``segment_labels/``.
    embeddings : bool
        Also write a part of ``embeddings/``.
    min_confidence : float
        The model abstains on tracks below this confidence: their genre is null, their confidence and
        probabilities stay.
    confirming : bool
        The tracks failed in another process: if they fail here too, the failure is theirs.

    Raises
    ------
    OSError
        If a part cannot be read or written.
    """
    watch = Stopwatch()
    info = classifier.info
    versions = set(zip(task.tracks["track_id"].to_pylist(), task.tracks["etag"].to_pylist(), strict=True))
    predicted = predict_part(task.part, task.feature_set, versions, classifier, watch, embeddings=embeddings)
    labels, failures, n_embedded = _label_tracks(task, predicted, info, min_confidence)
    unusable = {(failure.track_id, failure.etag) for failure in failures}
    suspects: tuple[str, ...] = ()
    if not confirming:
        for failure in failures:
            log.info("track is suspected, another process is to confirm", **failure.logged())
        suspects, failures = tuple(failure.track_id for failure in failures), []
    rows_of = {"failures": failure_rows(failures), "labels": label_rows(labels, info.genres)}
    if segment_labels:
        (only,) = predicted
        new = _rows_outside(only.segments, task.labeled | unusable)
        rows_of["segment_labels"] = segment_label_rows(
            [only.segments[row] for row in new], only.found.rows(new), info.genres, task.run
        )
    if (vectors := predicted[0].vectors) is not None:
        (only,) = predicted
        kept = _rows_outside(only.segments, task.embedded | unusable)
        rows_of["embeddings"] = embedding_rows([only.segments[row] for row in kept], vectors[kept])
    with watch.stage("write"):
        # Encode all before writing any, so that a worker is unlikely to die between two parts.
        encoded = {table: encode_part(rows) for table, rows in rows_of.items() if rows.num_rows}
        for table, part in task.parts(tables).items():
            if table in encoded:
                storage.write_bytes(part, encoded[table], check=check)
    genres = Counter(str(label["genre"]) for label in labels if label["genre"] is not None)
    n_rejected = len(labels) - genres.total()
    log.info(
        "part labeled",
        tracks=len(labels),
        failed=len(failures),
        suspected=len(suspects),
        seconds=sum(watch.seconds.values()),
    )
    return LabelResult(
        len(labels),
        len(failures),
        n_rejected,
        sum(len(each.segments) for each in predicted),
        dict(genres),
        dict(watch.seconds),
        n_embedded,
        failures=count_by_error(failures),
        suspects=suspects,
    )


def _rows_outside(segments: Sequence[Mapping[str, Any]], versions: Set[tuple[str, str]]) -> list[int]:
    """Return the numbers of the segments that belong to no such track version."""
    return [row for row, each in enumerate(segments) if (each["track_id"], each["etag"]) not in versions]


def write_label_failures(task: LabelTask, tables: Tables, error: TrackError, check: storage.Check) -> None:
    """Write the failures part of a task all of whose tracks failed.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    rows = failure_rows(_failure(task, track, error) for track in task.tracks.to_pylist())
    storage.write_bytes(task.parts(tables)["failures"], encode_part(rows), check=check)


def _failure(task: LabelTask, track: Mapping[str, Any], error: TrackError) -> Failure:
    return Failure(
        track["track_id"], track["uri"], track["etag"], track["attempts"] + 1, error, model=task.model
    )


def _label_tracks(
    task: LabelTask, predicted: Sequence[PredictedSegments], info: ModelInfo, min_confidence: float
) -> tuple[list[dict[str, object]], list[Failure], int]:
    """Return rows of labels, failures, and the number of tracks that had a label before."""
    by_track = [each.by_track() for each in predicted]
    labels: list[dict[str, object]] = []
    failures: list[Failure] = []
    n_embedded = 0
    now = datetime.now(UTC)
    for track in task.tracks.to_pylist():
        own = [each[track["track_id"]] for each in by_track if track["track_id"] in each]
        if not own:
            continue
        try:
            label = label_members(track["uri"], [member for _, member in own], info, min_confidence)
        except LabelError as error:
            failures.append(_failure(task, track, error))
            continue
        if (track["track_id"], track["etag"]) in task.labeled:
            n_embedded += 1
        else:
            n_segments = len(set().union(*(numbers for numbers, _ in own)))
            labels.append(label_row(task, track, label, n_segments, info.genres, now))
    return labels, failures, n_embedded


def label_row(
    task: LabelTask,
    track: Mapping[str, Any],
    label: TrackLabel,
    n_segments: int,
    genres: Sequence[str],
    labeled_at: datetime,
) -> dict[str, object]:
    """A row of the table ``labels``."""
    return {
        "track_id": track["track_id"],
        "uri": track["uri"],
        "etag": track["etag"],
        "genre": label.genre,
        "confidence": label.confidence,
        "probabilities": label.probabilities.tolist(),
        "top3": [{"genre": genres[i], "probability": label.probabilities[i]} for i in label.order[:3]],
        "n_segments": n_segments,
        "feature_set": task.feature_set,
        "labeled_at": labeled_at,
        "run": task.run,
        "is_music": label.is_music,
        "style": label.style,
        "labels": None if label.labels is None else [asdict(each) for each in label.labels],
    }


def label_rows(rows: Sequence[Mapping[str, object]], genres: Sequence[str]) -> pa.Table:
    """Rows of the table ``labels`` as a part has them: with the genres of the probabilities."""
    return pa.Table.from_pylist(list(rows), labels_schema(genres))
