"""A shard of tracks becomes one part of ``tracks/``, ``failures/`` and ``features/``."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.audio.features.descriptors import DESCRIPTOR_NAMES
from pipeline.catalogs.tracks import from_table, to_batch
from pipeline.shards.failures import Failure, failure_rows
from pipeline.shards.limits import TrackLimits
from pipeline.shards.uninterrupted import uninterrupted
from pipeline.stopwatch import Stopwatch
from pipeline.storage import storage
from pipeline.tables.tables import Tables, encode_part
from schemas.errors import FeatureError, TooShortError, TrackError
from schemas.features import FeatureSpec
from schemas.tables import LISTING, TRACKS, features_schema
from schemas.tracks import TrackFeatures, TrackRef

if TYPE_CHECKING:
    from pipeline.shards.outcomes import Outcome

_ROW_GROUP_SEGMENTS = 64


@dataclass(frozen=True, slots=True)
class Shard:
    """A shard and where its parts go.

    Attributes
    ----------
    name : str
        Name of the parts; a retried shard writes the same objects again.
    run : str
        The run it belongs to.
    feature_set : str
        Partition of the features.
    tracks : pyarrow.Table
        Schema `LISTING` and ``attempts``.
    listed_at : datetime
        When the catalog was listed.
    """

    name: str
    run: str
    feature_set: str
    tracks: pa.Table
    listed_at: datetime

    def parts(self, tables: Tables) -> dict[str, str]:
        """Locations of the parts it writes, by table."""
        return {
            "tracks": tables.part("tracks", self.name, run=self.run),
            "failures": tables.part("failures", self.name, run=self.run),
            "features": tables.part("features", self.name, feature_set=self.feature_set, run=self.run),
        }

    def only(self, track_ids: Collection[str], name: str) -> "Shard":
        """Return a shard of this name with those of its tracks."""
        chosen = pc.is_in(self.tracks["track_id"], pa.array(list(track_ids), pa.string()))
        return replace(self, name=name, tracks=self.tracks.filter(chosen))

    def as_read(self, changed: Mapping[str, str], without: Collection[str] = ()) -> pa.Table:
        """``track_id``, ``uri``, ``etag`` and ``attempts`` of its tracks but some, with the etags read."""
        tracks = self.tracks.select(["track_id", "uri", "etag", "attempts"])
        if without:
            left_out = pc.is_in(tracks["track_id"], pa.array(list(without), pa.string()))
            tracks = tracks.filter(pc.invert(left_out))
        if not changed:
            return tracks
        versions = zip(tracks["track_id"].to_pylist(), tracks["etag"].to_pylist(), strict=True)
        read = pa.array([changed.get(track_id, etag) for track_id, etag in versions], pa.string())
        return tracks.set_column(tracks.schema.get_field_index("etag"), tracks.schema.field("etag"), read)


@dataclass(frozen=True, slots=True)
class ShardResult:
    """What featurizing a shard came to.

    Attributes
    ----------
    n_featurized, n_failed : int
        Tracks.
    n_segments : int
        Rows of the features part.
    audio_s : float
        Length of the segments that were read, seconds.
    seconds : dict
        Wall-clock seconds by stage.
    slowest : tuple of (float, str)
        Seconds and URI of the tracks that took longest, the slowest first.
    failed : tuple of str
        Ids of the tracks that failed.
    suspects : tuple of str
        Ids of the tracks that failed for what may not be their fault: nothing was written of these, and
        another process has to try them.
    changed : Mapping of str to str
        Etags, by track id, of tracks that were read in another version than the listed one.
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


def featurize_shard(
    shard: Shard,
    tables: Tables,
    spec: FeatureSpec,
    check: storage.Check,
    *,
    limits: TrackLimits | None = None,
    isolated: bool = False,
    confirming: bool = False,
) -> ShardResult:
    """Featurize the tracks of a shard and write its parts.

    Errors of a track become failures. The features part is written last: when it is there, so are the others.

    Parameters
    ----------
    shard : Shard
        The tracks.
    tables : Tables
        Where the parts go.
    spec : FeatureSpec
        Which features.
    check : callable
        Called before each try of a write; raises if this run may not write any more.
    limits : TrackLimits, optional
        What a track may take; without `isolated`, a track that takes more ends this process.
    isolated : bool
        Decode in a process of its own, which tells tracks that crash it, or take more than the limits.
    confirming : bool
        The tracks are suspects of another process: whatever fails here again is the track's failure.

    Raises
    ------
    EnvironmentFaultError, ImportError
        If this machine cannot do the work, whatever the track.
    OSError
        If a part cannot be written.
    """
    from pipeline.shards import outcomes as ways  # decoders: not for a driver, which may find nothing to do

    watch = Stopwatch()
    tracks = from_table(shard.tracks)
    if isolated and limits is not None:
        outcomes = ways.isolated(tracks, spec, watch, limits)
    else:
        outcomes = ways.featurized(tracks, spec, watch, limits)
    read, done, failures = _sorted_out(shard, outcomes)
    suspects: set[str] = set()
    if not confirming:
        suspects = {failure.track_id for failure in failures if isinstance(failure.error, ways.SUSPICIOUS)}
        read = [track for track in read if track.track_id not in suspects]
        failures = [failure for failure in failures if failure.track_id not in suspects]
    rows = {
        "tracks": track_rows(read, _outcomes(done, failures), shard.listed_at),
        "failures": failure_rows(failures),
        "features": feature_rows(done, spec),
    }
    with watch.stage("write"), uninterrupted():
        write_parts(shard, tables, rows, check)
    segments = [segment for _, features in done for segment in features.segments]
    audio_s = sum(segment.duration_s for segment in segments)
    listed = {track.track_id: track.etag for track in tracks}
    return ShardResult(
        n_featurized=len(done),
        n_failed=len(failures),
        n_segments=len(segments),
        audio_s=audio_s,
        seconds=dict(watch.seconds),
        slowest=watch.slowest,
        failed=tuple(failure.track_id for failure in failures),
        suspects=tuple(suspects),
        changed={t.track_id: t.etag for t in read if t.etag != listed[t.track_id]},
    )


def write_parts(shard: Shard, tables: Tables, rows: Mapping[str, pa.Table], check: storage.Check) -> None:
    """Write the parts of a shard, the features last, and remove those that have no rows.

    Raises
    ------
    OSError
        If a part cannot be written.
    """
    parts = shard.parts(tables)
    for table, part in parts.items():
        if table in rows and rows[table].num_rows:
            data = encode_part(
                rows[table], row_group_size=_ROW_GROUP_SEGMENTS if table == "features" else None
            )
            storage.write_bytes(part, data, check=check)
        else:
            # Another try of the shard, which could not write all its parts, may have left this one.
            storage.delete(part, check=check)


def write_failures(shard: Shard, tables: Tables, errors: Sequence[TrackError], check: storage.Check) -> None:
    """Write the parts of a shard of which each track is a failure.

    Raises
    ------
    OSError
        If a part cannot be written.
    """
    tracks = from_table(shard.tracks)
    _, _, failures = _sorted_out(shard, zip(tracks, errors, strict=True))
    write_parts(
        shard,
        tables,
        {
            "tracks": track_rows(tracks, _outcomes([], failures), shard.listed_at),
            "failures": failure_rows(failures),
        },
        check,
    )


def _sorted_out(
    shard: Shard, outcomes: Iterable[tuple[TrackRef, "Outcome"]]
) -> tuple[list[TrackRef], list[tuple[TrackRef, TrackFeatures]], list[Failure]]:
    """All tracks as they were read; those that gave features, with them; and failures."""
    rows = shard.tracks.select(["track_id", "etag", "attempts"]).to_pylist()
    attempts = {(row["track_id"], row["etag"]): row["attempts"] for row in rows}
    read: list[TrackRef] = []
    done: list[tuple[TrackRef, TrackFeatures]] = []
    failures: list[Failure] = []
    for track, outcome in outcomes:
        read.append(track)
        if isinstance(outcome, TrackFeatures):
            done.append((track, outcome))
            continue
        feature_set = shard.feature_set if isinstance(outcome, FeatureError | TooShortError) else None
        tried = attempts.get((track.track_id, track.etag), 0) + 1
        failures.append(
            Failure(track.track_id, track.uri, track.etag, tried, outcome, feature_set=feature_set)
        )
    return read, done, failures


def _outcomes(
    done: Sequence[tuple[TrackRef, TrackFeatures]], failures: Sequence[Failure]
) -> dict[str, "Outcome"]:
    failed: dict[str, Outcome] = {failure.track_id: failure.error for failure in failures}
    return failed | {track.track_id: features for track, features in done}


def track_rows(tracks: list[TrackRef], outcomes: Mapping[str, "Outcome"], listed_at: datetime) -> pa.Table:
    """Rows of the table ``tracks``: as listed or read, with the tags and audio facts that are known.

    Parameters
    ----------
    tracks : list of TrackRef
        The tracks.
    outcomes : mapping
        What came of the tracks that were read, by track id.
    listed_at : datetime
        When the catalog was listed.
    """
    listing = pa.Table.from_batches([to_batch(tracks)], LISTING)
    rows = []
    for track in tracks:
        row: dict[str, object] = {"present": True, "listed_at": listed_at}
        if outcome := outcomes.get(track.track_id):
            row |= asdict(outcome.tags)
        if isinstance(outcome, TrackFeatures):
            row |= asdict(outcome.info)
        rows.append(row)
    facts = pa.Table.from_pylist(
        rows, pa.schema([field for field in TRACKS if field.name not in LISTING.names])
    )
    return pa.Table.from_arrays([*listing.columns, *facts.columns], schema=TRACKS)


def feature_rows(done: Sequence[tuple[TrackRef, TrackFeatures]], spec: FeatureSpec) -> pa.Table:
    """Rows of the table ``features``: one for each segment of each track."""
    rows = [
        {
            "track_id": track.track_id,
            "etag": track.etag,
            "segment": number,
            "start_s": segment.start_s,
            "duration_s": segment.duration_s,
            "log_mel": None if segment.log_mel is None else segment.log_mel.tobytes(),
            "n_frames": 0 if segment.log_mel is None else segment.log_mel.shape[1],
            "range_db": segment.range_db,
        }
        | dict(
            zip(DESCRIPTOR_NAMES, () if segment.descriptors is None else segment.descriptors, strict=False)
        )
        for track, features in done
        for number, segment in enumerate(features.segments)
    ]
    # Every part has every column: readers take the first part's columns for the table's.
    schema = features_schema(DESCRIPTOR_NAMES).with_metadata({"feature_spec": spec.model_dump_json()})
    return pa.Table.from_pylist(rows, schema)
