"""When a run counts as the last success, from which the most important alert is computed."""

from dataclasses import replace
from pathlib import Path

import pytest

from jobs.engine.metrics import RunGauges
from jobs.run import planned_run
from jobs.run.accounting import account_for
from jobs.run.request import make_job
from jobs.run.run import run_job
from pipeline.demo.demo_catalog import write_demo_catalog
from pipeline.tables.runs import read_reports
from schemas.config import RunConfig
from schemas.errors import EarmarkError
from schemas.report import RunReport

pytestmark = pytest.mark.usefixtures("on_running_ray")


@pytest.mark.thorough
def test_a_run_whose_tracks_cannot_be_counted_is_no_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store fails at the end of every night, and the alert for nights without success never fires."""
    write_demo_catalog(tmp_path / "catalog", n_tracks=1, duration_s=12)
    successes: list[str] = []
    monkeypatch.setattr(RunGauges, "record_success", lambda gauges: successes.append("success"))
    n_counts = 0

    def count_in_vain(*arguments: object) -> RunReport:
        nonlocal n_counts
        n_counts += 1
        raise EarmarkError("the store is away")

    monkeypatch.setattr(planned_run, "account_for", count_in_vain)
    job = make_job("featurize", str(tmp_path / "catalog"), str(tmp_path / "tables"), RunConfig())
    with pytest.raises(EarmarkError, match="the store is away"):
        run_job(job, print)
    assert read_reports(job.tables, last=1)[0].outcome == "failed"
    assert (successes, n_counts) == ([], 1)
    monkeypatch.setattr(planned_run, "account_for", account_for)
    run_job(replace(job, config=RunConfig(descriptors=True)), print)
    assert successes == ["success"]
