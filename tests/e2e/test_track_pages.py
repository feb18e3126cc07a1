"""The pages of a run and of a track, made by the installed command and opened in a browser."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from mutagen.flac import FLAC

from pipeline.demo.synthesis import synthesize
from tests.browser import NARROW, WIDE, Browser
from tests.e2e.earmark import ask, earmark, succeed

pytestmark = pytest.mark.usefixtures("on_running_ray")

HOSTILE = "<script>alert(1)<script>"


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small catalog with hostile names, labeled; its tables, with the catalog beside them."""
    root = tmp_path_factory.mktemp("pages")
    (root / "music").mkdir()
    for number in range(3):
        name = root / "music" / f"{HOSTILE} {number}.flac"
        sf.write(name, synthesize("rock", seed=[number], duration_s=8, sr=22050), 22050)
        tagged = FLAC(name)
        tagged.update(title="<script>alert(1)</script>", artist='"><img src=x onerror=alert(2)>')
        tagged.save()
    (root / "music" / f"{HOSTILE}.mp3").write_text("no audio")
    succeed("run", root / "music", root / "tables")
    return root / "tables"


def page_of(tables: Path) -> Path:
    (page,) = (tables / "_runs").glob("2*.html")
    return page


def check(browser: Browser, page: Path, drawn: str, n_drawn: int) -> None:
    """Open a page in every form and look for what a reader would stumble over."""
    for width in (NARROW, WIDE):
        for dark in (False, True):
            browser.open(page, width=width, dark=dark)
            assert browser.complaints() == []
            assert browser.requests() == []
            assert not browser.overflows()
            assert (browser.background() < 60) == dark
            sizes = browser.evaluate(
                f"[...document.querySelectorAll({json.dumps(drawn)})].map(e => e.getBoundingClientRect())"
                ".map(box => box.width * box.height)"
            )
            assert len(sizes) == n_drawn
            assert min(sizes) > 1000
    assert browser.evaluate("document.querySelectorAll('img[onerror], main script').length") == 0
    unnamed = "[...document.querySelectorAll('img, svg:not([aria-hidden])')]"
    unnamed += ".filter(e => !(e.alt || e.getAttribute('aria-label')))"
    assert browser.evaluate(f"{unnamed}.length") == 0


def test_every_run_leaves_a_page_that_any_browser_shows(tables: Path, browser: Browser) -> None:
    """The engineer's morning: a broken page, one that calls home, or one that runs a file's name as code."""
    page = page_of(tables)
    assert page.stat().st_size < 200_000
    check(browser, page, "svg.drawing", 3)
    text = browser.evaluate("document.body.innerText")
    assert "<script>alert(1)<script>" in text
    assert "The counts add up" in text
    check(browser, tables / "_runs" / "index.html", "table", 1)


def test_the_page_tells_what_the_workers_did(tables: Path) -> None:
    """Utilization and slow tracks would be empty, or made up."""
    report = json.loads(page_of(tables).with_suffix(".json").read_text())
    timeline = report["timeline"]
    worked = sum(timeline["featurizing"]) * timeline["step_s"]
    stages = sum(report["seconds"][stage] for stage in ("fetch", "decode", "tags", "log_mel"))
    # Reading, decoding and writing of shards: what the stages say, and the last step may be a part of one.
    assert worked > 0.5 * stages
    assert max(timeline["actors"]) >= 1
    assert max(timeline["shards_left"]) >= 1
    assert len(report["slowest"]) == 4
    seconds = [slow["seconds"] for slow in report["slowest"]]
    assert seconds == sorted(seconds, reverse=True)
    assert report["failure_examples"]["DecodeError"][0]["uri"].endswith(f"{HOSTILE}.mp3")


def test_report_makes_the_page_again_and_lists_runs(tables: Path, tmp_path: Path) -> None:
    """Pages of runs from before an upgrade could not be had."""
    run = page_of(tables).stem
    page = page_of(tables)
    before = page.read_text()
    page.unlink()
    assert ask("report", tables).strip() == str(page)
    assert page.read_text() == before
    out = tmp_path / "page.html"
    ask("report", tables, "--run", run, "--out", out)
    assert not re.findall(r'href="(?!data:|#)', out.read_text())
    assert run in ask("report", tables, "--list")
    assert earmark("report", tables, "--run", "none").returncode == 2


def test_plot_draws_a_page_that_plays(tables: Path, browser: Browser, tmp_path: Path) -> None:
    """A curator would see pictures without hearing the track, or none at all."""
    out = tmp_path / "track.html"
    said = succeed("plot", tables.parent / "music" / f"{HOSTILE} 0.flac", "--out", out)
    assert "earmark-cnn" in said
    assert out.stat().st_size < 5_000_000
    check(browser, out, "main img", 10)
    loaded = browser.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    assert loaded
    assert browser.evaluate("document.querySelector('h1').innerText").startswith("<script>alert(1)</script>")
    duration = browser.driver.execute_async_script(
        "const audio = document.querySelector('audio'), done = arguments[0];"
        "const look = () => audio.readyState ? done(audio.duration) : setTimeout(look, 50); look()"
    )
    assert duration == pytest.approx(8.0, abs=0.2)
    # A click into a picture plays from there, and a line shows where that is.
    browser.evaluate(
        "(() => {const p = document.querySelector('.timed'), b = p.getBoundingClientRect();"
        "p.dispatchEvent(new MouseEvent('click', {clientX: b.left + b.width * 0.535}))})()"
    )
    assert browser.evaluate("document.querySelector('audio').currentTime") == pytest.approx(4.0, abs=0.1)


@pytest.mark.thorough
def test_plot_and_explain_write_pictures_and_numbers(tables: Path, browser: Browser, tmp_path: Path) -> None:
    """What a script or a slide needs would have to be cut out of a page."""
    track = tables.parent / "music" / f"{HOSTILE} 1.flac"
    succeed("plot", track, "--out", tmp_path / "track.png")
    assert (tmp_path / "track.png").read_bytes().startswith(b"\x89PNG")
    succeed("explain", track, "--out", tmp_path / "why.html")
    check(browser, tmp_path / "why.html", "main img", 3)
    succeed("explain", track, "--method", "grad-cam", "--out", tmp_path / "why.json")
    why = json.loads((tmp_path / "why.json").read_text())
    importance = np.array(why["importance"])
    assert importance.shape == (len(why["frequencies_hz"]), len(why["times_s"]))
    assert why["times_s"][-1] < 8.1
    assert earmark("plot", track, "--out", tmp_path / "track.gif").returncode == 2
    assert earmark("plot", tmp_path / "none.mp3").returncode == 1
