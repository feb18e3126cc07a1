"""The summary of a catalog says what is left out of it."""

from pathlib import Path

import pytest

from jobs.cli.summaries.runs import print_report, print_scan
from jobs.run.request import make_job
from jobs.run.run import run_job
from jobs.scan import scan
from pipeline.catalogs.catalog import list_catalog
from schemas.config import RunConfig
from schemas.errors import MisuseError
from tests.encoders import encode, sweep
from tests.table_history import TableHistory, tracks


def test_what_is_left_out_is_counted_by_kind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Fails: files that are left out go unnoticed, and with them whole albums in a format not listed."""
    wav = encode(sweep(8000, 1.0), 8000, "wav")
    names = (
        "a/…And Justice.wav",
        "a/.hidden.wav",
        "a/cover.jpg",
        "b/cover.JPG",
        "b/list.cue",
        "b/._song.wav",
    )
    for name in (*names, "@eaDir/song.wav", ".DS_Store"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(wav)
    print_scan(scan(str(tmp_path)))
    printed = capsys.readouterr()
    said = " ".join((printed.out + printed.err).split())
    assert "wav 2 0" in said
    assert "left out: 3 files without an audio extension (jpg 2, cue 1)" in said
    assert "1 in @eaDir" in said
    assert "1 AppleDouble (._*)" in said


def test_what_cannot_be_found_is_not_called_empty(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Fails: of a manifest whose disk is not mounted, all files are said to be empty."""
    (tmp_path / "a.wav").write_bytes(encode(sweep(8000, 1.0), 8000, "wav"))
    (tmp_path / "b.wav").touch()
    manifest = tmp_path / "list.csv"
    manifest.write_text("uri\n" + "".join(f"{tmp_path}/{name}.wav\n" for name in "abcd"))
    print_scan(scan(str(manifest)))
    said = " ".join(capsys.readouterr().out.split())
    assert "wav 2 1" in said
    assert "2 files cannot be found or read" in said


@pytest.mark.parametrize("name", ["listing.csv", "listing.tsv", "listing.parquet"])
def test_a_listing_keeps_the_columns_of_the_manifest(tmp_path: Path, name: str) -> None:
    """Fails: `earmark run` over what `scan --out` wrote forgets the labels and artists of the manifest."""
    rows = [("a.wav", "jazz", ""), ("b.wav", "", "Ánna"), ("c.wav", "", "")]
    for each, _, _ in rows:
        (tmp_path / each).write_bytes(encode(sweep(8000, 1.0), 8000, "wav"))
    manifest = tmp_path / "list.csv"
    manifest.write_text("uri,label,artist\n" + "".join(f"{','.join(row)}\n" for row in rows))
    scan(str(manifest), out=str(tmp_path / name))
    assert list_catalog(str(tmp_path / name)) == list_catalog(str(manifest))


def test_a_catalog_of_tracks_alone_has_no_such_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Fails: every scan ends with an empty line about nothing."""
    (tmp_path / "a.wav").write_bytes(encode(sweep(8000, 1.0), 8000, "wav"))
    print_scan(scan(str(tmp_path)))
    printed = capsys.readouterr()
    assert "left out" not in printed.out + printed.err


@pytest.mark.parametrize("out", ["list.csv", "file/list.csv"])
def test_a_place_that_cannot_be_written_is_refused_before_the_listing(tmp_path: Path, out: str) -> None:
    """A bucket of ten million tracks is listed for an hour, and the listing is lost."""
    (tmp_path / "list.csv").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(MisuseError, match="cannot write the listing"):
        scan(str(tmp_path / "no-such-catalog"), out=str(tmp_path / out))


def test_a_run_without_tracks_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All tracks with features have left the catalog: the sentence would end in a comma."""
    history = TableHistory(tmp_path / "tables")
    history.model()
    history.run(tracks(2))
    history.run({}, failing={"new": "1"}, gone=tracks(2))
    job = make_job("label", None, history.tables.root, RunConfig(model="gtzan"))
    print_report(run_job(job, lambda sentence: None), history.tables.root)
    assert "nothing to do: 0 tracks listed\n" in capsys.readouterr().out
