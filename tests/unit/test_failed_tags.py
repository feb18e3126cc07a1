"""Failed tracks keep the tags that can be read, so that they can be identified and replaced."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.catalogs.track_refs import stat_track, to_batch
from pipeline.shards.featurize_shard import Shard, featurize_shard
from pipeline.shards.limits import TrackLimits
from pipeline.tables.tables import Tables
from schemas.features import FeatureSpec
from tests.encoders import encode, sweep
from tests.hostile import absurd_wav, write_sparse
from tests.slow_joins import read_whole
from tests.unit.test_id3 import frame, tag

SPEC = FeatureSpec(segment_s=2, max_segments=1)
ID3 = tag(4, frame(4, b"TPE1", "\3Björk".encode()) + frame(4, b"TIT2", "\3Jóga".encode()))
LIMITS = TrackLimits(600.0, 500 << 20)


def shard_of(*paths: Path) -> Shard:
    tracks = [stat_track(str(path), path.name) for path in paths]
    table = pa.Table.from_batches([to_batch(tracks)])
    table = table.append_column("attempts", pa.array([0] * len(tracks), pa.int32()))
    return Shard("000000", "run", SPEC.feature_set, table, datetime.now(UTC))


def rows(tables: Tables) -> dict[str, dict[str, Any]]:
    return {row["track_id"]: row for row in read_whole(tables, "tracks").to_pylist()}


@pytest.mark.parametrize("isolated", [False, True])
def test_a_track_that_does_not_decode_keeps_its_tags(tmp_path: Path, isolated: bool) -> None:
    """A list of broken tracks would not say which songs they are."""
    files = {
        "broken.mp3": ID3 + b"no audio" * 1000,
        "short.mp3": ID3 + encode(sweep(44100, 0.05), 44100, "mp3"),
        "good.mp3": ID3 + encode(sweep(44100, 3), 44100, "mp3"),
        "empty.mp3": b"",
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    tables = Tables(str(tmp_path / "tables"))
    shard = shard_of(*(tmp_path / name for name in files))
    result = featurize_shard(shard, tables, SPEC, lambda: None, limits=LIMITS, isolated=isolated)
    assert (result.n_featurized, result.n_failed) == (1, 3)
    tracks = rows(tables)
    for name in ("broken.mp3", "short.mp3", "good.mp3"):
        assert (tracks[name]["artist"], tracks[name]["title"]) == ("Björk", "Jóga")
        assert (tracks[name]["codec"] is None) == (name != "good.mp3")
    assert tracks["empty.mp3"]["artist"] is None


def test_a_failed_second_read_leaves_the_row_of_the_first(tmp_path: Path) -> None:
    """Another model reads all tracks again: a store that fails then would take artist and duration away."""
    for name in ("a.mp3", "b.mp3"):
        (tmp_path / name).write_bytes(b"no audio" * 1000)
    shard = shard_of(tmp_path / "a.mp3", tmp_path / "b.mp3")
    shard = replace(shard, tracks=shard.tracks.append_column("recorded", pa.array([True, False])))
    tables = Tables(str(tmp_path / "tables"))
    result = featurize_shard(shard, tables, SPEC, lambda: None, limits=LIMITS)
    assert (result.n_failed, set(result.failed)) == (2, {"a.mp3", "b.mp3"})
    assert set(rows(tables)) == {"b.mp3"}
    assert read_whole(tables, "failures").num_rows == 2


def test_a_failure_names_the_features_that_it_depends_on(tmp_path: Path) -> None:
    """A model that takes shorter tracks would never be given this one; or each new model all broken ones."""
    (tmp_path / "short.wav").write_bytes(encode(sweep(44100, 0.3), 44100, "wav"))
    (tmp_path / "broken.mp3").write_bytes(b"no audio" * 1000)
    tables = Tables(str(tmp_path / "tables"))
    shard = shard_of(tmp_path / "short.wav", tmp_path / "broken.mp3")
    assert featurize_shard(shard, tables, SPEC, lambda: None, limits=LIMITS).n_failed == 2
    failures = {row["error_type"]: row["feature_set"] for row in read_whole(tables, "failures").to_pylist()}
    assert failures == {"TooShortError": SPEC.feature_set, "DecodeError": None}


@pytest.mark.slow
def test_a_track_that_kills_its_process_keeps_its_tags(tmp_path: Path) -> None:
    """The tracks that are hardest to find would be the ones nobody could identify."""
    header, size = absurd_wav(20_000_000)
    chunk = b"id3 " + len(ID3).to_bytes(4, "little") + ID3 + bytes(len(ID3) % 2)
    write_sparse(tmp_path / "absurd.wav", header[:36] + chunk + header[36:], size + len(chunk))
    tables = Tables(str(tmp_path / "tables"))
    shard = shard_of(tmp_path / "absurd.wav")
    limits = TrackLimits(600.0, 256 << 20)
    first = featurize_shard(shard, tables, SPEC, lambda: None, limits=limits, isolated=True)
    assert (first.n_failed, first.suspects) == (0, ("absurd.wav",))
    featurize_shard(shard, tables, SPEC, lambda: None, limits=limits, isolated=True, confirming=True)
    (failure,) = read_whole(tables, "failures").to_pylist()
    assert failure["error_type"] == "TooMuchMemoryError"
    assert rows(tables)["absurd.wav"]["title"] == "Jóga"
