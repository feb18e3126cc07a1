"""Tables of earlier releases, read and continued in place by this one."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from tests.e2e.earmark import ask, earmark, read_table, succeed
from tests.releases.catalog import write_night

pytestmark = pytest.mark.usefixtures("on_running_ray")

RELEASES = Path(__file__).parent.parent / "releases"
VERSIONS = sorted(path.parent.name for path in RELEASES.glob("*/tables"))


@pytest.fixture(params=VERSIONS)
def tables(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Tables of a release in ``tables``, and the catalog as they know it in ``music``."""
    for night in (0, 1):
        write_night(tmp_path / "music", night)
    shutil.copytree(RELEASES / request.param / "tables", tmp_path / "tables")
    return tmp_path / "tables"


def current(tables: Path) -> pd.DataFrame:
    """The current labels, by track."""
    rows = json.loads(ask("labels", tables, "--format", "json"))
    return pd.DataFrame(rows).set_index("track_id").sort_index()


def test_they_are_read(tables: Path) -> None:
    """A user who upgrades would find their labels gone, or their tables called damaged."""
    labels = current(tables)
    written = read_table(tables, "labels").sort_values("labeled_at").drop_duplicates("track_id", keep="last")
    written = written.set_index("track_id").loc[labels.index]
    assert len(labels) == 4
    assert labels["genre"].tolist() == written["genre"].tolist()
    assert labels["confidence"].to_numpy() == pytest.approx(written["confidence"].to_numpy(), abs=1e-6)
    failures = json.loads(ask("failures", tables, "--format", "json"))
    assert sorted(row["error_type"] for row in failures) == ["DecodeError", "EmptyFileError"]
    ask("verify", tables, "--deep")
    assert "4" in ask("status", tables)
    ask("trends", tables, "--by", "folder")
    ask("export-descriptors", tables, "--csv", tables.with_name("descriptors.csv"))
    assert len(pd.read_csv(tables.with_name("descriptors.csv"))) == 4


def test_they_are_continued_in_place(tables: Path) -> None:
    """The night after an upgrade would decode everything again, or label what is labeled once more."""
    (model,) = (tables / "_models").iterdir()
    night = ("run", tables.with_name("music"), tables, "--model", model, "--catalog-moved")
    before = current(tables)
    n_features = len(read_table(tables, "features"))
    again = earmark(*night, "--descriptors", "--segment-labels")
    assert "nothing to do" in again.stdout
    # All tracks have both, from earlier runs.
    assert "got no descriptors from this run; to compute those that are missing, run" in again.stderr
    assert "got no segment labels from this run; they keep those they have" in again.stderr
    pd.testing.assert_frame_equal(current(tables)[["genre", "confidence"]], before[["genre", "confidence"]])
    assert len(read_table(tables, "features")) == n_features

    write_night(tables.with_name("music"), 2)
    assert "3 labeled, 0 failed" in succeed(*night)
    after = current(tables)
    assert len(after) == 5
    kept = after.index.intersection(before.index)
    same = after.loc[kept, "etag"] == before.loc[kept, "etag"]
    assert same.sum() == 2
    pd.testing.assert_series_equal(after.loc[kept, "confidence"][same], before.loc[kept, "confidence"][same])
    ask("verify", tables, "--deep", "--catalog", tables.with_name("music"))
    succeed("compact", tables, "--older-than", "0")
    ask("verify", tables, "--deep")
    pd.testing.assert_frame_equal(current(tables), after)
    assert "nothing to do" in succeed(*night)
