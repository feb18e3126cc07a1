"""A run on Ray that updates the index after each shard: what a long run does after each five hundred."""

from pathlib import Path

import pytest

from jobs.run import index_updates
from jobs.run import run as runs
from jobs.run.request import make_job
from pipeline.demo.demo_catalog import write_demo_catalog
from pipeline.tables.index import update_index
from pipeline.tables.keys import KEY_COLUMNS, open_keys
from pipeline.tables.maintenance.verify.verification import verify
from pipeline.tables.runs import read_reports
from pipeline.tables.tables import Tables
from schemas.config import RunConfig


def test_parts_are_indexed_while_others_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of a million tracks is killed: the next plan must not read all its thirty thousand parts."""
    write_demo_catalog(tmp_path / "catalog", n_tracks=6, duration_s=12)
    n_files: list[int] = []

    def update(tables: Tables, check: object) -> None:
        update_index(tables, check)  # type: ignore[arg-type]
        with open_keys(tables) as keys:
            keys.load(*KEY_COLUMNS)
            n_files.append(sum(map(len, keys.files.values())))

    monkeypatch.setattr(index_updates, "EVERY_RESULTS", 1)
    monkeypatch.setattr(index_updates, "_TIMES_LONGER", 0.0)
    monkeypatch.setattr(index_updates, "update_index", update)
    config = RunConfig(shard_tracks=1)
    job = make_job("featurize", str(tmp_path / "catalog"), str(tmp_path / "tables"), config)
    report = runs.run_job(job, print)
    assert (report.outcome, report.counts.featurized) == ("done", 6)
    assert n_files
    assert min(n_files) >= 1
    assert runs.run_job(job, print).counts.featurized == 0
    assert verify(job.tables, read_reports(job.tables)).sound
