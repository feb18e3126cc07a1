"""`earmark estimate` as a user calls it, before the first run."""

import json
import re
from pathlib import Path

import pytest

from pipeline.demo.demo_catalog import write_demo_catalog
from tests.e2e.earmark import earmark, succeed


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six pieces of music, three broken files and one that is no music."""
    folder = tmp_path_factory.mktemp("music") / "catalog"
    write_demo_catalog(folder, n_tracks=6, duration_s=12)
    return folder


def test_a_user_reads_time_storage_and_price(catalog: Path) -> None:
    """The figures that somebody has to decide on would be missing, or their unit."""
    prices = ("--price-core-hour", 360, "--price-gb-month", 1000)
    said = succeed("estimate", catalog, "--sample", 5, "--cpus", 64, "--cpus", 2, *prices)
    lines = said.splitlines()
    assert re.fullmatch(r"9 tracks listed: 9 to featurize \([\d.]+ MB\)", lines[0])
    assert lines[1].startswith("left out: 1 file without an audio extension")
    assert re.search(r"^format +tracks +size +sample +failed$", said, re.MULTILINE)
    for stage in ("read", "decode", "featurize", "write", "label", "Ray, start", "total"):
        assert re.search(rf"^{stage} +[\d.]+ ", said, re.MULTILINE), stage
    walls = re.findall(r"^ *(2|64) +([\d.]+) s .* ([\d.,]+)(?: \(.*\))?$", said, re.MULTILINE)
    assert [cpus for cpus, _, _ in walls] == ["2", "64"]
    # At 360 an hour, ten seconds of a CPU cost 1.
    assert float(walls[1][2].replace(",", "")) == pytest.approx(64 * float(walls[1][1]) / 10, rel=0.02)
    for table in ("tracks", "features", "labels", "_runs, _index, _models"):
        assert re.search(rf"^{table} +[\d.]+ [kM]?B", said, re.MULTILINE), table
    assert "memory of Ray's head node: 4 GiB. GPU: not measured" in said
    assert "requests" not in said


@pytest.mark.thorough
def test_a_program_reads_json(catalog: Path) -> None:
    """A script would have to parse the text."""
    found = json.loads(succeed("estimate", catalog, "--sample", 9, "--seed", 3, "--format", "json"))
    assert (found["n_listed"], found["n_to_featurize"], found["seed"], found["confidence"]) == (9, 9, 3, 0.9)
    assert found["failures"] == {"DecodeError": 1, "EmptyFileError": 1, "TooShortError": 1}
    estimate = found["estimate"]
    assert estimate["n_failed"] == {"value": 3, "low": 3, "high": 3}
    assert {"16", "64", "256"} <= {str(each["cpus"]) for each in estimate["run_times"]}
    assert all(each["core_hours"]["value"] > 0 for each in estimate["run_times"])
    total = sum(size["value"] for size in estimate["storage_bytes"].values())
    assert estimate["total_bytes"]["value"] == pytest.approx(total)


@pytest.mark.thorough
def test_a_wrong_call_says_what_to_do(tmp_path: Path) -> None:
    """A traceback, or an estimate of nothing."""
    done = earmark("estimate", tmp_path)
    assert done.returncode == 1
    assert "contains no audio files" in done.stderr
    done = earmark("estimate", tmp_path / "missing")
    assert done.returncode == 2
    assert "does not exist" in done.stderr
    assert earmark("estimate", tmp_path, "--sample", 1).returncode == 2
    (tmp_path / "nightly.toml").write_text("nonsense = 1\n")
    done = earmark("estimate", tmp_path, "--config", tmp_path / "nightly.toml")
    assert done.returncode == 2
    assert "unknown setting 'nonsense'" in done.stderr
