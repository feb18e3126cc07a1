"""The life of a catalog: labeled, run again, changed, broken, labeled by another model, read elsewhere."""

import json
import os
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pandas as pd
import pytest

from pipeline.demo.demo_catalog import N_BROKEN, write_demo_catalog
from pipeline.models.bundle import INFO_FILE, ModelBundle
from pipeline.tables.objects import list_objects
from pipeline.tables.runs import read_reports
from pipeline.tables.tables import Tables
from schemas.report import RunReport
from tests.e2e.earmark import ask, earmark, outcomes, read_table, succeed

pytestmark = pytest.mark.usefixtures("on_running_ray")

N_TRACKS = 8

README = Path(__file__).resolve().parents[2] / "README.md"


@dataclass(frozen=True)
class Labeled:
    catalog: Path
    tables: Path
    stdout: str


@pytest.fixture(scope="module")
def labeled(tmp_path_factory: pytest.TempPathFactory) -> Labeled:
    """A small catalog after its first run; the tests of this module go on from there, in their order."""
    folder = tmp_path_factory.mktemp("life")
    write_demo_catalog(folder / "catalog", n_tracks=N_TRACKS, duration_s=20)
    (folder / "settings.toml").write_text("shard_tracks = 2\n")
    stdout = succeed(
        "run", folder / "catalog", folder / "tables", "--segment-labels", "--config", folder / "settings.toml"
    )
    return Labeled(folder / "catalog", folder / "tables", stdout)


def current(labeled: Labeled, *options: str) -> pd.DataFrame:
    return pd.DataFrame(json.loads(ask("labels", labeled.tables, "--format", "json", *options)))


def last_report(labeled: Labeled) -> RunReport:
    return read_reports(Tables(str(labeled.tables)), last=1)[0]


def test_every_track_ends_once(labeled: Labeled) -> None:
    """The promise itself: each file is a label or a failure with a reason, and the run says so."""
    assert f"{N_TRACKS + N_BROKEN} tracks listed: {N_TRACKS} labeled, {N_BROKEN} failed" in labeled.stdout
    assert set(outcomes(labeled.tables).values()) == {1}
    report = last_report(labeled)
    assert (report.outcome, report.balanced) == ("done", True)
    failures = read_table(labeled.tables, "failures")
    assert sorted(failures["error_type"]) == ["DecodeError", "EmptyFileError", "TooShortError"]
    assert all(uri in message for uri, message in zip(failures["uri"], failures["message"], strict=True))


def test_a_run_of_many_shards_leaves_one_part_a_table(labeled: Labeled) -> None:
    """On 160 CPUs, 10,000 new tracks left 1,900 objects each night, which each later command opened."""
    parts = list_objects(Tables(str(labeled.tables))).parts
    written = ("tracks", "features", "labels", "segment_labels", "failures")
    assert {table: len(found) for table, found in parts.items() if found} == dict.fromkeys(written, 1)
    assert not (labeled.tables / "_compaction").exists()
    assert "none missing, none duplicated" in ask("verify", labeled.tables, "--deep")


def test_labels_are_read_by_pandas_and_duckdb_alike(labeled: Labeled) -> None:
    """The README's SQL must give an analyst just what `earmark labels` gives."""
    mine = current(labeled).set_index("track_id").sort_index()
    (model,) = mine["model"].unique()
    (sql,) = re.findall(r"```sql\n(.*?)```", README.read_text(), re.DOTALL)
    sql = sql.replace("TABLES", str(labeled.tables)).replace("MODEL", model)
    theirs = duckdb.execute(sql).df().set_index("track_id").sort_index()
    assert mine["genre"].to_dict() == theirs["genre"].to_dict()
    raw = read_table(labeled.tables, "labels").set_index("track_id").sort_index()
    assert raw["genre"].to_dict() == mine["genre"].to_dict()
    assert all(len(p) == 19 and abs(sum(p) - 1) < 1e-5 for p in raw["probabilities"])
    assert all(max(p) == c for p, c in zip(raw["probabilities"], raw["confidence"], strict=True))


def test_tags_and_audio_facts_are_in_the_tracks_table(labeled: Labeled) -> None:
    """Trends by artist and year are made from these columns."""
    tracks = read_table(labeled.tables, "tracks")
    playable = tracks[tracks["codec"].notna()]
    assert len(playable) == N_TRACKS
    assert playable[["artist", "album", "title", "year", "genre_tag"]].notna().all(axis=None)
    assert set(playable["codec"]) >= {"flac", "mp3"}


def test_segment_labels_add_up_to_the_labels(labeled: Labeled) -> None:
    """A track's segments are there when asked for, as many as its label says."""
    segments = read_table(labeled.tables, "segment_labels").groupby("track_id").size()
    labels = read_table(labeled.tables, "labels").set_index("track_id")["n_segments"]
    assert segments.to_dict() == labels.to_dict()


def test_a_second_run_has_nothing_to_do_and_says_so_quickly(labeled: Labeled) -> None:
    """Every night most of the catalog is done; that must cost neither Ray nor TensorFlow."""
    start = time.monotonic()
    stdout = succeed("run", labeled.catalog, labeled.tables)
    assert stdout.startswith("nothing to do")
    assert time.monotonic() - start < 30
    assert last_report(labeled).cluster == {}
    assert set(outcomes(labeled.tables).values()) == {1}


def test_a_changed_file_is_labeled_again_and_a_deleted_one_drops_out(labeled: Labeled) -> None:
    """What changed is done, and nothing else."""
    before = current(labeled)
    changed, deleted = sorted(before["uri"])[:2]
    os.utime(changed, (1, 1))
    Path(deleted).unlink()
    assert "1 labeled, 0 failed" in succeed("run", labeled.catalog, labeled.tables)
    after = current(labeled)
    assert set(after["uri"]) == set(before["uri"]) - {deleted}
    runs = after.set_index("uri")["run"]
    assert runs[changed] != runs.drop(changed).unique()
    assert outcomes(labeled.tables)[changed] == 2


def test_another_model_labels_everything_without_decoding(labeled: Labeled, tmp_path: Path) -> None:
    """A new model must not cost the decoding of a million tracks again."""
    bundle = ModelBundle.load("default")
    shutil.copytree(labeled.tables / "_models" / bundle.model, tmp_path / "other")
    info = tmp_path / "other" / INFO_FILE
    info.write_text(bundle.info.model_copy(update={"name": "other", "temperature": 9.0}).model_dump_json())
    # `label` takes the tracks from the tables: the catalog is not even looked at.
    succeed("label", labeled.tables, "--model", tmp_path / "other")
    report = last_report(labeled)
    assert "decode" not in report.seconds
    assert report.counts.labeled == N_TRACKS - 1
    # The tracks that have no features have not left the catalog for that.
    assert report.counts.gone == 0
    assert len(ask("failures", labeled.tables, "--format", "csv").splitlines()) == 1 + N_BROKEN
    other = current(labeled, "--model", "other").set_index("uri")
    first = current(labeled, "--model", bundle.model).set_index("uri")
    assert other["genre"].to_dict() == first["genre"].to_dict()
    assert (other["confidence"] < first["confidence"]).all()


@pytest.mark.thorough
def test_failures_are_not_tried_again_unless_asked(labeled: Labeled) -> None:
    """A broken file costs one row, not a decode every night; insisting counts the attempts."""
    assert "3 failed in earlier runs, not retried" in succeed("run", labeled.catalog, labeled.tables)
    succeed("run", labeled.catalog, labeled.tables, "--retry-failed")
    assert read_table(labeled.tables, "failures").groupby("uri")["attempts"].max().unique() == [2]
    assert "TooShortError" in ask("failures", labeled.tables)
    state = ask("status", labeled.tables)
    assert "default" not in state
    assert "running or killed" not in state


@pytest.mark.thorough
def test_descriptors_are_added_and_exported_in_the_published_form(labeled: Labeled, tmp_path: Path) -> None:
    """Analysts know these 57 columns; they come without log-mels, and a file's own genre is the label."""
    from pipeline.audio.features.descriptors import DESCRIPTOR_NAMES

    missing = earmark("export-descriptors", labeled.tables, "--csv", tmp_path / "d.csv")
    assert missing.returncode == 2
    assert "--only descriptors" in missing.stderr
    succeed("featurize", labeled.catalog, labeled.tables, "--only", "descriptors")
    ask("export-descriptors", labeled.tables, "--csv", tmp_path / "d.csv")
    exported = pd.read_csv(tmp_path / "d.csv")
    assert list(exported) == ["filename", "length", *DESCRIPTOR_NAMES, "label"]
    tracks = read_table(labeled.tables, "tracks").dropna(subset="codec").drop_duplicates("uri", keep="last")
    by_name = {str(Path(uri).relative_to(labeled.catalog)): uri for uri in current(labeled)["uri"]}
    assert set(exported["filename"]) == set(by_name)
    tags = tracks.set_index("uri")["genre_tag"]
    assert exported["label"].tolist() == [tags[by_name[name]] for name in exported["filename"]]
    assert exported[list(DESCRIPTOR_NAMES)].notna().all(axis=None)
    assert "nothing to do" in succeed("run", labeled.catalog, labeled.tables)


@pytest.mark.thorough
def test_tables_of_another_catalog_are_not_overwritten(labeled: Labeled, tmp_path: Path) -> None:
    """A mistyped catalog must not make all labels vanish from the current ones; a moved one is fine."""
    moved = tmp_path / "moved"
    shutil.copytree(labeled.catalog, moved)
    refused = earmark("run", moved, labeled.tables)
    assert refused.returncode == 2
    assert "holds the tables of" in refused.stderr
    assert "nothing to do" in succeed("run", moved, labeled.tables, "--catalog-moved")
    assert set(current(labeled)["uri"].map(lambda uri: Path(uri).parents[2])) == {moved}
