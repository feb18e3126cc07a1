"""The page of a track in a real browser: a player and pictures for who has no mouse, or does not see them."""

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from mutagen.flac import FLAC
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from jobs.explain import explain_track
from jobs.plot import plot_track
from pipeline.demo.synthesis import synthesize
from tests.browser import NARROW, WIDE, Browser
from tests.matrix import each_value_once

SR = 22050
DURATION_S = 12.0


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The pages of `plot` and `explain` of one track, and of `plot` of a silent one."""
    folder = tmp_path_factory.mktemp("tracks")
    sf.write(folder / "song.flac", synthesize("rock", seed=[1], duration_s=DURATION_S, sr=SR), SR)
    tags = FLAC(folder / "song.flac")
    tags["title"] = "Song " * 600
    tags.save()
    sf.write(folder / "silence.wav", np.zeros(3 * SR), SR)
    names = {name: folder / f"{name}.html" for name in ("plot", "explain", "silence")}
    plot_track(str(folder / "song.flac"), str(names["plot"]), "gtzan", None)
    explain_track(str(folder / "song.flac"), str(names["explain"]), "gtzan", None, "grad-cam", None)
    plot_track(str(folder / "silence.wav"), str(names["silence"]), "gtzan", None)
    return names


@pytest.mark.parametrize(("name", "width"), each_value_once(["plot", "explain"], [NARROW, WIDE]))
def test_everything_is_reached_by_tab(
    browser: Browser, pages: dict[str, Path], name: str, width: int
) -> None:
    """Who uses no mouse could not play the track or move to the right end of a picture."""
    browser.open(pages[name], width=width)
    stops = browser.tab_stops()
    assert [stop.name for stop in stops[:3]] == ["Skip to content", "Open the full file", _player(browser)]
    words = browser.evaluate("[...document.querySelectorAll('figcaption, summary')].map(e => e.innerText)")
    assert [stop.name for stop in stops[3:]] == words
    assert [stop for stop in stops if not stop.outlined] == []
    # The player stays at the top of the window, and must not cover what has the focus.
    assert [stop for stop in stops if not stop.in_sight] == []


def _player(browser: Browser) -> str:
    return str(browser.driver.find_element(By.TAG_NAME, "audio").get_attribute("aria-label"))


def _wait(browser: Browser, condition: str) -> bool:
    """Whether an expression of JavaScript becomes true while Selenium waits for scripts."""
    look = (
        f"const done = arguments[0], look = () => ({condition}) ? done(true) : setTimeout(look, 20); look()"
    )
    return bool(browser.driver.execute_async_script(look))


def test_the_player_works_by_keys(browser: Browser, pages: dict[str, Path]) -> None:
    """Who uses no mouse could not listen, nor go to the place that a picture shows."""
    browser.open(pages["plot"])
    audio = browser.driver.find_element(By.TAG_NAME, "audio")
    assert _wait(browser, "document.querySelector('audio').readyState > 0")
    audio.send_keys(Keys.SPACE)
    assert _wait(browser, "!document.querySelector('audio').paused")
    audio.send_keys(Keys.SPACE)
    assert _wait(browser, "document.querySelector('audio').paused")
    before = float(browser.evaluate("document.querySelector('audio').currentTime"))
    audio.send_keys(Keys.ARROW_RIGHT)
    assert _wait(browser, f"document.querySelector('audio').currentTime > {before + 0.05}")
    # The line in the pictures goes with it, once the player has found the place.
    picture = browser.driver.find_element(By.CSS_SELECTOR, ".timed")
    left, right = (float(picture.get_attribute(f"data-{side}") or "") for side in ("left", "right"))
    share = f"document.querySelector('audio').currentTime / {DURATION_S}"
    place = "parseFloat(document.querySelector('.playhead').style.left)"
    assert _wait(browser, f"Math.abs({place} - 100 * ({left} + {right - left} * {share})) < 0.5")
    assert browser.evaluate("!document.querySelector('.playhead').hidden")
    assert browser.complaints() == []


def test_a_click_plays_from_there(browser: Browser, pages: dict[str, Path]) -> None:
    """The page says that a click into a picture plays; it would only move the player's hand."""
    browser.open(pages["plot"])
    assert _wait(browser, "document.querySelector('audio').readyState > 0")
    browser.driver.find_elements(By.CSS_SELECTOR, ".timed")[1].click()
    assert _wait(browser, "!document.querySelector('audio').paused")
    # The middle of the picture is near the middle of its axis.
    assert browser.evaluate("document.querySelector('audio').currentTime") == pytest.approx(6, abs=1.5)
    # The player stays in sight beside the picture that plays.
    browser.evaluate("document.querySelector('section:last-of-type').scrollIntoView(false)")
    browser.driver.execute_script("scrollTo(0, document.body.scrollHeight)")
    assert 0 <= browser.evaluate("document.querySelector('audio').getBoundingClientRect().top") < 40
    assert browser.complaints() == []


def test_pictures_have_words(browser: Browser, pages: dict[str, Path]) -> None:
    """Who does not see the pictures would be told nothing of the track."""
    browser.open(pages["plot"])
    words = browser.evaluate("[...document.querySelectorAll('main img')].map(image => image.alt)")
    assert len(set(words)) == 10
    assert words[0] == "Probability of each genre, by segment"
    # What only the picture says: a tempo, a tuning, the axes.
    assert re.fullmatch(r"Onset strength, tempo \d+\.\d BPM, dB", words[-1])
    assert any(re.fullmatch(r"Chroma, tuned [+-]\d+ cents", each) for each in words)
    caption, *data = browser.evaluate(
        "[document.querySelector('figcaption').innerText, ...[...document.querySelectorAll('main tbody tr')]"
        ".map(row => [...row.cells].map(cell => cell.textContent))]"
    )
    (first,) = re.findall(r"of the track: \W?(\w+)\W? ([\d.]+)", caption)
    assert first in [(name, value) for name, value in data]
    assert sum(float(value) for _, value in data) == pytest.approx(1, abs=0.05)
    browser.open(pages["explain"])
    first = browser.evaluate("document.querySelector('main img').alt")
    assert re.fullmatch(r"Evidence for \w+ \(red\) and against it \(blue\), Hz; Mean over all bands", first)
    caption = browser.evaluate("document.querySelector('figcaption').innerText")
    assert caption.startswith("Importance by Grad-CAM over the log-mel. Strongest evidence: ")
    assert "Strongest evidence:" in browser.evaluate("document.body.innerText")


def test_a_long_title_leaves_room_for_the_plots(browser: Browser, pages: dict[str, Path]) -> None:
    """A title of 3,000 letters filled sixty screens of a phone before the player."""
    browser.open(pages["plot"], width=NARROW)
    heading = browser.driver.find_element(By.TAG_NAME, "h1")
    assert heading.text.startswith("Song Song ")
    assert heading.size["height"] < 300


def test_silence_is_said(browser: Browser, pages: dict[str, Path]) -> None:
    """The model is sure of silence, and a curator would wonder why it is called classical."""
    browser.open(pages["silence"])
    assert "There is nothing to label in the track" in browser.evaluate("document.body.innerText")
    browser.open(pages["plot"])
    assert "nothing to label" not in browser.evaluate("document.body.innerText")


@pytest.mark.parametrize("dark", [False, True])
def test_texts_can_be_read(browser: Browser, pages: dict[str, Path], dark: bool) -> None:
    """Who has weak eyes, or the sun on the screen, could not."""
    browser.open(pages["explain"], dark=dark)
    browser.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    assert browser.pale_texts() == []
