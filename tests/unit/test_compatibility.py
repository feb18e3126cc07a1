"""Tables and models across versions: ids that stay, fields that later versions add, newer formats."""

import ast
import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from jobs.cli.main import app
from jobs.engine import lease as leases
from jobs.engine import lease_acquisition
from jobs.read_tables import open_tables, read_failures, read_labels, read_status
from pipeline.models.bundle import ModelBundle
from pipeline.pages.run_page_writer import rewrite_page
from pipeline.storage import storage
from pipeline.tables.format_version import FORMAT_FILE, record_format, tables_at
from pipeline.tables.maintenance.purge.pending import PendingPurge, read_pending, write_pending
from pipeline.tables.maintenance.verify.verification import verify
from pipeline.tables.runs import read_reports
from pipeline.tables.tables import Tables
from schemas.config import RunConfig
from schemas.errors import EarmarkError, MisuseError
from schemas.features import FeatureSpec
from schemas.model import ModelInfo

RELEASE = Path(__file__).parent.parent / "releases" / "0.1.0" / "tables"
SMALL = RELEASE / "_models" / "small-35b1e80b"


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    """Tables that 0.1.0 wrote."""
    shutil.copytree(RELEASE, tmp_path / "tables")
    return tmp_path / "tables"


def edit(file: Path, **changes: Any) -> dict[str, Any]:
    """Add fields to a JSON file; what it then holds."""
    content = json.loads(file.read_text()) | changes
    file.write_text(json.dumps(content))
    return dict(content)


@pytest.mark.parametrize(
    ("settings", "feature_set"),
    [
        ({}, "24ea1669f0"),
        ({"descriptors": True}, "a01867cf29"),
        ({"log_mel": False, "descriptors": True}, "f9d5facdc8"),
        ({"segment_s": 10.0, "n_fft": 1024, "mel_hop": 512}, "7e3f1b822d"),
        (
            {"sample_rate": 16000, "max_segments": 1, "n_mels": 64, "top_db": 100.0, "min_s": 0.5},
            "5480f2385d",
        ),
    ],
)
def test_the_ids_of_feature_sets_stay(settings: dict[str, Any], feature_set: str) -> None:
    """After an upgrade, the first night would decode the whole catalog again and keep all features twice."""
    assert FeatureSpec(**settings).feature_set == feature_set


def test_a_setting_that_is_added_changes_no_id() -> None:
    """Each release that can do more would orphan the features and models of all the catalogs there are."""

    class Later(FeatureSpec):
        taper: str = "hann"
        loudness: tuple[float, ...] | None = None

    assert Later().feature_set == FeatureSpec().feature_set
    assert Later().model_dump_json() == FeatureSpec().model_dump_json()
    other = Later(taper="hamming")
    assert other.feature_set not in {spec.feature_set for spec in FeatureSpec().supersets()}
    assert json.loads(other.model_dump_json()) == FeatureSpec().model_dump() | {"taper": "hamming"}
    assert Later.model_validate_json(other.model_dump_json()) == other
    with pytest.raises(ValidationError, match="taper"):
        FeatureSpec.model_validate_json(other.model_dump_json())


def test_the_names_of_models_stay() -> None:
    """After an upgrade, every track would count as not yet labeled by the model that labeled it."""
    assert ModelBundle.load("gtzan").model == "gtzan-cnn-304cb835"
    small = ModelBundle.load(str(SMALL))
    assert small.model == SMALL.name

    class LaterSpec(FeatureSpec):
        taper: str = "hann"

    class LaterInfo(ModelInfo):
        format_version: int = 2
        features: LaterSpec
        pooling: str = "mean"

    info = LaterInfo.model_validate_json((SMALL / "model.json").read_bytes())
    assert info.format_version == 1
    assert ModelBundle(info, small.weights).model == SMALL.name


def test_pages_are_made_from_reports_of_0_1_0(tables: Path) -> None:
    """`report` would end in an internal error, and `purge --delete` halfway, in every attempt."""
    first, _ = read_reports(open_tables(str(tables)))
    assert first.timeline is not None
    assert len(first.timeline.labeling) == len(first.timeline.parts_left) > 0
    app(["report", str(tables), "--run", first.run], standalone_mode=False)
    assert f"Run {first.run}" in (tables / "_runs" / f"{first.run}.html").read_text("utf-8")
    app(["purge", str(tables), "--uri", _first_uri(tables), "--delete"], standalone_mode=False)
    opened = open_tables(str(tables))
    assert read_labels(opened, None).num_rows == 3
    assert verify(opened, read_reports(opened), deep=True).sound


def _first_uri(tables: Path) -> str:
    return str(read_labels(open_tables(str(tables)), None)["uri"][0])


def test_fields_that_a_later_version_added_are_ignored(tables: Path) -> None:
    """Where one node of a team was upgraded, the commands of all others would call the reports broken."""
    for report in (tables / "_runs").glob("*.json"):
        whole = json.loads(report.read_text())
        records = [whole, whole["counts"], whole["timeline"], *whole["slowest"]]
        records.append(whole.setdefault("left_out", {"not_audio": {"jpg": 1}}))
        records += [example for examples in whole["failure_examples"].values() for example in examples]
        for record in records:
            record["later"] = {"any": ["thing"]}
        report.write_text(json.dumps(whole))
    (model,) = (tables / "_models").iterdir()
    edit(model / "model.json", later=[1], figures=[])
    edit(tables / FORMAT_FILE if (tables / FORMAT_FILE).exists() else _written(tables), later="x")
    opened = open_tables(str(tables))
    assert read_status(opened).n_tracks == 6
    assert read_labels(opened, None).num_rows == 4
    assert read_failures(opened, None).num_rows == 2
    assert verify(opened, read_reports(opened), deep=True).sound
    assert ModelBundle.load(str(model)).model == model.name


def _written(tables: Path) -> Path:
    record_format(Tables(str(tables)), lambda: None)
    return tables / FORMAT_FILE


def test_figures_with_later_fields_are_read(tmp_path: Path) -> None:
    """A model that was measured by a newer Earmark could not be used by an older one."""
    shutil.copytree(SMALL, tmp_path / "model")
    figure = {"protocol": "track", "dataset": "ours", "accuracy": 0.5, "n": 10, "later": 1}
    edit(tmp_path / "model/model.json", figures=[figure])
    assert ModelBundle.load(str(tmp_path / "model")).info.figures[0].n == 10


def test_columns_that_a_later_version_added_are_sound(tables: Path) -> None:
    """`earmark verify` of an older node would call a sound catalog damaged, night after night."""
    for part in (tables / "tracks").rglob("*.parquet"):
        rows = pq.read_table(part, partitioning=None)
        pq.write_table(rows.append_column("mood", pa.nulls(rows.num_rows, pa.string())), part)
    opened = open_tables(str(tables))
    assert verify(opened, read_reports(opened), deep=True).sound
    assert read_labels(opened, None).num_rows == 4


def test_features_of_a_later_version_are_passed_over(tables: Path) -> None:
    """Training or exporting would end in a traceback, or mix features that are not the same."""
    last = sorted((tables / "_runs").glob("*.json"))[-1]
    report = json.loads(last.read_text())
    edit(last, features=report["features"] | {"taper": "hamming"}, feature_set="0123456789")
    opened = open_tables(str(tables))
    assert [report.spec is None for report in read_reports(opened)] == [False, True]
    csv = tables.with_name("descriptors.csv")
    app(["export-descriptors", str(tables), "--csv", str(csv)], standalone_mode=False)
    assert len(csv.read_text().splitlines()) == 5
    verify(opened, read_reports(opened))


@pytest.mark.parametrize(
    "command",
    [
        "run music TABLES",
        "run music TABLES --dry-run",
        "featurize music TABLES",
        "label TABLES",
        "status TABLES",
        "failures TABLES",
        "labels TABLES",
        "ddl TABLES --dialect duckdb",
        "export-descriptors TABLES --csv out.csv",
        "verify TABLES",
        "compact TABLES",
        "vacuum TABLES",
        "vacuum TABLES --delete",
        "trends TABLES --by folder",
        "report TABLES",
        "train TABLES --out model",
    ],
)
def test_tables_of_a_newer_format_are_refused_by_every_command(
    tables: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older Earmark on one machine would misread, or write its old form into, what a newer one made."""
    monkeypatch.chdir(tables.parent)
    (tables.parent / "music").mkdir()
    (tables / FORMAT_FILE).write_text('{"format_version": 2, "whatever": {"comes": null}}')
    for report in (tables / "_runs").glob("*.json"):
        report.write_text('{"a": "later form"}')
    before = {path: path.stat().st_mtime_ns for path in tables.rglob("*")}
    arguments = [str(tables) if word == "TABLES" else word for word in command.split()]
    with pytest.raises(MisuseError) as refused:
        app(arguments, standalone_mode=False)
    assert str(refused.value) == (
        f"the tables {tables} were made by a newer Earmark (format 2, this one reads up to 1); "
        "upgrade Earmark"
    )
    assert {path: path.stat().st_mtime_ns for path in tables.rglob("*")} == before


def test_the_format_is_checked_again_under_the_lease(tables: Path) -> None:
    """A newer Earmark that ran between an old one's look and its lease would have its tables overwritten."""
    opened = open_tables(str(tables))
    (tables / FORMAT_FILE).write_text('{"format_version": 7}')
    with (
        pytest.raises(MisuseError, match="format 7"),
        leases.hold(opened.root, "late", say=lambda sentence: None),
    ):
        pytest.fail("the lease was handed out")
    assert lease_acquisition.free_number(opened.root) is not None


def test_the_format_is_written_once_and_kept(tables: Path) -> None:
    """Tables would not say what they are; or those of 0.1.0, which do not, would count as unreadable."""
    location = _written(tables)
    assert json.loads(location.read_text()) == {"format_version": 1}
    location.write_text('{"format_version": 1, "later": true}')
    record_format(Tables(str(tables)), lambda: None)
    assert json.loads(location.read_text())["later"] is True


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format_version": 0}', '{"format_version": "two"}'])
def test_a_damaged_format_file_is_named(tables: Path, content: str) -> None:
    """What a disk or an editor spoiled would end in a traceback, or pass for the oldest format."""
    (tables / FORMAT_FILE).write_text(content)
    with pytest.raises(EarmarkError, match=r"_format\.json does not name the format .*; delete it"):
        open_tables(str(tables))


def test_an_answer_that_was_cut_off_is_no_damage(tables: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a store cuts an answer short, users would be told to delete what is sound."""
    opened, pending = Tables(str(tables)), PendingPurge(track_ids=("a",), uris=(), purged={})
    _written(tables)
    write_pending(opened, pending, lambda: None)
    whole, answered = storage.read_bytes, set[str]()

    def cut_first(location: str) -> bytes:
        length = None if location in answered else 5
        answered.add(location)
        return whole(location)[:length]

    monkeypatch.setattr(storage, "read_bytes", cut_first)
    assert tables_at(opened.root) == opened
    assert read_pending(opened) == pending
    assert ModelBundle.load(str(SMALL)).model == SMALL.name


def test_a_report_that_cannot_be_read_says_why(tables: Path) -> None:
    """Somebody would move away a newer version's report, and lose it, where an upgrade was all it took."""
    last = sorted((tables / "_runs").glob("*.json"))[-1]
    edit(last, command="embed")
    with pytest.raises(
        EarmarkError, match=rf"{last.name} is not a valid run report \(command: .*upgrade Earmark if"
    ):
        open_tables(str(tables))


def test_a_report_from_others_names_no_file_elsewhere(tables: Path) -> None:
    """`earmark report` on tables that somebody else gave would overwrite any page of its user."""
    mine = tables.parent / "mine.html"
    mine.write_text("mine")
    edit(sorted((tables / "_runs").glob("*.json"))[-1], run="../../mine")
    with pytest.raises(EarmarkError, match=r"is not a valid run report \(run: "):
        rewrite_page(Tables(str(tables)), None, None)
    assert mine.read_text() == "mine"


def test_settings_of_users_are_still_checked(tmp_path: Path) -> None:
    """A mistyped setting of a configuration would be ignored, and the night run with the default."""
    (tmp_path / "nightly.toml").write_text("descripters = true")
    with pytest.raises(MisuseError, match="unknown setting 'descripters'"):
        RunConfig.load(tmp_path / "nightly.toml")


def test_tables_are_opened_in_one_place() -> None:
    """A command that is added later would read, or write to, tables of a newer format."""
    root = RELEASE.parents[3]
    opening = {
        str(path.relative_to(root))
        for layer in ("jobs", "pipeline")
        for path in (root / layer).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Tables"
    }
    assert opening == {"pipeline/tables/format_version.py"}
