"""A shard of tracks becomes one part of ``tracks/``, ``failures/`` and ``features/``."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.catalogs.track_refs import from_table, is_one_of
from pipeline.log import get_logger
from pipeline.shards.deferred_interrupts import defer_interrupts
from pipeline.shards.failures import Failure, count_by_error, failure_rows
from pipeline.shards.limits import TrackLimits
from pipeline.shards.rows import feature_rows, track_rows
from pipeline.stopwatch import Stopwatch
from pipeline.storage import storage
from pipeline.tables.tables import Tables, encode_part
from schemas.errors import FeatureError, TooShortError, TrackError
from schemas.features import FeatureSpec
from schemas.tracks import TrackFeatures, TrackRef

if TYPE_CHECKING:
    from pipeline.shards.outcomes import TrackOutcome

log = get_logger(__name__)

_ROW_GROUP_SEGMENTS = 64


@dataclass(frozen=True, slots=True)
class Shard:
    """Tracks to featurize, and where their parts go.

    Attributes
    ----------
    name : str
        Name of the parts; a retried shard writes the same objects again.
    run : str
        The run it belongs to.
    feature_set : str
        Partition of the features.
    tracks : pyarrow.Table
        Schema `LISTING`, ``attempts`` and, if it is known, ``recorded``: whether the tables hold the track as
        it is listed, maybe with tags and audio facts that a failing read does not give.
    listed_at : datetime
        When the catalog was listed.
    labeled : frozenset of (str, str)
        ``track_id`` and ``etag`` of tracks that have a label and lack only embeddings.
    embedded : frozenset of (str, str)
        The same of tracks that have embeddings and lack only a label.
    """

    name: str
    run: str
    feature_set: str
    tracks: pa.Table
    listed_at: datetime
    labeled: frozenset[tuple[str, str]] = frozenset()
    embedded: frozenset[tuple[str, str]] = frozenset()

    def parts(self, tables: Tables) -> dict[str, str]:
        """Return the locations of the shard's parts, by table."""
        return {
            "tracks": tables.part("tracks", self.name, run=self.run),
            "failures": tables.part("failures", self.name, run=self.run),
            "features": tables.part("features", self.name, feature_set=self.feature_set, run=self.run),
        }

    def only(self, track_ids: Collection[str], name: str) -> "Shard":
        """Return a shard, called `name`, of some of its tracks."""
        return replace(self, name=name, tracks=self.tracks.filter(is_one_of(self.tracks, track_ids)))

    def as_read(self, changed: Mapping[str, str], without: Collection[str] = ()) -> pa.Table:
        """Return ``track_id``, ``uri``, ``etag`` and ``attempts`` of its tracks, in the versions read.

        Parameters
        ----------
        changed : mapping of str to str
            Etags of the tracks whose version is not the listed one, by track id.
        without : collection of str
            Ids of tracks to leave out.
        """
        tracks = self.tracks.select(["track_id", "uri", "etag", "attempts"])
        if without:
            tracks = tracks.filter(pc.invert(is_one_of(tracks, without)))
        if not changed:
            return tracks
        versions = zip(tracks["track_id"].to_pylist(), tracks["etag"].to_pylist(), strict=True)
        read = pa.array([changed.get(track_id, etag) for track_id, etag in versions], pa.string())
        return tracks.set_column(tracks.schema.get_field_index("etag"), tracks.schema.field("etag"), read)


@dataclass(frozen=True, slots=True)
class ShardResult:
    """The result of featurizing a shard.

    Attributes
    ----------
    n_featurized, n_failed : int
        Tracks.
    n_segments : int
        Rows of the features part.
    audio_s : float
        Total length of the segments, seconds.
    seconds : dict
        Wall-clock seconds by stage.
    slowest : tuple of (float, str)
        Seconds and URI of the slowest tracks, the slowest first.
    failed : tuple of str
        Ids of the tracks that failed.
    suspects : tuple of str
        Ids of the tracks whose failure may not be their fault. Nothing was written for them: they go to
        quarantine, where another process tries them.
    changed : Mapping of str to str
        Etags, by track id, of tracks that were read in another version than the listed one.
    failures : Mapping of str to int
        Failed tracks by type of error.
    """

    n_featurized: int
    n_failed: int
    n_segments: int
    audio_s: float
    seconds: dict[str, float]
    slowest: tuple[tuple[float, str], ...] = ()
    failed: tuple[str, ...] = ()
    suspects: tuple[str, ...] = ()
    changed: Mapping[str, str] = field(default_factory=dict)
    failures: Mapping[str, int] = field(default_factory=dict)

    @property
    def n_done(self) -> int:
        """Tracks that have features."""
        return self.n_featurized

    @property
    def busy_s(self) -> float:
        """Seconds in which the worker used its CPU; while it waits for a failing store, it only holds it."""
        return sum(self.seconds.values()) - self.seconds.get("wait", 0.0)


@dataclass(frozen=True, slots=True)
class _Outcomes:
    """The outcomes of a shard's tracks.

    Attributes
    ----------
    read : list of TrackRef
        Tracks to record, in the versions read: all but those that failed and are recorded.
    featurized : list of (TrackRef, TrackFeatures)
        Those with features.
    failures : list of Failure
        The failures of the others.
    """

    read: list[TrackRef]
    featurized: list[tuple[TrackRef, TrackFeatures]]
    failures: list[Failure]

    def without(self, track_ids: Collection[str]) -> "_Outcomes":
        """Return the outcomes without some failed tracks."""
        return _Outcomes(
            [track for track in self.read if track.track_id not in track_ids],
            self.featurized,
            [failure for failure in self.failures if failure.track_id not in track_ids],
        )

    @property
    def by_track(self) -> dict[str, "TrackOutcome"]:
        """Features or error of each track, by its id."""
        outcomes: dict[str, TrackOutcome] = {failure.track_id: failure.error for failure in self.failures}
        return outcomes | {track.track_id: features for track, features in self.featurized}


def featurize_shard(
    shard: Shard,
    tables: Tables,
    spec: FeatureSpec,
    check: storage.Check,
    *,
    limits: TrackLimits,
    isolated: bool = False,
    confirming: bool = False,
    retried: bool = False,
) -> ShardResult:
    """Featurize the tracks of a shard and write its parts.

    An error of a track becomes its failure. The features part is written last: once it exists, so do the
    others.

    Parameters
    ----------
    shard : Shard
        The tracks.
    tables : Tables
        Where the parts go.
    spec : FeatureSpec
        The features to compute.
    check : callable
        Called before each attempt to write; raises if this run may no longer write.
    limits : TrackLimits
        Time and memory that a track may take; without `isolated`, exceeding them ends this process.
    isolated : bool
        Decode in a child process, which shows which track crashes it or exceeds the limits.
    confirming : bool
        The tracks failed in another process: if they fail here too, the failure is theirs.
    retried : bool
        An earlier attempt may have written parts of other rows.

    Raises
    ------
    EnvironmentFaultError, ImportError
        If this machine cannot do the work, whichever track it is given.
    OSError
        If a part cannot be written.
    """
    # Imported late: it loads the decoders, and a driver that finds nothing to do needs none.
    from pipeline.shards.outcomes import featurize_isolated, featurize_tracks, is_suspect

    watch = Stopwatch()
    tracks = from_table(shard.tracks)
    featurize = featurize_isolated if isolated else featurize_tracks
    outcomes = _sort_outcomes(shard, featurize(tracks, spec, watch, limits))
    suspects: set[str] = set()
    if not confirming:
        suspects = {each.track_id for each in outcomes.failures if is_suspect(each.error, each.etag)}
        for failure in outcomes.failures:
            if failure.track_id in suspects:
                log.info("track is suspected, another process is to confirm", **failure.logged())
        outcomes = outcomes.without(suspects)
    rows = _rows_by_table(shard, outcomes, spec)
    with watch.stage("write"), defer_interrupts():
        write_parts(shard, tables, rows, check, retried=retried)
    log.info(
        "shard featurized",
        tracks=len(outcomes.featurized),
        failed=len(outcomes.failures),
        suspected=len(suspects),
        seconds=sum(watch.seconds.values()),
    )
    return _summarize(tracks, outcomes, suspects, watch)


def write_failures(shard: Shard, tables: Tables, error: TrackError, check: storage.Check) -> None:
    """Write the parts of a shard all of whose tracks failed with an error.

    Raises
    ------
    OSError
        If a part cannot be written.
    """
    outcomes = _sort_outcomes(shard, ((track, error) for track in from_table(shard.tracks)))
    rows = {
        "tracks": track_rows(outcomes.read, outcomes.by_track, shard.listed_at),
        "failures": failure_rows(outcomes.failures),
    }
    write_parts(shard, tables, rows, check, retried=True)


def shard_rows(
    shard: Shard, outcomes: Iterable[tuple[TrackRef, "TrackOutcome"]], spec: FeatureSpec
) -> dict[str, pa.Table]:
    """Return the rows of a shard's parts, by table, for tracks that were featurized elsewhere.

    Parameters
    ----------
    shard : Shard
        The shard.
    outcomes : iterable of (TrackRef, TrackOutcome)
        Its tracks, in the versions read, each with its features or its error.
    spec : FeatureSpec
        The features that were computed.
    """
    return _rows_by_table(shard, _sort_outcomes(shard, outcomes), spec)


def _rows_by_table(shard: Shard, outcomes: _Outcomes, spec: FeatureSpec) -> dict[str, pa.Table]:
    return {
        "tracks": track_rows(outcomes.read, outcomes.by_track, shard.listed_at),
        "failures": failure_rows(outcomes.failures),
        "features": feature_rows(outcomes.featurized, spec),
    }


def _sort_outcomes(shard: Shard, outcomes: Iterable[tuple[TrackRef, "TrackOutcome"]]) -> _Outcomes:
    """Run through the outcomes and separate features from failures."""
    known = {"track_id", "etag", "attempts", "recorded"} & set(shard.tracks.column_names)
    facts = {(row["track_id"], row["etag"]): row for row in shard.tracks.select(list(known)).to_pylist()}
    found = _Outcomes([], [], [])
    for track, outcome in outcomes:
        listed = facts.get((track.track_id, track.etag), {})
        if isinstance(outcome, TrackFeatures):
            found.read.append(track)
            found.featurized.append((track, outcome))
            continue
        if not listed.get("recorded"):
            found.read.append(track)
        # Only these failures depend on the feature set: with another one the track may pass.
        feature_set = shard.feature_set if isinstance(outcome, FeatureError | TooShortError) else None
        tried = listed.get("attempts", 0) + 1
        found.failures.append(
            Failure(track.track_id, track.uri, track.etag, tried, outcome, feature_set=feature_set)
        )
    return found


def write_parts(
    shard: Shard,
    tables: Tables,
    rows: Mapping[str, pa.Table],
    check: storage.Check,
    *,
    retried: bool = False,
) -> None:
    """Write the parts of a shard; remove those that have no rows, if an earlier attempt may have left some.

    Raises
    ------
    OSError
        If a part cannot be written.
    """
    for table, part in shard.parts(tables).items():
        if table in rows and rows[table].num_rows:
            row_group_size = _ROW_GROUP_SEGMENTS if table == "features" else None
            storage.write_bytes(part, encode_part(rows[table], row_group_size=row_group_size), check=check)
        elif retried:
            storage.delete(part, check=check)


def _summarize(
    listed: list[TrackRef], outcomes: _Outcomes, suspects: Collection[str], watch: Stopwatch
) -> ShardResult:
    segments = [segment for _, features in outcomes.featurized for segment in features.segments]
    listed_etags = {track.track_id: track.etag for track in listed}
    return ShardResult(
        n_featurized=len(outcomes.featurized),
        n_failed=len(outcomes.failures),
        n_segments=len(segments),
        audio_s=sum(segment.duration_s for segment in segments),
        seconds=dict(watch.seconds),
        slowest=watch.slowest,
        failed=tuple(failure.track_id for failure in outcomes.failures),
        suspects=tuple(suspects),
        changed={t.track_id: t.etag for t in outcomes.read if t.etag != listed_etags[t.track_id]},
        failures=count_by_error(outcomes.failures),
    )
