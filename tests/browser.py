"""Opens a page in headless Chromium, as a reader would, and says what went wrong in it."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

NARROW, WIDE = 380, 1600


@dataclass(frozen=True, slots=True)
class TabStop:
    """What has the focus after a press of Tab.

    Attributes
    ----------
    tag, name : str
        The element, in lower case, and what a screen reader calls it.
    outlined : bool
        Whether a frame shows that it has the focus.
    in_sight : bool
        Whether its upper left corner stands in the window, with nothing over it.
    """

    tag: str
    name: str
    outlined: bool
    in_sight: bool


_TAB_STOP = """(() => {
    const e = document.activeElement, style = getComputedStyle(e), box = e.getBoundingClientRect();
    const over = document.elementFromPoint(box.left + 3, Math.min(box.top + 3, innerHeight - 1));
    return [
        e.tagName.toLowerCase(), e.ariaLabel || e.innerText || e.labels?.[0]?.innerText || '',
        style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2,
        box.top >= 0 && box.top < innerHeight && (e.contains(over) || over?.contains(e)),
    ];
})()"""


_PALE_TEXTS = """(() => {
    const pixel = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
    const rgba = (color) => {
        pixel.clearRect(0, 0, 1, 1);
        pixel.fillStyle = color;
        pixel.fillRect(0, 0, 1, 1);
        return [...pixel.getImageData(0, 0, 1, 1).data];
    };
    const linear = (x) => x <= 10 ? x / 255 / 12.92 : ((x / 255 + 0.055) / 1.055) ** 2.4;
    const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
    const ground = (element) => {
        const color = rgba(getComputedStyle(element).backgroundColor);
        return color[3] === 255 || !element.parentElement ? color : ground(element.parentElement);
    };
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), pale = [];
    while (texts.nextNode()) {
        const text = texts.currentNode.data.trim(), element = texts.currentNode.parentElement;
        if (!text || !element.getClientRects().length) continue;
        const both = [luminance(rgba(getComputedStyle(element).color)), luminance(ground(element))];
        const contrast = (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
        if (contrast < 4.5) pale.push(`${text.slice(0, 30)} (${contrast.toFixed(1)})`);
    }
    return pale;
})()"""
"""Contrast as in the Web Content Accessibility Guidelines 2.2, 1.4.3."""

_LEFT_OF = """
    const [selector, text] = arguments, range = document.createRange();
    for (const element of document.querySelectorAll(selector)) {
        const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
        while (walker.nextNode()) {
            const at = walker.currentNode.data.indexOf(text);
            if (at < 0) continue;
            range.setStart(walker.currentNode, at);
            range.setEnd(walker.currentNode, at + text.length);
            return range.getBoundingClientRect().left;
        }
    }
    throw new Error(`no ${text} in ${selector}`);
"""


def missing_programs() -> list[str]:
    """Programs of the browser that this machine lacks."""
    return [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]


class Browser:
    """A headless Chromium; `driver` is Selenium's, for clicking, typing and looking for elements."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def open(self, page: Path, *, width: int = WIDE, dark: bool = False) -> None:
        """Open a page of its own file, at a width in CSS pixels, in light or dark."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False},
        )
        # What earlier pages logged is not this page's.
        for log in ("browser", "performance"):
            self.driver.get_log(log)
        self._uri = page.resolve().as_uri()
        self.driver.get(self._uri)
        # On a busy machine the driver may return while the page is still being read.
        WebDriverWait(self.driver, 60).until(lambda _: self.evaluate("document.readyState") == "complete")

    def complaints(self) -> list[str]:
        """Console errors and warnings since the page was opened; also what its policy refused to load."""
        entries = self.driver.get_log("browser")
        return [entry["message"] for entry in entries if entry["level"] in ("SEVERE", "WARNING")]

    def requests(self) -> list[str]:
        """Addresses asked for since the page was opened, but for the page itself and what it embeds."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
        # A slow browser may still be loading its own start page, from chrome: addresses.
        embedded = ("data:", "blob:", "chrome:")
        return [url for url in asked if url != self._uri and not url.startswith(embedded)]

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        return self.driver.execute_script(f"return {expression}")

    def overflows(self) -> bool:
        """Whether a reader would have to scroll the page sideways."""
        return bool(self.evaluate("document.documentElement.scrollWidth > window.innerWidth"))

    def tab_stops(self) -> list[TabStop]:
        """Press Tab from the beginning of the page to its end; the elements that get the focus, in order.

        A player takes several presses; it stands there once.
        """
        stops: list[TabStop] = []
        self.driver.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
        while True:
            stop = TabStop(*self.evaluate(_TAB_STOP))
            if stop.tag == "body" or (stops and stop.name == stops[0].name):
                return stops
            if not stops or stop != stops[-1]:
                stops.append(stop)
            self.driver.switch_to.active_element.send_keys(Keys.TAB)

    def pale_texts(self) -> list[str]:
        """Texts whose contrast to what is behind them is below 4.5, with it."""
        return list(self.evaluate(_PALE_TEXTS))

    def rows_without_head(self) -> int:
        """How many rows of tables a screen reader would read without what they are about."""
        rows = "[...document.querySelectorAll('tbody tr')]"
        return int(self.evaluate(f"{rows}.filter(row => !row.querySelector('th[scope=row]')).length"))

    def left_of(self, selector: str, text: str) -> float:
        """Left edge of a text within the first element that has it, in CSS pixels."""
        return float(self.driver.execute_script(_LEFT_OF, selector, text))

    def background(self) -> int:
        """Brightness of the page's background, 0 to 255."""
        color = self.evaluate("getComputedStyle(document.body).backgroundColor")
        red, green, blue = (int(float(part)) for part in color[color.index("(") + 1 : -1].split(",")[:3])
        return (red + green + blue) // 3

    def screenshot(self, file: Path) -> None:
        """Write a picture of the whole page (PNG)."""
        height = self.evaluate("document.documentElement.scrollHeight")
        width = self.evaluate("window.innerWidth")
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
        )
        self.driver.save_screenshot(str(file))


@contextmanager
def chromium(profile: Path) -> Iterator[Browser]:
    """A browser with a profile of its own; it ends with the block."""
    options = Options()
    options.binary_location = str(shutil.which("chromium"))
    for argument in (
        "--headless=new",
        "--no-sandbox",  # Root, as in containers, has no sandbox; the pages are our own files.
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        f"--user-data-dir={profile}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    # The driver's own path: Selenium would otherwise look for one to download.
    driver = webdriver.Chrome(options=options, service=Service(str(shutil.which("chromedriver"))))
    try:
        yield Browser(driver)
    finally:
        driver.quit()
