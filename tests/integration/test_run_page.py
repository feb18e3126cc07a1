"""The page of a run in a real browser, used with a keyboard, with a screen reader and on paper."""

from pathlib import Path

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from pipeline.pages.run_page_writer import rewrite_page
from pipeline.tables.runs import write_report
from pipeline.tables.tables import Tables
from schemas.report import FailureExample, Timeline
from tests.browser import NARROW, WIDE, Browser
from tests.unit.test_run_page import HOSTILE, make_report

FIRST, SECOND = "20260101T000000-aaaa", "20260102T000000-bbbb"
TIMELINE = Timeline(
    step_s=10.0, featurizing=(0.0, 1.75, 2.0, 0.25), labeling=(0.0, 0.5, 0.75, 1.0), cpus=(2, 2, 2, 2),
    actors=(1, 1, 1, 1), shards_left=(7, 5, 1, 0), parts_left=(0, 2, 4, 1),
)  # fmt: skip


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the pages of two nights; the second shows drift."""
    tables = Tables(str(tmp_path_factory.mktemp("nights")))
    write_report(tables, make_report(FIRST, genres={"jazz": 4000, "rock": 1000}))
    changed = {"jazz": 1000, f"{HOSTILE} & a genre with a long name": 4000}
    write_report(tables, make_report(SECOND, genres=changed, timeline=TIMELINE))
    for run in (FIRST, SECOND):
        rewrite_page(tables, run, None)
    return Path(tables.root) / "_runs"


@pytest.mark.parametrize("width", [NARROW, WIDE])
def test_everything_is_reached_by_tab(browser: Browser, pages: Path, width: int) -> None:
    """People without a mouse could not open the data, scroll a table or get to the previous run."""
    browser.open(pages / f"{SECOND}.html", width=width)
    browser.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    stops = browser.tab_stops()
    names = [stop.name for stop in stops]
    assert names[:4] == ["Skip to content", "Previous run", "All runs", "Report as JSON"]
    assert {"Time by stage", "Genres", "Slowest tracks"} < set(names)
    assert names.count("Show the data") == 3
    n_focusable = "document.querySelectorAll('a[href], summary, .scroll').length"
    assert len(stops) == browser.evaluate(n_focusable)
    assert [stop for stop in stops if not stop.outlined] == []
    assert [stop for stop in stops if not stop.in_sight] == []


def test_keys_open_scroll_and_follow(browser: Browser, pages: Path) -> None:
    """Controls that get the focus would do nothing with it."""
    browser.open(pages / f"{SECOND}.html", width=NARROW)
    active = browser.driver.switch_to
    browser.driver.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
    active.active_element.send_keys(Keys.ENTER)
    assert browser.evaluate("document.activeElement.id") == "content"
    summary = browser.driver.find_element(By.TAG_NAME, "summary")
    summary.send_keys(Keys.ENTER)
    assert browser.evaluate("document.querySelector('details').open")
    summary.send_keys(Keys.TAB)
    assert browser.evaluate("document.activeElement.querySelectorAll('tbody tr').length") == 4
    genres = browser.driver.find_element(By.CSS_SELECTOR, "[aria-label=Genres]")
    genres.send_keys(Keys.ARROW_RIGHT)
    scrolled = "const region = arguments[0], done = arguments[1];"
    scrolled += "const look = () => region.scrollLeft ? done(true) : setTimeout(look, 20); look()"
    assert browser.driver.execute_async_script(scrolled, genres)
    browser.driver.find_element(By.LINK_TEXT, "Previous run").send_keys(Keys.ENTER)
    assert browser.driver.title == f"Run {FIRST}"


def test_charts_have_words_and_numbers(browser: Browser, pages: Path) -> None:
    """Screen reader users would not learn how busy the workers were."""
    browser.open(pages / f"{SECOND}.html")
    labels = browser.evaluate("[...document.querySelectorAll('svg.drawing')].map(svg => svg.ariaLabel)")
    assert labels[0].startswith("Busy featurize workers over the run: 1.25 of 2 CPUs")
    assert labels[2].startswith("Backlog over the run: at most 7 shards to featurize and 4 parts to label")
    rows = "[...document.querySelectorAll('details:last-of-type tbody')].map(body => [...body.rows]"
    rows += ".map(row => [...row.cells].map(cell => cell.textContent)))"
    workers, actors, left = browser.evaluate(rows)
    assert workers == [["0 s", "0", "2"], ["10 s", "1.75", "2"], ["20 s", "2", "2"], ["30 s", "0.25", "2"]]
    assert [row[1] for row in actors] == ["0", "0.5", "0.75", "1"]
    assert left[2] == ["20 s", "1", "4"]
    # A row is read out with what it is about.
    assert browser.rows_without_head() == 0
    # Nor is a bar read as "12 %" beside its 12.5 %.
    assert browser.evaluate("document.querySelectorAll('td.bar svg:not([aria-hidden])').length") == 0


def test_drift_is_told_without_colors(browser: Browser, pages: Path) -> None:
    """People who cannot tell red from green would not notice the drift."""
    browser.open(pages / f"{SECOND}.html")
    text = browser.evaluate("document.body.innerText")
    assert "large drift" in text
    assert "60.0" in text


def test_long_names_are_wrapped(browser: Browser, tmp_path: Path) -> None:
    """A message with a long path would make people on a phone scroll the page sideways."""
    long = FailureExample(uri=f"s3://bucket/music/{'a' * 200}.mp3", message="b" * 300)
    tables = Tables(str(tmp_path))
    write_report(tables, make_report(SECOND, failure_examples={"DecodeError": (long,)}, error="c" * 300))
    browser.open(Path(rewrite_page(tables, None, None)), width=NARROW)
    assert not browser.overflows()
    beside = "[...document.querySelectorAll('li')].filter(each => each.scrollWidth > each.clientWidth + 1)"
    assert browser.evaluate(f"{beside}.length") == 0


def test_lines_and_legends_differ_in_more_than_color(browser: Browser, pages: Path) -> None:
    """In black and white the lines, and in high-contrast modes their legend, could not be told apart."""
    browser.open(pages / f"{SECOND}.html")
    dashes = "[...document.querySelectorAll('figure:last-of-type {} .line')]"
    for place in (".plot", ".legend"):
        drawn = browser.evaluate(f"{dashes.format(place)}.map(e => getComputedStyle(e).strokeDasharray)")
        assert drawn[-2:] == ["none", "9px, 4px"], place
    forced = {"features": [{"name": "forced-colors", "value": "active"}]}
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", forced)
    assert browser.evaluate("matchMedia('(forced-colors: active)').matches")
    color = "getComputedStyle(document.querySelector('{}')).{}"
    filled = browser.evaluate(color.format(".plot .area", "fill"))
    assert browser.evaluate(color.format(".legend .swatch", "backgroundColor")) == filled


def test_names_from_right_to_left_are_read_whole(browser: Browser, tmp_path: Path) -> None:
    """The number of a song in Hebrew would stand before its folder, and the reason amid its name."""
    uri = "\u05d7\u05dc\u05d5\u05dd 5/\u05e9\u05d9\u05e8 7.mp3"
    example = FailureExample(uri=f"/music/{uri}", message=f"/music/{uri} is empty (0 bytes)")
    tables = Tables(str(tmp_path))
    write_report(tables, make_report(SECOND, catalog="/music", failure_examples={"DecodeError": (example,)}))
    browser.open(Path(rewrite_page(tables, None, None)))
    for place in ("li code", "li bdi"):
        folder, song, end = (
            browser.left_of(place, text) for text in ("\u05d7\u05dc", "\u05e9\u05d9", ".mp3")
        )
        assert end < song < folder, place
    assert browser.left_of("li bdi", "\u05d7\u05dc") < browser.left_of("li span", " is empty")


def test_on_paper(browser: Browser, pages: Path) -> None:
    """Printed, tables would be cut at the edge, the legends of charts would lose their colors, and headings
    would stand alone at the end of a sheet."""
    browser.open(pages / f"{SECOND}.html", width=700)
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert browser.evaluate("getComputedStyle(document.querySelector('nav')).display") == "none"
        swatch = "getComputedStyle(document.querySelector('.swatch')).printColorAdjust"
        assert browser.evaluate(swatch) == "exact"
        assert not browser.overflows()
        alone = "[...document.querySelectorAll('h2, .legend')].map(each => getComputedStyle(each).breakAfter)"
        assert set(browser.evaluate(alone)) == {"avoid"}
        cut = "[...document.querySelectorAll('.scroll')].map(each => getComputedStyle(each).overflowX)"
        assert set(browser.evaluate(cut)) == {"visible"}
    finally:
        browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


@pytest.mark.parametrize("dark", [False, True])
def test_texts_can_be_read(browser: Browser, pages: Path, dark: bool) -> None:
    """People with low vision, or with the sun on the screen, could not read the page."""
    browser.open(pages / f"{SECOND}.html", dark=dark)
    browser.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    assert browser.pale_texts() == []
