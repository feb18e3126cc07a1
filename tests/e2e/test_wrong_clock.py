"""A run on a machine whose clock is wrong, and those that follow it."""

import logging
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from jobs.run import run as run_module
from jobs.run.request import make_job
from jobs.run.run import run_job
from pipeline.demo.demo_catalog import write_demo_catalog
from pipeline.tables import runs
from pipeline.tables.current import current_tracks
from pipeline.tables.maintenance.verify.verification import verify
from pipeline.tables.runs import read_reports
from schemas.config import RunConfig

pytestmark = pytest.mark.usefixtures("on_running_ray")


YEARS_AHEAD = SimpleNamespace(now=lambda tz: datetime(2038, 1, 19, 3, 14, 7, tzinfo=tz))


def test_a_night_in_the_future_does_not_outlast_what_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Once, the clock was years ahead: files that were deleted since stay in the catalog, and files that were
    replaced keep their old labels, until that time has come."""
    catalog = tmp_path / "catalog"
    write_demo_catalog(catalog, n_tracks=3, duration_s=12)
    job = make_job("featurize", str(catalog), str(tmp_path / "tables"), RunConfig())
    with monkeypatch.context() as patched:
        patched.setattr(run_module, "datetime", YEARS_AHEAD)
        patched.setattr(runs, "datetime", YEARS_AHEAD)
        run_job(job, print)
    before = {row["uri"]: row["etag"] for row in current_tracks(job.tables).to_pylist()}
    gone, replaced = sorted(before)[:2]
    Path(gone).unlink()
    Path(replaced).write_bytes(Path(sorted(before)[2]).read_bytes())
    with caplog.at_level(logging.WARNING):
        report = run_job(job, print)
    after = {row["uri"]: row["etag"] for row in current_tracks(job.tables).to_pylist()}
    assert set(after) == set(before) - {gone}
    assert after[replaced] != before[replaced]
    assert [each.run for each in read_reports(job.tables)][-1] == report.run
    assert verify(job.tables, read_reports(job.tables)).sound
    assert "this clock is behind that of the last run" in caplog.text
