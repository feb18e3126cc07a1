"""The page of a run: what an engineer opens the morning after."""

import html
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from jobs.cli.summaries.tables import print_runs
from pipeline.pages.charts import Series, lay_out_step_chart
from pipeline.pages.run_page import render_run_list, render_run_page
from pipeline.pages.run_page_writer import RunPageWriter, rewrite_page
from pipeline.redaction import redact
from pipeline.tables.runs import write_report
from pipeline.tables.tables import Tables
from schemas.errors import MisuseError
from schemas.report import Counts, FailureExample, LeftOut, Publication, RunReport, SlowTrack, Timeline

HOSTILE = "<script>alert(1)</script>"


def make_report(run: str = "20260102T000000-aaaa", **changes: Any) -> RunReport:
    values: dict[str, Any] = {
        "run": run,
        "command": "run",
        "catalog": "s3://bucket/music",
        "outcome": "done",
        "started_at": datetime(2026, 1, 2, tzinfo=UTC),
        "wall_s": 75.0,
        "counts": Counts(listed=12, labeled_before=2, labeled=8, failed=2, featurized=8),
        "seconds": {"decode": 30.0, "predict": 10.0},
        "genres": {"jazz": 5, "rock": 3},
        "failures": {"DecodeError": 2},
        "failure_examples": {
            "DecodeError": (FailureExample(uri=f"s3://bucket/music/{HOSTILE}.mp3", message=HOSTILE),)
        },
        "timeline": Timeline(
            step_s=1.0, featurizing=(1.0, 2.0), labeling=(0.0, 0.5), cpus=(2, 2), actors=(1, 1),
            shards_left=(3, 1), parts_left=(0, 2),
        ),
        "slowest": (SlowTrack(uri=f"s3://bucket/music/{HOSTILE}.flac", seconds=4.25),),
        "model": "gtzan-cnn-12345678",
        "feature_set": "0123456789",
        "config": {"model": "default", "max_failure_rate": 0.5},
        "versions": {"earmark": "0.1.0"},
    }  # fmt: skip
    return RunReport.model_validate(values | changes)


def text_of(page: str) -> str:
    body = re.sub(r"<(style|script)[^>]*>.*?</\1>", "", page, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", body).split())


def test_what_was_left_out_is_on_the_page() -> None:
    """Users had to search for files that are not counted as tracks; older reports do not have this field."""
    left_out = LeftOut(
        not_audio={"jpg": 1200, "cue": 80} | {f"x{number}": 1 for number in range(9)},
        system={"@eaDir": 14, "._*": 3, ".zfs (not opened)": 1},
    )
    page = text_of(render_run_page(make_report(left_out=left_out), []))
    assert (
        "Left out: 1,289 files without an audio extension "
        "(jpg 1,200, cue 80, x0 1, x1 1, x2 1, x3 1, x4 1, x5 1, 3 other kinds 3), "
        "14 in @eaDir, 3 AppleDouble (._*), 1 .zfs (not opened)."
    ) in page
    older = make_report().model_dump(mode="json")
    del older["left_out"]
    assert "Left out" not in text_of(render_run_page(RunReport.model_validate(older), []))


def test_names_are_text_and_nothing_is_loaded() -> None:
    """A file's name could run code in the browser of whoever opens the page, or call home."""
    page = render_run_page(make_report(error=HOSTILE, outcome="failed"), [])
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 4
    assert "default-src 'none'" in page
    assert "script-src 'none'" in html.unescape(page)
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)[^\"]+", page)


def test_the_page_says_what_the_report_says() -> None:
    """A number on the page that differs from the report would be worse than none."""
    text = text_of(render_run_page(make_report(), []))
    for said in ("tracks listed 12", "decode 30.0 3,750.0 75.0 %", "The counts add up", "jazz 5 62.5 %"):
        assert said in text
    assert "4.25 s" in text
    assert "DecodeError · 2" in text
    assert "and 1 more" in text
    # 1.5 workers in the mean while shards were left, half an actor while parts were.
    assert "1.50 of 2 CPUs" in text
    assert "Actors: 0.50 of 1" in text
    assert "The counts do not add up" in text_of(render_run_page(make_report(balanced=False), []))
    report = make_report()
    gone = report.model_copy(update={"counts": report.counts.model_copy(update={"gone": 2})})
    assert "exactly once. 2 tracks have left the catalog." in text_of(render_run_page(gone, []))


@pytest.mark.parametrize("outcome", ["running", "interrupted", "failed", "done"])
def test_every_outcome_has_a_page(outcome: str) -> None:
    """Failed runs, whose pages people need most, would have none."""
    bare = make_report(
        outcome=outcome, error="the store is gone" if outcome == "failed" else None, timeline=None,
        genres={}, failures={}, failure_examples={}, slowest=(), seconds={}, wall_s=0.0,
        counts=Counts(listed=12, left=12),
    )  # fmt: skip
    text = text_of(render_run_page(bare, []))
    assert {"running": "running, or killed", "failed": "the store is gone"}.get(outcome, outcome) in text


def test_genres_are_compared_to_the_last_run_of_the_same_model() -> None:
    """A new model would be reported as a change of the music, and a real change not at all."""
    other = make_report("20260101T000000-bbbb", model="other-00000000", genres={"pop": 5000})
    same = make_report("20260101T000000-aaaa", genres={"jazz": 1000, "rock": 4000})
    now = make_report(genres={"jazz": 4000, "rock": 1000})
    text = text_of(render_run_page(now, [same, other]))
    assert "large drift" in text
    assert "20260101T000000-aaaa, 5,000 labels" in text
    assert "no earlier labels to compare with" in text_of(render_run_page(now, [other]))


def test_a_night_without_labels_is_compared_to_nothing() -> None:
    """Every night with nothing new would say that all genres fell to 0 %."""
    same = make_report("20260101T000000-aaaa", genres={"jazz": 1000, "rock": 4000})
    text = text_of(render_run_page(make_report(genres={}), [same]))
    assert "drift" not in text
    assert "80.0" not in text


def test_tracks_without_a_genre_are_said() -> None:
    """Of thirty labeled tracks the genres would cover twelve, with shares that sum to 100 %."""
    unsure: dict[str, Any] = {"rejected": 3, "config": {"min_confidence": 0.7}}
    text = text_of(render_run_page(make_report(**unsure), []))
    # Most of those of the default model are speech.
    assert "3 of the 8 labeled tracks have no genre: they are silent or probably not music, or the" in text
    assert "below --min-confidence 0.7. The shares below exclude them" in text
    assert "jazz 5 62.5 %" in text
    assert "3 of the 8 labeled tracks have no genre" in text_of(
        render_run_page(make_report(**unsure, genres={}), [])
    )


def test_pages_link_to_what_is_there_only(tmp_path: Path) -> None:
    """A link would lead nowhere: runs of earlier versions have no page."""
    tables = Tables(str(tmp_path))
    first, second = make_report("20260101T000000-aaaa"), make_report("20260102T000000-bbbb")
    write_report(tables, first)
    write_report(tables, second)
    said: list[str] = []
    RunPageWriter(tables, said.append).write(second)
    page = (tmp_path / "_runs" / f"{second.run}.html").read_text()
    assert "Previous run" not in page
    assert said == []
    rewrite_page(tables, first.run, None)
    rewrite_page(tables, None, None)
    page = (tmp_path / "_runs" / f"{second.run}.html").read_text()
    assert f'href="{first.run}.html"' in page
    index = (tmp_path / "_runs" / "index.html").read_text()
    for name in re.findall(r'href="(?!data:|#)([^"]+)"', page + index):
        assert (tmp_path / "_runs" / name).is_file()
    assert index.index(second.run) < index.index(first.run)


def test_a_page_that_cannot_be_written_stops_no_run(tmp_path: Path) -> None:
    """A full disk or a template error would turn a night's finished work into a failed run."""
    report = make_report()
    (tmp_path / "_runs" / f"{report.run}.html").mkdir(parents=True)
    said: list[str] = []
    RunPageWriter(Tables(str(tmp_path)), said.append).write(report)
    assert len(said) == 1
    assert "earmark report" in said[0]


def test_genres_of_as_many_tracks_are_sorted_by_name() -> None:
    """The same page, made twice, would list them in another order, as the hashes of a process fall."""
    names = sorted(f"genre {letter}" for letter in "abcdefghij")
    page = render_run_page(make_report(genres=dict.fromkeys(reversed(names), 3)), [])
    assert re.findall(r"genre [a-j]", text_of(page)) == names


def test_an_unknown_run_is_named(tmp_path: Path) -> None:
    """A typo would show another run's page."""
    tables = Tables(str(tmp_path))
    write_report(tables, make_report())
    with pytest.raises(MisuseError, match="no run 'yesterday'"):
        rewrite_page(tables, "yesterday", None)


def test_large_numbers_are_written_out() -> None:
    """A backlog of 312,500 shards stood as 3.125e+05, and a genre that did not change at -0.0 points."""
    timeline = Timeline(
        step_s=64.0, featurizing=(4095.5, 1), labeling=(0, 0), cpus=(4096, 4096), actors=(0, 0),
        shards_left=(312_500, 0), parts_left=(12_345, 0),
    )  # fmt: skip
    before = make_report("20260101T000000-aaaa", genres={"jazz": 100_000, "rock": 70_000})
    now = make_report(timeline=timeline, genres={"jazz": 100_000, "rock": 70_010})
    text = text_of(render_run_page(now, [before]))
    assert "4,095.50 of 4,096 CPUs" in text
    assert "0 s 312,500 12,345" in text
    assert "e+0" not in text
    assert "-0.0" not in text
    chart = lay_out_step_chart("", "", [Series("parts", (2_400_000.0,))], step_s=1.0)
    assert [tick.text for tick in chart.y_ticks][-1] == "2,500,000"


def test_what_was_published_is_on_the_page() -> None:
    """A night that exited with 6 looked as complete as any other, and yesterday's labels were used."""
    lost = Publication(location="s3://lake", format="delta", model="m", error="no room in s3://u:pw@h/lake")
    report = make_report(publication=lost, removed_features_bytes=2_500_000)
    text = text_of(render_run_page(report, []))
    assert "The labels could not be published to s3://lake: no room in s3://(hidden)@h/lake" in text
    assert "run the same command again, or 'earmark publish'" in html.unescape(text)
    assert "features removed 2.5 MB" in text
    assert "done , not published" in text_of(render_run_list([make_report(), report], []))
    done = Publication(location="lake", format="delta", model="m", rows=9, changed=2, written=True, version=3)
    text = text_of(render_run_page(make_report(publication=done), []))
    assert "9 rows published to lake as version 3: 2 new or changed, 0 removed." in text
    assert "not published" not in text
    assert "publish" not in text_of(render_run_page(make_report(), []))


def test_secrets_are_hidden() -> None:
    """A page that is passed around would give the bucket's keys away."""
    address = "https://user:hunter2@host/x?X-Amz-Signature=abcdef&part=1"
    page = render_run_page(
        make_report(catalog=address, config={"model": address, "api_key": "abcdef"}, error=f"no {address}"),
        [],
    )
    assert "hunter2" not in page
    assert "abcdef" not in page
    assert redact(address) == "https://(hidden)@host/x?X-Amz-Signature=(hidden)&part=1"
    assert redact("s3://bucket/a@b: c?.mp3") == "s3://bucket/a@b: c?.mp3"


def test_the_list_of_no_runs_is_a_page() -> None:
    """An empty folder would be an error."""
    assert "Runs" in render_run_list([], [])


def test_a_run_that_only_embedded_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    """A night that embedded a whole catalog would look as if it had done nothing."""
    report = make_report(counts=Counts(listed=9, embedded=7, failed=2))
    assert "labeled before and embedded 7" in text_of(render_run_page(report, []))
    assert "labeled embedded failed" in text_of(render_run_list([report, make_report()], []))
    assert "embedded" not in text_of(render_run_list([make_report()], []))
    print_runs([report, make_report()])
    heads, first, second = (line.split() for line in capsys.readouterr().out.splitlines())
    assert (heads[3:6], first[3:6], second[4]) == (["labeled", "embedded", "failed"], ["0", "7", "2"], "0")


def test_a_run_that_only_featurized_labeled_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """`earmark status` says that 8 tracks were labeled, and `earmark labels` that there are no labels."""
    report = make_report(command="featurize")
    assert "listed featurized labeled failed" in text_of(render_run_list([report, make_report()], []))
    assert "featurize done 12 8 0 2" in text_of(render_run_list([report], []))
    assert "featurized" not in text_of(render_run_list([make_report()], []))
    print_runs([report, make_report()])
    heads, first, second = (line.split()[3:5] for line in capsys.readouterr().out.splitlines())
    assert (heads, first, second) == (["featurized", "labeled"], ["8", "0"], ["8", "8"])


def test_a_run_that_failed_says_why_and_what_it_left(capsys: pytest.CaptureFixture[str]) -> None:
    """Somebody is woken, and `earmark status` shows only that a run failed, with nothing remaining."""
    failed = make_report(outcome="failed", error="the head has not answered", counts=Counts(listed=9, left=7))
    lost = Publication(location="out", format="delta", model="m", error="no room")
    print_runs([failed, make_report(publication=lost)])
    heads, first, second = capsys.readouterr().out.splitlines()
    assert heads.split()[4:] == ["failed", "left", "seconds", "error"]
    assert first.split()[5] == "7"
    assert first.endswith("  the head has not answered")
    assert second.endswith("  no room")
    print_runs([make_report()])
    assert capsys.readouterr().out.splitlines()[0].split() == [
        "run",
        "command",
        "outcome",
        "labeled",
        "failed",
        "seconds",
    ]
