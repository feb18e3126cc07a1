"""What a run asks of an S3 store: stores charge by the request, and each takes its time."""

import os
from collections import Counter
from pathlib import Path

import pytest

from jobs.engine import lease as leases
from jobs.run.request import Job, list_job
from pipeline.demo.demo_catalog import write_demo_catalog
from pipeline.models.bundle import ModelBundle
from pipeline.storage import storage
from pipeline.storage.requests import take_bytes, take_requests
from pipeline.tables.index import update_index
from pipeline.tables.runs import read_reports
from pipeline.tables.tables import Tables
from schemas.config import RunConfig
from tests.e2e.earmark import succeed
from tests.s3_proxy import faulty_proxy
from tests.table_history import SPEC, TableHistory, tracks

pytestmark = pytest.mark.s3


def by_method(requests: dict[str, int]) -> Counter[str]:
    """Numbers by HTTP's methods: a listing is a GET."""
    counts = Counter(requests)
    counts["GET"] += counts.pop("LIST", 0)
    return counts


@pytest.mark.thorough
def test_a_run_counts_its_requests_and_deletes_nothing_that_never_was(bucket: str, tmp_path: Path) -> None:
    """The bill for a night would be a guess; and most of it would be for deleting what was never there."""
    write_demo_catalog(tmp_path / "catalog", n_tracks=4, duration_s=12)
    for path in (tmp_path / "catalog").rglob("*.flac"):
        storage.write_bytes(f"{bucket}/music/{path.name}", path.read_bytes())
    tables = f"{bucket}/tables"
    with faulty_proxy(os.environ["AWS_ENDPOINT_URL"], seed=0) as proxy:
        said = succeed("run", f"{bucket}/music", tables, AWS_ENDPOINT_URL=proxy.url)
        seen = Counter(proxy.requests)
        deleted = [path for path in proxy.paths if path.startswith("DELETE")]
    (report,) = read_reports(Tables(tables))
    counted = by_method(report.requests)
    assert f"requests to the store: {next(iter(report.requests))} " in said
    assert not deleted
    assert counted["DELETE"] == 0
    # Only the last writes, of the report, its pages, the log and the lease, come after the count.
    assert 0 <= seen["PUT"] - counted["PUT"] <= 8
    assert 0 <= seen["GET"] - counted["GET"] <= 12
    sizes = [path.stat().st_size for path in (tmp_path / "catalog").rglob("*.flac")]
    of_model = len(ModelBundle.load("default").weights)
    assert sum(sizes) <= report.store_bytes["received"] <= 2 * (sum(sizes) + of_model)
    assert report.store_bytes["sent"] > 0
    assert "data from and to the store: " in said


def test_several_parts_at_once_cost_one_look_at_the_lease(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of what a part costs would be for looking; and later, a run that lost its lease would write on."""
    monkeypatch.setattr(leases, "RENEW_S", 600.0)
    monkeypatch.setattr(leases, "FRESH_S", 600.0)  # however slow this machine is
    with leases.hold(bucket, "run-1", say=print) as lease:
        lease.check()
        take_requests()
        for name in ("tracks", "features"):
            storage.write_bytes(f"{bucket}/{name}", b"part", check=lease.check)
        assert take_requests() == {"PUT": 2}
        monkeypatch.setattr(leases, "FRESH_S", 0.0)
        storage.create(storage.join(bucket, "_lease", "00000099.json"), b"{}")
        with pytest.raises(leases.LeaseLostError):
            storage.write_bytes(f"{bucket}/labels", b"part", check=lease.check)


def test_the_bytes_of_bodies_are_counted(bucket: str) -> None:
    """What a store charges for data that leaves it is a guess; the size that a HEAD tells is not sent."""
    take_bytes()
    storage.write_bytes(f"{bucket}/part", bytes(1 << 20))
    sent = take_bytes()
    assert sent["sent"] >= 1 << 20
    assert sent.get("received", 0) < 1 << 12
    assert storage.exists(f"{bucket}/part")
    assert take_bytes().get("received", 0) < 1 << 12
    assert len(storage.read_bytes(f"{bucket}/part")) == 1 << 20
    read = take_bytes()
    assert 1 << 20 <= read["received"] < 1.1 * (1 << 20)
    assert read.get("sent", 0) < 1 << 12


def test_listing_the_tracks_to_label_reads_no_features(bucket: str) -> None:
    """Labeling anew with another model would begin with four requests for each part of the features."""
    bundle = ModelBundle.load("gtzan")
    assert bundle.info.features.feature_set == SPEC.feature_set
    history = TableHistory(f"{bucket}/tables")
    history.run(tracks(40), shard_tracks=2)
    features = history.tables.folder("features")
    parts = storage.filesystem("s3").find(features)
    assert len(parts) == 20
    storage.delete(f"s3://{parts[-1]}")
    history.run({"t0001": "2", "new": "1"}, gone={"t0002": "1"}, unchanged=38)
    history.run({}, failing={"t0003": "2"}, unchanged=38)
    update_index(history.tables, lambda: None)
    take_requests()
    listed = list_job(Job("label", None, history.tables, RunConfig(model="gtzan"), bundle)).tracks
    requests = take_requests()
    expected = (set(tracks(38)) - {"t0002", "t0003"}) | {"new"}
    assert set(listed["track_id"].to_pylist()) == expected
    assert requests["GET"] <= 2 + len(storage.filesystem("s3").find(history.tables.folder("tracks")))
    assert requests.get("HEAD", 0) == 0
