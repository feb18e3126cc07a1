"""What a night leaves in the tables: few parts, however many shards it had."""

import shutil
from collections import Counter
from pathlib import Path

import pyarrow.compute as pc
import pytest

from pipeline.demo.demo_catalog import N_BROKEN, write_demo_catalog
from pipeline.tables.objects import list_objects
from pipeline.tables.runs import read_reports
from pipeline.tables.tables import Tables
from tests.e2e.earmark import succeed

pytestmark = pytest.mark.usefixtures("on_running_ray")


def test_nights_of_many_shards_leave_few_parts(tmp_path: Path) -> None:
    """On 160 CPUs, 10,000 new tracks left 1,900 objects each night, which each later command opened."""
    music, kept, root = tmp_path / "music", tmp_path / "kept", str(tmp_path / "tables")
    settings = tmp_path / "settings.toml"
    settings.write_text("shard_tracks = 2\n")
    write_demo_catalog(music, n_tracks=8, duration_s=5)
    shutil.copytree(music, kept)
    late = sorted(music.rglob("*.flac"))[:3]
    for path in late:
        path.unlink()
    n_late = len(late)
    succeed("run", music, root, "--config", settings)
    for path in late:
        shutil.copy2(kept / path.relative_to(music), path)
    succeed("run", music, root, "--config", settings)
    tables = Tables(root)
    assert [report.counts.labeled for report in read_reports(tables)] == [8 - n_late, n_late]
    parts = {table: len(found) for table, found in list_objects(tables).parts.items() if found}
    assert parts == {"tracks": 2, "features": 2, "labels": 2, "failures": 1}
    assert not Path(root, "_compaction").exists()
    said = succeed("verify", root, "--catalog", music, "--deep")
    assert f"{8 + N_BROKEN} tracks: 8 labeled, {N_BROKEN} failed, none missing, none duplicated" in said
    rows = tables.read("labels")
    assert Counter(rows["track_id"].to_pylist()).most_common(1)[0][1] == 1
    assert pc.count_distinct(rows["track_id"]).as_py() == 8
