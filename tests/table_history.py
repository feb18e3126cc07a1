"""Tables as runs write them, made in milliseconds: through the same functions and the same parts."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike

from pipeline.catalogs.track_refs import to_batch
from pipeline.models.label import label_prediction
from pipeline.models.prediction import Prediction
from pipeline.shards.failures import Failure, failure_rows
from pipeline.shards.featurize_shard import Shard, write_parts
from pipeline.shards.label_part import LabelTask, label_row, label_rows
from pipeline.shards.rows import feature_rows, track_rows
from pipeline.shards.segment_rows import embedding_rows
from pipeline.storage import storage
from pipeline.tables.runs import plan_location, write_report
from pipeline.tables.tables import Tables, encode_part
from schemas.errors import DecodeError, TrackError
from schemas.features import FeatureSpec
from schemas.genres import GTZAN_GENRES
from schemas.model import ModelInfo
from schemas.report import Counts, RunOutcome, RunReport
from schemas.tables import LISTING, TRACKS
from schemas.tracks import AudioInfo, SegmentFeatures, Tags, TrackFeatures, TrackRef

SPEC = FeatureSpec()
MODEL = "cnn-0123456789"
_INFO = AudioInfo("mp3", 240.0, 44100, 2)


class TableHistory:
    """Writes tables run by run, a day apart from each other.

    Parameters
    ----------
    root : object
        Folder or URI.
    seed : int
        Of the log-mels and probabilities.
    """

    def __init__(self, root: object, seed: int = 0) -> None:
        self.tables = Tables(str(root))
        self.now = datetime(2026, 1, 1, 3, tzinfo=UTC)
        self.rng = np.random.default_rng(seed)

    def copy(self, root: Path) -> "TableHistory":
        """The same tables in another local folder, to go on with."""
        shutil.copytree(self.tables.root, root)
        other = TableHistory(root)
        other.now = self.now
        return other

    def model(self, name: str = MODEL, features: FeatureSpec = SPEC) -> None:
        info = _model_info(name, features)
        folder = storage.join(self.tables.root, "_models", name)
        storage.write_bytes(f"{folder}/model.json", info.model_dump_json().encode())
        storage.write_bytes(f"{folder}/model.keras", b"weights")

    def run(
        self,
        tracks: dict[str, str],
        *,
        failing: dict[str, str] | None = None,
        gone: dict[str, str] | None = None,
        unchanged: int = 0,
        shard_tracks: int = 4,
        outcome: RunOutcome = "done",
        model: str = MODEL,
        n_frames: int = 4,
        attempts: int = 1,
    ) -> str:
        """A run that labels `tracks` and fails on `failing` (ids with etags); returns its name."""
        self.now += timedelta(days=1)
        failing = failing or {}
        run = f"{self.now:%Y%m%dT%H%M%S}-0000"
        self._write_plan(run, tracks | failing)
        everything = list((tracks | failing).items())
        for number, start in enumerate(range(0, len(everything), shard_tracks)):
            chunk = everything[start : start + shard_tracks]
            good = [version for version in chunk if version[0] in tracks]
            bad = [version for version in chunk if version[0] in failing]
            shard = Shard(f"{number:06}", run, SPEC.feature_set, listed(chunk), self.now)
            rows = {
                "tracks": track_rows(refs(chunk), {}, self.now),
                "failures": failed(bad, attempts=attempts, at=self.now),
                "features": self.features(good, n_frames),
            }
            write_parts(shard, self.tables, rows, lambda: None)
            if good:
                task = self._labeling(run, shard.name, model)
                location = task.parts(self.tables)["labels"]
                storage.write_bytes(location, encode_part(self._labels(good, task)))
        if gone:
            listing = track_rows(refs(list(gone.items())), {}, self.now).to_pylist()
            left = [row | {"present": False} for row in listing]
            self.write("tracks", "listing", pa.Table.from_pylist(left, TRACKS), run=run)
        counts = Counts(listed=unchanged + len(everything), labeled_before=unchanged, gone=len(gone or {}))
        # A run that was killed leaves the report that it wrote before the work.
        killed = outcome == "running"
        work = {"left": len(everything)} if killed else {"labeled": len(tracks), "failed": len(failing)}
        counts = counts.model_copy(update=work)
        self.report(run, counts, outcome, model)
        return run

    def report(
        self,
        run: str,
        counts: Counts,
        outcome: RunOutcome = "done",
        model: str | None = MODEL,
        **fields: object,
    ) -> None:
        write_report(
            self.tables,
            RunReport(
                run=run, command="run", catalog="/music", outcome=outcome, started_at=self.now, counts=counts,
                model=model, feature_set=SPEC.feature_set, features=SPEC.model_dump(),
            ).model_copy(update=fields),
        )  # fmt: skip

    def _write_plan(self, run: str, versions: dict[str, str]) -> None:
        location = plan_location(self.tables, run)
        rows = listed(list(versions.items())).select(["track_id", "uri", "etag"])
        storage.write_bytes(location, encode_part(rows))

    def write(self, table: str, name: str, rows: pa.Table, **partitions: str) -> str:
        location = self.tables.part(table, name, **partitions)
        storage.write_bytes(location, encode_part(rows, row_group_size=64 if table == "features" else None))
        return location

    def embed(
        self, name: str, vectors: Mapping[str, ArrayLike], *, run: str, etags: Mapping[str, str] | None = None
    ) -> str:
        """Write a part of embeddings, of shape (n_segments, n_numbers) each; the etags are "1" by default."""
        rows = [
            {
                "track_id": track,
                "etag": etag,
                "segment": number,
                "start_s": 0.0,
                "n_frames": 4,
                "range_db": 80.0,
            }
            for track, each in vectors.items()
            for etag in [(etags or {}).get(track, "1")]
            for number in range(len(np.asarray(each)))
        ]
        joined = np.concatenate([np.asarray(each, np.float32) for each in vectors.values()])
        return self.write("embeddings", name, embedding_rows(rows, joined), model=MODEL, run=run)

    def features(self, versions: Sequence[tuple[str, str]], n_frames: int = 4) -> pa.Table:
        def segments() -> Iterator[SegmentFeatures]:
            for number in range(3):
                levels = np.frombuffer(self.rng.bytes(128 * n_frames), np.uint8).reshape(128, n_frames)
                yield SegmentFeatures(30.0 * number, 30.0, levels, 80.0)

        return feature_rows(
            [(track, TrackFeatures(_INFO, Tags(), tuple(segments()))) for track in refs(versions)], SPEC
        )

    def labels(self, versions: Sequence[tuple[str, str]], run: str) -> pa.Table:
        return self._labels(versions, self._labeling(run, "", MODEL))

    def _labeling(self, run: str, name: str, model: str) -> LabelTask:
        return LabelTask(name, run, f"{self.now:%Y-%m-%d}", model, "", SPEC.feature_set, listed([]))

    def _labels(self, versions: Sequence[tuple[str, str]], task: LabelTask) -> pa.Table:
        rows = []
        for track in listed(versions).to_pylist():
            p = np.tile(self.rng.dirichlet(np.ones(10)), (3, 1))
            label = label_prediction(track["uri"], Prediction(p), [False] * 3, _model_info())
            rows.append(label_row(task, track, label, 3, GTZAN_GENRES, self.now))
        return label_rows(rows, GTZAN_GENRES)


def _model_info(name: str = MODEL, features: FeatureSpec = SPEC) -> ModelInfo:
    return ModelInfo(
        name=name.rpartition("-")[0], genres=GTZAN_GENRES, features=features, n_frames=387, temperature=1
    )


def uri(name: str) -> str:
    return f"/music/{name}.mp3"


def refs(versions: Sequence[tuple[str, str]]) -> list[TrackRef]:
    return [TrackRef(name, uri(name), 1000, etag) for name, etag in versions]


def listed(versions: Sequence[tuple[str, str]]) -> pa.Table:
    """Tracks as a shard has them."""
    return pa.Table.from_batches([to_batch(refs(versions))], LISTING).append_column(
        "attempts", pa.array([0] * len(versions), pa.int32())
    )


def failed(
    versions: Sequence[tuple[str, str]],
    error: TrackError | None = None,
    *,
    model: str | None = None,
    attempts: int = 1,
    at: datetime | None = None,
) -> pa.Table:
    error = error or DecodeError("broken")
    rows = failure_rows(Failure(name, uri(name), etag, attempts, error, model) for name, etag in versions)
    if at is None:
        return rows
    place = rows.column_names.index("failed_at")
    field = rows.schema.field(place)
    return rows.set_column(place, field, pa.array([at] * rows.num_rows, field.type))


def tracks(count: int, etag: str = "1", start: int = 0) -> dict[str, str]:
    return {f"t{number:04}": etag for number in range(start, start + count)}
