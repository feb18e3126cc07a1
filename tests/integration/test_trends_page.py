"""The page of trends in a real browser: what an analyst sees and does with it."""

import itertools
import json
from pathlib import Path

import pyarrow as pa
import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select

from jobs.read_tables import open_tables
from jobs.trends import write_trends_page
from pipeline.storage import storage
from pipeline.tables.tables import Tables, encode_part
from pipeline.trends.trends import Trends
from schemas.genres import GTZAN_GENRES
from schemas.tables import TRACKS
from tests.browser import NARROW, WIDE, Browser
from tests.matrix import each_value_once
from tests.trend_tables import RUNS, write_trend_tables

ATTACK = "<script>alert(1)</script>"
ODD_ARTIST = "Émile & </script><img src=x onerror=alert(1)> \u2028 日本"


def _odd_tables(folder: Path) -> Tables:
    """Tables in which some tracks have tags that try to inject code."""
    tables = Tables(str(folder))
    write_trend_tables(tables, 4000, seed=9)
    rows = tables.read("tracks", TRACKS.names)
    odd = rows.slice(0, 400).to_pylist()
    for row in odd:
        row |= {
            "artist": ODD_ARTIST,
            "title": ATTACK,
            "genre_tag": f"{ATTACK}Jazz",
            "year": row["year"] or 1999,
        }
        row |= {"listed_at": row["listed_at"].replace(year=2027), "album": "'\"><b>"}
    part = pa.Table.from_pylist(odd, TRACKS)
    storage.write_bytes(tables.part("tracks", "odd", run=RUNS[-1]), encode_part(part))
    return open_tables(str(folder))


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Trends]]:
    """The page by year and the page by folder, with the trends they show."""
    folder = tmp_path_factory.mktemp("pages")
    tables = _odd_tables(folder / "tables")
    return {
        by: (folder / f"{by}.html", write_trends_page(tables, None, str(folder / f"{by}.html"), by=by))
        for by in ("year", "folder")
    }


@pytest.mark.parametrize(
    ("by", "width", "dark"), each_value_once(["year", "folder"], [NARROW, WIDE], [False, True])
)
def test_it_opens(
    browser: Browser, pages: dict[str, tuple[Path, Trends]], by: str, width: int, dark: bool
) -> None:
    """An analyst would see an empty or glaring page, have to scroll sideways, or call out to the network."""
    page, _ = pages[by]
    browser.open(page, width=width, dark=dark)
    assert browser.complaints() == []
    assert browser.requests() == []
    assert not browser.overflows()
    assert (browser.background() < 60) == dark
    browser.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    assert browser.pale_texts() == []
    # Every genre's area and every bar of the histogram has a size on the screen.
    boxes = browser.evaluate(
        "[...document.querySelectorAll('.drawing path.stack, .drawing path.area')]"
        ".map(p => p.getBoundingClientRect()).map(b => [b.width, b.height])"
    )
    assert len(boxes) == 10 + 1 + 20
    assert all(width > 100 and height > 5 for width, height in boxes[:11])


def test_the_chart_is_read_by_keyboard(browser: Browser, pages: dict[str, tuple[Path, Trends]]) -> None:
    """People without a mouse could not read the chart, or would read numbers that differ from the tables."""
    page, found = pages["year"]
    browser.open(page)
    canvas = browser.driver.find_element(By.CSS_SELECTOR, "#time .canvas")
    readout = browser.driver.find_element(By.ID, "readout")
    canvas.send_keys(Keys.HOME)
    first = readout.text
    assert first.startswith(f"{found.groups.names[0]}: {found.shares.tracks[0]} tracks; ")
    share = found.shares.share[0].max()
    assert f"{100 * share:.1f} %" in first
    # A genre in Arabic would otherwise turn around the numbers that follow it.
    genre = found.genres[int(found.shares.share[0].argmax())]
    assert f"\N{FIRST STRONG ISOLATE}{genre}\N{POP DIRECTIONAL ISOLATE} {100 * share:.1f} %" in first
    canvas.send_keys(Keys.ARROW_RIGHT)
    assert readout.text.startswith(f"{found.groups.names[1]}: ")
    canvas.send_keys(Keys.END)
    canvas.send_keys(Keys.ARROW_RIGHT)
    assert readout.text.startswith(f"{found.groups.names[-1]}: ")
    assert str(canvas.get_attribute("aria-valuetext")).startswith(found.groups.names[-1])


def test_the_chart_is_read_by_tapping(browser: Browser, pages: dict[str, tuple[Path, Trends]]) -> None:
    """On a phone, only the last period could be read."""
    page, found = pages["year"]
    browser.open(page, width=NARROW)
    canvas = browser.driver.find_element(By.CSS_SELECTOR, "#time .canvas")
    readout = browser.driver.find_element(By.ID, "readout")
    assert readout.text.startswith(found.groups.names[-1])
    box = canvas.rect
    browser.driver.execute_script("arguments[0].scrollIntoView(true)", canvas)
    point = {"x": box["x"] + 2, "y": 20}
    for kind, points in (("touchStart", [point]), ("touchEnd", [])):
        browser.driver.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    assert readout.text.startswith(f"{found.groups.names[0]}: ")


def _artists(browser: Browser, column: int = 1) -> list[str]:
    cells = f"document.querySelectorAll('#artists tbody tr > :nth-child({column})')"
    return list(browser.evaluate(f"[...{cells}].map(cell => cell.textContent)"))


def _rows(browser: Browser, table: str) -> list[list[str]]:
    rows = f"document.querySelectorAll('#{table} tbody tr')"
    return list(browser.evaluate(f"[...{rows}].map(row => [...row.cells].map(cell => cell.textContent))"))


def test_artists_are_searched_and_sorted(browser: Browser, pages: dict[str, tuple[Path, Trends]]) -> None:
    """The list of artists would not find a name, or sort numbers as words."""
    browser.open(pages["folder"][0])
    tracks = [int(text.replace(",", "")) for text in _artists(browser, 2)]
    assert len(tracks) == 50
    assert tracks == sorted(tracks, reverse=True)
    head = browser.driver.find_element(By.CSS_SELECTOR, "#artists thead")
    head.find_element(By.CSS_SELECTOR, "[data-key=tracks]").send_keys(Keys.ENTER)
    assert head.find_elements(By.CSS_SELECTOR, "th[aria-sort=ascending]")[0].text.startswith("tracks")
    assert [int(text) for text in _artists(browser, 2)] == sorted(int(text) for text in _artists(browser, 2))
    browser.driver.find_element(By.ID, "more").click()
    assert len(_artists(browser)) == 100
    search = browser.driver.find_element(By.ID, "search")
    search.send_keys("emile")
    assert _artists(browser) == [ODD_ARTIST]
    assert "1 of 1 artist shown" in browser.driver.find_element(By.ID, "found").text
    search.send_keys(Keys.ENTER)
    assert _artists(browser) == [ODD_ARTIST]
    search.clear()
    Select(browser.driver.find_element(By.ID, "genre")).select_by_visible_text("jazz")
    assert set(_artists(browser, 4)) == {"jazz"}
    assert browser.complaints() == []


def test_all_genres_are_on_paper(browser: Browser, pages: dict[str, tuple[Path, Trends]]) -> None:
    """A sheet cannot be scrolled: of the 19 genres of the default model, the last one was cut off."""
    browser.open(pages["folder"][0], width=760)
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert not browser.overflows()
        # The bars leave room to the numbers of nine more genres.
        assert browser.evaluate("parseFloat(getComputedStyle(document.querySelector('.mix')).minWidth)") < 50
    finally:
        browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_tags_are_text(browser: Browser, pages: dict[str, tuple[Path, Trends]]) -> None:
    """A file's tag would run as code in the browser of whoever opens the page."""
    page, _ = pages["year"]
    assert ATTACK not in page.read_text("utf-8")
    browser.open(page)
    browser.driver.find_element(By.CSS_SELECTOR, "#search").send_keys("Émile")
    browser.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    text = browser.driver.find_element(By.TAG_NAME, "body").text
    assert ATTACK in text
    assert ODD_ARTIST.split(" \u2028")[0] in text
    assert browser.evaluate("document.querySelectorAll('img, script:not([type]), b').length") == 1
    assert browser.complaints() == []


def test_odd_tags_can_be_read(browser: Browser, tmp_path: Path) -> None:
    """A name as long as a sentence would push all numbers out of sight, or a strong shade swallow one."""
    tables = Tables(str(tmp_path / "tables"))
    write_trend_tables(tables, 30)
    rows = tables.read("tracks", TRACKS.names).slice(0, 1).to_pylist()
    for row in rows:
        row |= {"artist": "W" * 90, "genre_tag": "V" * 90, "listed_at": row["listed_at"].replace(year=2027)}
    storage.write_bytes(
        tables.part("tracks", "long", run=RUNS[-1]), encode_part(pa.Table.from_pylist(rows, TRACKS))
    )
    write_trends_page(open_tables(tables.root), None, str(tmp_path / "page.html"), by="artist")
    browser.open(tmp_path / "page.html", width=WIDE)
    for table in ("artists", "groups", "heat"):
        region = f"document.querySelector('#{table}').parentElement"
        assert browser.evaluate(f"{region}.scrollWidth <= {region}.clientWidth"), table
    # The one track of its tag: its number stands on the strongest shade.
    assert browser.evaluate("document.querySelectorAll('#heat td[style*=\"1.000\"]').length") > 0
    browser.open(tmp_path / "page.html", dark=True)
    assert browser.pale_texts() == []


def test_long_genres_leave_the_numbers_in_sight(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A genre of one's own as long as a folder's name may be would widen the page to twice the window."""
    genres = ("W" * 180, "word and " * 20, *GTZAN_GENRES[2:])
    monkeypatch.setattr("tests.trend_tables.GTZAN_GENRES", genres)
    tables = Tables(str(tmp_path / "tables"))
    write_trend_tables(tables, 300)
    write_trends_page(open_tables(tables.root), None, str(tmp_path / "page.html"), by="folder")
    for width in (NARROW, WIDE):
        browser.open(tmp_path / "page.html", width=width)
        browser.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
        assert not browser.overflows()
    for table in ("totals", "periods", "changes", "groups", "heat", "artists"):
        region = f"document.querySelector('#{table}').parentElement"
        assert browser.evaluate(f"{region}.scrollWidth <= {region}.clientWidth"), table


def test_without_its_script_the_chart_is_a_picture(pages: dict[str, tuple[Path, Trends]]) -> None:
    """Where scripts are blocked, as in mail, readers would be told to use keys that do nothing."""
    text = pages["year"][0].read_text("utf-8").partition("<body>")[2].partition("<script>")[0]
    assert 'role="slider"' not in text
    assert 'tabindex="0" role="region"' in text
    assert '<span id="hint" hidden>Hover over a period' in text


@pytest.mark.parametrize(
    ("by", "dates"),
    [
        (
            "month",
            ["1999-05", "1999-06", "2001-01", "2003-07", *(f"2005-{month:02}" for month in range(1, 8))],
        ),
        ("month", [f"2005-{month:02}" for month in range(1, 6)]),
        ("year", ["2000", "2009", "2010", "2011"]),
        ("year", ["1999"]),
        ("seen", ["1999", "2000"]),
    ],
)
def test_dates_do_not_stand_over_each_other(
    browser: Browser, tmp_path: Path, by: str, dates: list[str]
) -> None:
    """Of a few releases of 1999 and many of 2005, the months below the chart could not be read."""
    tables = Tables(str(tmp_path / "tables"))
    write_trend_tables(tables, 60)
    rows = tables.read("tracks", TRACKS.names).to_pylist()
    for number, row in enumerate(rows):
        date = dates[number % len(dates)]
        row |= {"year": int(date[:4]), "release_date": date}
        row |= {"listed_at": row["listed_at"].replace(year=2027)}
    place = tables.part("tracks", "dated", run=RUNS[-1])
    storage.write_bytes(place, encode_part(pa.Table.from_pylist(rows, TRACKS)))
    write_trends_page(open_tables(tables.root), None, str(tmp_path / "page.html"), by=by)
    browser.open(tmp_path / "page.html", width=NARROW)
    boxes = browser.evaluate(
        "[...document.querySelectorAll('.strip .x-axis span')].map(e => e.getBoundingClientRect())"
        ".map(box => [box.left, box.right])"
    )
    assert len(boxes) == 1 if len(dates) == 1 else len(boxes) > 1
    assert all(right < left for (_, right), (left, _) in itertools.pairwise(boxes)), boxes


def test_everything_is_reached_by_tab(browser: Browser, pages: dict[str, tuple[Path, Trends]]) -> None:
    """People without a mouse could not scroll a table, open the data or sort the artists."""
    browser.open(pages["year"][0], width=NARROW)
    reached = set()
    body = browser.driver.find_element(By.TAG_NAME, "body")
    body.send_keys(Keys.TAB)
    for _ in range(40):
        active = browser.driver.switch_to.active_element
        reached.add(active.get_attribute("id") or active.get_attribute("aria-label") or active.tag_name)
        active.send_keys(Keys.TAB)
    assert {
        "Period shown below the chart",
        "Labels by genre tag",
        "search",
        "genre",
        "summary",
        "button",
    } <= reached


def test_charts_have_words_and_numbers(browser: Browser, pages: dict[str, tuple[Path, Trends]]) -> None:
    """Screen reader users would learn nothing from the charts."""
    page, found = pages["year"]
    browser.open(page)
    unnamed = (
        "[...document.querySelectorAll('svg')].filter(s => !s.ariaLabel && s.ariaHidden !== 'true').length"
    )
    assert browser.evaluate(unnamed) == 0
    assert browser.rows_without_head() == 0
    rows = _rows(browser, "periods")
    assert [row[0] for row in rows] == found.groups.names
    assert [float(text) for text in rows[3][2:]] == pytest.approx(100 * found.shares.share[3], abs=0.051)
    strip = browser.evaluate(
        "[...document.querySelectorAll('.strip .y-axis span')]"
        ".map(e => [e.textContent, e.getBoundingClientRect().top])"
    )
    assert [text for text, _ in strip] == [f"{found.shares.tracks.max():,}", "0"]
    above = "document.querySelector('#time .y-axis span').getBoundingClientRect().bottom"
    assert browser.evaluate(above) <= strip[0][1] + 1
    heat = [row[1:] for row in _rows(browser, "heat")]
    assert sum(int(text.replace(",", "")) for row in heat for text in row) == found.tags.counts.sum()


def test_a_catalog_without_tags_has_its_page(browser: Browser, tmp_path: Path) -> None:
    """Untagged catalogs, whose owners need labels most, would end in a traceback or an empty page."""
    tables = Tables(str(tmp_path / "tables"))
    write_trend_tables(tables, 30)
    rows = tables.read("tracks", TRACKS.names).to_pylist()
    for row in rows:
        row |= dict.fromkeys(("artist", "album", "title", "year", "release_date", "genre_tag", "carried"))
        row["listed_at"] = row["listed_at"].replace(year=2027)
    storage.write_bytes(
        tables.part("tracks", "bare", run=RUNS[-1]), encode_part(pa.Table.from_pylist(rows, TRACKS))
    )
    for by in ("year", "artist", "seen"):
        page = tmp_path / f"{by}.html"
        write_trends_page(open_tables(tables.root), None, str(page), by=by)
        browser.open(page)
        assert browser.complaints() == []
        text = browser.driver.find_element(By.TAG_NAME, "main").text
        assert "No labeled track has an artist tag." in text
        # A night that starts after midnight is another day in most places.
        assert ("Shares by day first seen (UTC)" in text) == (by == "seen")
        assert "No track has both a genre and a genre tag." in text


def test_data_in_the_page_is_json(pages: dict[str, tuple[Path, Trends]]) -> None:
    """A name in the data would end the script element early, and the rest would be read as HTML."""
    text = pages["year"][0].read_text("utf-8")
    data = text.partition('id="data">')[2].partition("</script>")[0]
    assert ODD_ARTIST in json.loads(data)["artists"]["name"]
    assert "<" not in data
