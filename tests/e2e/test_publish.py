"""A nightly run that publishes its labels, as a user sets it up."""

import io
import json
from pathlib import Path

import pandas as pd
import pytest
from deltalake import DeltaTable
from typer.testing import CliRunner

from jobs.cli.main import app
from pipeline.demo.demo_catalog import N_BROKEN, write_demo_catalog
from pipeline.publish.parquet import ParquetDestination
from schemas.errors import StoreError
from tests.e2e.earmark import ask, earmark, succeed

pytestmark = pytest.mark.usefixtures("on_running_ray")


def _published(location: Path) -> dict[str, str]:
    rows = DeltaTable(location).to_pandas()
    assert not rows["track_id"].duplicated().any()
    return dict(zip(rows["uri"], rows["genre"], strict=True))


def _labeled(tables: Path) -> dict[str, str]:
    rows = pd.read_csv(io.StringIO(ask("labels", tables, "--format", "csv")))
    return dict(zip(rows["uri"], rows["genre"], strict=True))


@pytest.mark.thorough
def test_each_night_is_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dashboard would show the labels of some night, or a fault of the store would undo a night's work."""
    music, tables, lake = tmp_path / "music", tmp_path / "tables", tmp_path / "lake"
    write_demo_catalog(music, n_tracks=4, duration_s=5)
    refused = earmark("run", music, tables, "--publish", tables / "labels")
    assert (refused.returncode, "overlaps the" in refused.stderr) == (2, True)
    assert not tables.exists()
    printed = succeed("run", music, tables, "--publish", lake)
    assert f"4 rows published to {lake} as version 1" in printed
    assert _published(lake) == _labeled(tables)

    assert "nothing to publish" in succeed("run", music, tables, "--publish", lake)
    Path(max(_labeled(tables))).unlink()
    assert "as version 2: 0 new or changed, 1 removed" in succeed("run", music, tables, "--publish", lake)
    assert _published(lake) == _labeled(tables)
    assert len(_labeled(tables)) == 3
    assert "nothing to publish" in succeed("publish", tables, lake)

    def fail(*_: object) -> None:
        raise StoreError("cannot write: the disk is full")

    monkeypatch.setattr(ParquetDestination, "replace", fail)
    flags = ["--publish", str(tmp_path / "other"), "--publish-format", "parquet", "--max-failure-rate", "0.9"]
    done = CliRunner().invoke(app, ["run", str(music), str(tables), *flags])
    assert done.exit_code == 6, done.output
    report = json.loads(sorted((tables / "_runs").glob("*.json"))[-1].read_text())
    assert (report["outcome"], report["counts"]["failed_before"]) == ("done", N_BROKEN)
    assert report["publication"]["error"] == "cannot write: the disk is full"
    monkeypatch.undo()
    assert "3 rows published" in succeed("run", music, tables, *flags)
    assert len(pd.read_parquet(tmp_path / "other")) == 3
