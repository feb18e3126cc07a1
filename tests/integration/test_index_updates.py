"""A run on Ray that updates the index after each shard: what a long run does after each five hundred."""

import contextlib
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs.engine.lease import LeaseLostError
from jobs.run import index_updates, planned_run
from jobs.run.merging import merge_parts_of_run
from jobs.run.request import make_job
from jobs.run.run import run_job
from pipeline.demo.demo_catalog import write_demo_catalog
from pipeline.tables.index import update_index
from pipeline.tables.keys import KEY_COLUMNS, open_keys
from pipeline.tables.maintenance.verify.verification import verify
from pipeline.tables.runs import read_reports
from pipeline.tables.tables import Tables
from schemas.config import RunConfig


@pytest.mark.thorough
def test_parts_are_indexed_while_others_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of a million tracks is killed: the next plan must not read all its thirty thousand parts."""
    write_demo_catalog(tmp_path / "catalog", n_tracks=6, duration_s=12)
    n_files: list[int] = []

    def update(tables: Tables, check: Callable[[], None]) -> None:
        update_index(tables, check)
        with open_keys(tables) as keys:
            keys.load(*KEY_COLUMNS)
            n_files.append(sum(map(len, keys.files.values())))

    monkeypatch.setattr(index_updates, "EVERY_RESULTS", 1)
    monkeypatch.setattr(index_updates, "_TIMES_LONGER", 0.0)
    monkeypatch.setattr(index_updates, "update_index", update)
    config = RunConfig(shard_tracks=1)
    job = make_job("featurize", str(tmp_path / "catalog"), str(tmp_path / "tables"), config)
    report = run_job(job, print)
    assert (report.outcome, report.counts.featurized) == ("done", 6)
    assert n_files
    assert min(n_files) >= 1
    assert run_job(job, print).counts.featurized == 0
    assert verify(job.tables, read_reports(job.tables)).sound


@pytest.mark.thorough
def test_no_update_goes_on_while_the_parts_are_merged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would read parts that vanish, and write down keys of parts that are gone."""
    write_demo_catalog(tmp_path / "catalog", n_tracks=4, duration_s=12)
    n_updates = 0
    at_merging: list[threading.Thread] = []

    def update(tables: Tables, check: Callable[[], None]) -> None:
        nonlocal n_updates
        n_updates += 1
        with contextlib.suppress(LeaseLostError):
            while True:  # as one that never ends by itself
                check()
                time.sleep(0.01)

    def merge_and_note(*arguments: Any) -> None:
        at_merging.extend(each for each in threading.enumerate() if each.name == "index")
        merge_parts_of_run(*arguments)

    monkeypatch.setattr(index_updates, "EVERY_RESULTS", 1)
    monkeypatch.setattr(index_updates, "update_index", update)
    monkeypatch.setattr(planned_run, "merge_parts_of_run", merge_and_note)
    config = RunConfig(shard_tracks=1)
    job = make_job("featurize", str(tmp_path / "catalog"), str(tmp_path / "tables"), config)
    report = run_job(job, print)
    assert (report.outcome, report.counts.featurized, n_updates, at_merging) == ("done", 4, 1, [])
    assert len(list((tmp_path / "tables" / "tracks").rglob("*.parquet"))) == 1
