"""The evaluation page in a real browser: what a reader sees, and what a hostile name must not do."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.evaluation.evaluation import Predictions, Setup, score, summarize
from pipeline.pages.evaluation_page import render_evaluation_page
from schemas.evaluation import TrainingOverlap
from tests.browser import NARROW, WIDE, Browser

HOSTILE = "<script>document.title='ran'</script><img src=http://127.0.0.1:9/x onerror=alert(1)>"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    genres = ("classical", "hip-hop & r'n'b", HOSTILE)
    labels = rng.integers(0, 3, 120)
    proba = rng.dirichlet(np.ones(3), 120) + 0.7 * np.eye(3)[labels]
    proba /= proba.sum(axis=1, keepdims=True)
    answers = Predictions(proba, labels, np.array([f"{HOSTILE} {i // 2:03d}" for i in range(120)]))
    setup = Setup(
        data=HOSTILE, protocol="track", leak="leaks a little", split="track",
        seen=TrainingOverlap(known=True, trained_on=2), versions={"earmark": "1"},
        baseline_features="descriptors",
        baselines=(score("svm", answers, "track", calibrated=False),),
    )  # fmt: skip
    outside = ("noise", rng.dirichlet(np.ones(3), 9))
    evaluation = summarize("model-1a2b3c4d", answers, "track", genres, setup, outside=outside)
    path = tmp_path_factory.mktemp("page") / "evaluation.html"
    path.write_text(render_evaluation_page(evaluation), encoding="utf-8")
    return path


@pytest.mark.parametrize("width", [NARROW, WIDE])
@pytest.mark.parametrize("dark", [False, True])
def test_page_opens_cleanly_in_every_width_and_light(
    browser: Browser, page: Path, width: int, dark: bool
) -> None:
    """On a telephone or at night the page must be as readable, and it may ask nobody for anything."""
    browser.open(page, width=width, dark=dark)
    assert browser.complaints() == []
    assert browser.requests() == []
    assert not browser.overflows()
    assert (browser.background() < 80) == dark
    assert browser.pale_texts() == []


def test_plots_are_drawn(browser: Browser, page: Path) -> None:
    """A path that the browser cannot parse leaves an empty frame, and nobody notices."""
    browser.open(page)
    lengths = browser.evaluate(
        "[...document.querySelectorAll('.drawing .line, .drawing .area')].map(path => path.getTotalLength())"
    )
    assert len(lengths) >= 6
    assert min(lengths) > 100
    heights = browser.evaluate(
        "[...document.querySelectorAll('.plot svg')].map(svg => svg.getBoundingClientRect().height)"
    )
    assert len(heights) == 2
    assert min(heights) > 100
    cells = "[...document.querySelectorAll('.matrix tbody td')]"
    assert len(browser.evaluate(f"{cells}.map(cell => cell.textContent)")) == 9
    shades = browser.evaluate(f"{cells}.map(cell => getComputedStyle(cell).backgroundColor)")
    assert len(set(shades)) >= 4, "cells are shaded by their share"


def test_rows_are_read_with_what_they_are_about(browser: Browser, page: Path) -> None:
    """A screen reader would read columns of figures, and not of which classifier or genre they are."""
    browser.open(page)
    assert browser.rows_without_head() == 0


def test_lines_differ_in_more_than_color(browser: Browser, page: Path) -> None:
    """Printed in black, or by people who confuse red and orange, the lines could not be told apart."""
    browser.open(page)
    dashes = "[...document.querySelectorAll('{} .line')].map(e => getComputedStyle(e).strokeDasharray)"
    drawn = browser.evaluate(dashes.format(".plot"))
    assert len(set(drawn)) == 3
    named = browser.evaluate(dashes.format(".legend"))
    assert sorted(named) == sorted(drawn)


def test_names_stand_as_text(browser: Browser, page: Path) -> None:
    """A track's title is text of strangers."""
    browser.open(page)
    assert browser.evaluate("document.scripts.length") == 0
    assert browser.evaluate("document.images.length") == 0
    assert HOSTILE in browser.evaluate("document.querySelector('h1').textContent")
    assert HOSTILE in browser.evaluate("document.body.innerText")


def test_protocol_and_warning_stand_with_the_figure(browser: Browser, page: Path) -> None:
    """Whoever copies the figure must have seen what it is worth."""
    browser.open(page)
    text = browser.evaluate("document.querySelector('main section').innerText")
    assert "Protocol track (leaks a little)" in text
    assert "LEAKS: 2 of the 60 tested tracks" in text
    assert "accuracy, track (leaks a little)" in text


def test_large_matrices_can_be_read() -> None:
    """Counts above a thousand stood without separators, beside a support that has them."""
    labels = np.repeat([0, 1], [1500, 2])
    answers = Predictions(np.eye(2)[labels], labels, np.arange(1502).astype(str))
    setup = Setup(data="shelves", protocol="track", leak="leaks a little", split="track")
    page = render_evaluation_page(summarize("model-1a2b3c4d", answers, "track", ("jazz", "rock"), setup))
    assert ">1,500</td><td" in page
    assert ">·</td>" in page


def test_keyboard_reaches_tables_and_numbers(browser: Browser, page: Path) -> None:
    """Who has no mouse must be able to scroll the wide tables and open the numbers behind the plots."""
    browser.open(page, width=NARROW)
    focusable = browser.evaluate("document.querySelectorAll('.scroll[tabindex=\"0\"][aria-label]').length")
    assert focusable == browser.evaluate("document.querySelectorAll('.scroll').length")
    assert browser.evaluate(
        "(() => { const s = document.querySelector('summary'); s.focus(); s.click();"
        " return document.activeElement === s && s.parentElement.open; })()"
    )
    assert browser.evaluate("document.querySelector('details table').getBoundingClientRect().height") > 100


def test_names_from_right_to_left_keep_their_numbers(browser: Browser, tmp_path: Path) -> None:
    """Of two genres in Arabic, each would stand beside the number of the other."""
    rng = np.random.default_rng(1)
    genres, labels = ("\u0637\u0631\u0628", "\u062f\u0628\u0643\u0629 80"), np.arange(40) % 2
    answers = Predictions(
        rng.dirichlet(np.ones(2), 40),
        labels,
        np.array([f"\u0627\u063a\u0646\u064a\u0629 {i}.mp3" for i in range(40)]),
    )
    outside = ("noise", np.repeat([[0.7, 0.3], [0.2, 0.8]], [3, 4], axis=0))
    setup = Setup(data="shelves", protocol="track", leak="leaks a little", split="track")
    evaluation = summarize("model-1a2b3c4d", answers, "track", genres, setup, outside=outside)
    page = tmp_path / "evaluation.html"
    page.write_text(render_evaluation_page(evaluation), encoding="utf-8")
    browser.open(page)
    # From the left: the first genre, its number, the second genre, its number.
    names = [browser.left_of("section:last-of-type > p bdi", name[:3]) for name in genres]
    numbers = [browser.left_of("section > p:has(bdi)", text) for text in (" 4, ", " 3.")]
    assert names[1] < numbers[0] < names[0] < numbers[1]
    # A name alone is read from the right, its number last.
    assert browser.left_of(".matrix th", "80") < browser.left_of(".matrix th", genres[1][:3])
    assert browser.left_of(".name", ".mp3") < browser.left_of(".name", "\u0627")
