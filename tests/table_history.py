"""Tables as runs write them, made in milliseconds: through the same functions and the same parts."""

import json
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.audio.features.descriptors import DESCRIPTOR_NAMES
from pipeline.shards.failures import Failure, failure_rows
from pipeline.shards.rows import track_rows
from pipeline.storage import storage
from pipeline.tables.runs import write_report
from pipeline.tables.tables import Tables, encode_part
from schemas.errors import DecodeError, TrackError
from schemas.features import FeatureSpec
from schemas.genres import GTZAN_GENRES
from schemas.model import ModelInfo
from schemas.report import Counts, RunOutcome, RunReport
from schemas.tables import FAILURES, LABELS, TRACKS, features_schema
from schemas.tracks import TrackRef

SPEC = FeatureSpec()
MODEL = "cnn-0123456789"
_FEATURES = features_schema(DESCRIPTOR_NAMES).with_metadata({"feature_spec": SPEC.model_dump_json()})
_LABELS = LABELS.with_metadata({"genres": json.dumps(GTZAN_GENRES)})


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
        info = ModelInfo(
            name=name.rpartition("-")[0], genres=GTZAN_GENRES, features=features, n_frames=387, temperature=1
        )
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
            self.write("tracks", f"{number:06}", track_rows(refs(chunk), {}, self.now), run=run)
            if bad:
                self.write("failures", f"{number:06}", failed(bad, attempts=attempts, at=self.now), run=run)
            if good:
                rows = self.features(good, n_frames)
                self.write("features", f"{number:06}", rows, feature_set=SPEC.feature_set, run=run)
                self.write(
                    "labels",
                    f"{run}-{number:06}",
                    self.labels(good, run),
                    model=model,
                    run_date=f"{self.now:%Y-%m-%d}",
                )
        if gone:
            rows = track_rows(refs(list(gone.items())), {}, self.now).to_pylist()
            rows = [row | {"present": False} for row in rows]
            self.write("tracks", "listing", pa.Table.from_pylist(rows, TRACKS), run=run)
        counts = Counts(listed=unchanged + len(everything), labeled_before=unchanged, gone=len(gone or {}))
        # A run that was killed leaves the report that it wrote before the work.
        killed = outcome == "running"
        work = {"left": len(everything)} if killed else {"labeled": len(tracks), "failed": len(failing)}
        counts = counts.model_copy(update=work)
        self.report(run, counts, outcome, model)
        return run

    def report(
        self, run: str, counts: Counts, outcome: RunOutcome = "done", model: str = MODEL, **fields: object
    ) -> None:
        write_report(
            self.tables,
            RunReport(
                run=run, command="run", catalog="/music", outcome=outcome, started_at=self.now, counts=counts,
                model=model, feature_set=SPEC.feature_set, features=SPEC.model_dump(),
            ).model_copy(update=fields),
        )  # fmt: skip

    def _write_plan(self, run: str, versions: dict[str, str]) -> None:
        rows = [{"track_id": name, "uri": uri(name), "etag": etag} for name, etag in versions.items()]
        schema = pa.schema([(name, pa.string()) for name in ("track_id", "uri", "etag")])
        location = storage.join(self.tables.root, "_runs", f"{run}.plan.parquet")
        storage.write_bytes(location, encode_part(pa.Table.from_pylist(rows, schema)))

    def write(self, table: str, name: str, rows: pa.Table, **partitions: str) -> str:
        location = self.tables.part(table, name, **partitions)
        storage.write_bytes(location, encode_part(rows, row_group_size=64 if table == "features" else None))
        return location

    def features(self, versions: Sequence[tuple[str, str]], n_frames: int = 4) -> pa.Table:
        rows = [
            {
                "track_id": name, "etag": etag, "segment": segment, "start_s": 30.0 * segment,
                "duration_s": 30.0, "log_mel": self.rng.bytes(128 * n_frames), "n_frames": n_frames,
                "range_db": 80.0,
            }
            for name, etag in versions
            for segment in range(3)
        ]  # fmt: skip
        return pa.Table.from_pylist(rows, _FEATURES)

    def labels(self, versions: Sequence[tuple[str, str]], run: str) -> pa.Table:
        rows = []
        for name, etag in versions:
            p = self.rng.dirichlet(np.ones(10)).astype(np.float32)
            best = np.argsort(-p, kind="stable")
            rows.append(
                {
                    "track_id": name, "uri": uri(name), "etag": etag, "genre": GTZAN_GENRES[best[0]],
                    "confidence": p[best[0]], "probabilities": p.tolist(),
                    "top3": [{"genre": GTZAN_GENRES[i], "probability": p[i]} for i in best[:3]],
                    "n_segments": 3, "feature_set": SPEC.feature_set, "labeled_at": self.now, "run": run,
                }
            )  # fmt: skip
        return pa.Table.from_pylist(rows, _LABELS)


def uri(name: str) -> str:
    return f"/music/{name}.mp3"


def refs(versions: Sequence[tuple[str, str]]) -> list[TrackRef]:
    return [TrackRef(name, uri(name), 1000, etag) for name, etag in versions]


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
    return pa.Table.from_pylist([row | {"failed_at": at} for row in rows.to_pylist()], FAILURES)


def tracks(count: int, etag: str = "1", start: int = 0) -> dict[str, str]:
    return {f"t{number:04}": etag for number in range(start, start + count)}
