"""A catalog that is labeled without keeping its features, as a user with a small disk runs it."""

from pathlib import Path

import pytest

from pipeline.demo.demo_catalog import N_BROKEN, write_demo_catalog
from tests.e2e.earmark import ask, earmark, outcomes, read_table, succeed

pytestmark = pytest.mark.usefixtures("on_running_ray")


@pytest.mark.thorough
def test_labels_stay_and_another_model_decodes_again(tmp_path: Path) -> None:
    """Features fill the disk of somebody who wants labels only, or labels vanish with the features."""
    music, tables = tmp_path / "music", tmp_path / "tables"
    write_demo_catalog(music, n_tracks=4, duration_s=5)
    printed = succeed("run", music, tables, "--keep-features", "none")
    assert "features of labeled tracks removed" in printed
    assert read_table(tables, "features").empty
    assert "nothing to do" in succeed("run", music, tables, "--keep-features", "none")
    assert set(outcomes(tables).values()) == {1}
    assert len(outcomes(tables)) == 4 + N_BROKEN
    assert "none missing, none duplicated" in ask("verify", tables, "--catalog", music, "--deep")
    refused = earmark("label", tables, "--model", "gtzan")
    assert (refused.returncode, "compute them with 'earmark run" in refused.stderr) == (2, True)
    assert "4 … labeled before" in succeed("run", music, tables, "--model", "gtzan", "--dry-run")
    again = earmark("run", music, tables, "--model", "gtzan", "--max-failure-rate", "0.9")
    assert again.returncode == 0, again.stderr
    assert "4 tracks that were labeled before are decoded again" in again.stderr
    assert len(read_table(tables, "labels")) == 8
    assert not read_table(tables, "features").empty
